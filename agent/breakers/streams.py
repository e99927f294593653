"""The two streams, as columns: a client's calls at the entry, arrivals at the dependency.

All times are seconds of one monotonic clock.  Rows may come in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]
type Flags = NDArray[np.bool_]
type Ids = NDArray[np.uint64]


class Outcome(IntEnum):
    """How a call ended for the client; the numbers are those of the traffic's samples."""

    OK = 0
    STATUS = 1
    TIMEOUT = 2
    REFUSED = 3
    BROKEN = 4
    SHED = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calls:
    """What the client saw, one row a call.

    ``key`` is what the call was about (the CRC-32 of a shard's or tenant's name), ``id`` the low half
    of the id it sent along, 0 if none.  Calls that were never sent are left out before.
    """

    begun: Floats
    ended: Floats
    outcome: Ints
    status: Ints
    degraded: Flags
    key: Ints
    id: Ids

    def __len__(self) -> int:
        return len(self.begun)

    def where(self, chosen: Flags | Ints) -> Self:
        """Return the rows that *chosen* picks."""
        return type(self)(**{each.name: getattr(self, each.name)[chosen] for each in fields(self)})

    @property
    def good(self) -> Flags:
        """Whether it came out well: answered, not as a failure, and not in a degraded form."""
        answered: Flags = (self.outcome == Outcome.OK) | (
            (self.outcome == Outcome.STATUS) & (self.status < 500)
        )
        return answered & ~self.degraded

    @property
    def kind(self) -> Ints:
        """How its answer looked, as one number: outcome, status and degraded."""
        return (self.outcome * 1000 + self.status) * 2 + self.degraded


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrivals:
    """What reached the dependency, one row a request, as its link saw it.

    ``ended`` is when its answer, or its connection's end, was there; ``status`` is 0 without an answer;
    ``source`` numbers the peers that the requests came from (a replica each, where they differ).
    """

    at: Floats
    ended: Floats
    status: Ints
    source: Ints
    id: Ids

    def __len__(self) -> int:
        return len(self.at)

    def where(self, chosen: Flags | Ints) -> Self:
        """Return the rows that *chosen* picks."""
        return type(self)(**{each.name: getattr(self, each.name)[chosen] for each in fields(self)})

    @property
    def good(self) -> Flags:
        """Whether the dependency answered, and not with a failure of its own."""
        return (self.status > 0) & (self.status < 500)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultWindow:
    """One fault on the dependency's link, from when it was confirmed in until it was confirmed out.

    ``link`` is the one that failed, "" where there is one only; ``key`` is the one whose requests failed,
    "" for all.
    """

    kind: str
    began: float
    ended: float
    link: str = ""
    key: str = ""


def joined(arrivals: Sequence[Arrivals]) -> Arrivals:
    """Return the rows of all *arrivals*, one after the other."""
    names = [each.name for each in fields(Arrivals)]
    return Arrivals(**{name: np.concatenate([getattr(each, name) for each in arrivals]) for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One part of an exercise, and how the client behaved in it where that was not as planned.

    ``rate_rps`` is what it called with, 0 for a pause, and ``timeout_s`` how long it waited for an answer;
    None is as planned.  ``clock_s`` is how far ahead the service's wall clock was set.  A phase may have
    several parts of the same kind, one for each rate.  In an ``extra`` one, counts and times do not mean what
    they mean else: two faults at once, other rates, other patience.  ``taken_back`` says why a raised rate
    was: then no state is told in the phase, and nothing in it is judged.
    """

    kind: str
    began: float
    ended: float
    extra: bool = False
    rate_rps: float | None = None
    timeout_s: float | None = None
    clock_s: float | None = None
    taken_back: str = ""


def columns(kind: type[Calls | Arrivals], rows: Mapping[str, object]) -> Calls | Arrivals:
    """Return *rows* (a sequence for each column) with each column of the right type."""
    types = {"begun": "f8", "ended": "f8", "at": "f8", "degraded": "?", "id": "u8"}
    return kind(
        **{
            name: np.asarray(rows[name], dtype=types.get(name, "i8"))
            for name in (f.name for f in fields(kind))
        }
    )
