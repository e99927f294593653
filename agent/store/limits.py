"""Calls that may hang for ever, given a time after which nobody waits for them any longer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class TookTooLong(Exception):
    """The call has not come back; it may yet."""


def within[T](limit_s: float, call: Callable[[], T]) -> T:
    """Return what *call* returns, or raise what it raises, if it does so within *limit_s*.

    A database server that is stopped accepts a connection and says nothing, and no time limit of its
    own ends that.  The call goes on in a thread that nobody waits for, not even the end of this process.

    Raises:
        TookTooLong: It did not come back in time.
    """
    found: list[T] = []
    raised: list[BaseException] = []

    def carry_out() -> None:
        try:
            found.append(call())
        except BaseException as error:  # noqa: BLE001  # handed to who waits
            raised.append(error)

    thread = threading.Thread(target=carry_out, name="within", daemon=True)
    thread.start()
    thread.join(limit_s)
    if raised:
        raise raised[0]
    if not found:
        raise TookTooLong(f"no answer within {limit_s:g} s")
    return found[0]
