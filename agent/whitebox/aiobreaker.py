"""aiobreaker with a Redis: its keys ``[NAMESPACE:]aiobreaker:state`` and ``:opened_at``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.breakers.boxes.whitebox import Traps
from agent.whitebox.keys import Keys
from agent.whitebox.pybreaker import LAZY, SECOND, StateKey

if TYPE_CHECKING:
    from agent.whitebox.address import Address
    from agent.whitebox.reader import Reader


def reader(address: Address) -> Reader:
    """Read the keys at ``redis://HOST:PORT/NUMBER``.  Option: ``namespace``."""
    traps = Traps(lazy=True, notes=(LAZY, SECOND))
    return StateKey(Keys(address), address.text("namespace"), "aiobreaker", traps)
