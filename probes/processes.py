"""Whether named processes run; see ``agent.clients.processes`` for how a process is named."""

from __future__ import annotations

from agent import settings as settings_of
from agent.clients.processes import named


def are_running(*, selector: str, count_min: int = 1) -> bool:
    """Return whether at least *count_min* names that match the glob *selector* have a live process."""
    return len({each.name for each in named(selector, home=settings_of.current().home)}) >= count_min
