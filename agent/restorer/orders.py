"""The order of a restorer, as JSON: which changes, beside which Lease, and for how long at most."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from agent.restorer.changes import Scaled
from agent.restorer.node_changes import Cordoned, Tainted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.model import Json

type Known = Scaled | Cordoned | Tainted

KINDS: dict[str, type[Known]] = {"scaled": Scaled, "cordoned": Cordoned, "tainted": Tainted}
ORDER = "RESTORER_ORDER"
"""Environment variable of a restorer: its order.  No ``GAMEDAY_`` one, since those are settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a restorer is told.

    ``mark`` is the name of its Job and of the Lease beside it, both in ``namespace``.  When nobody
    renews the Lease for ``lease_s``, or ``hard_end_s`` after the restorer is ready whatever renews, it
    puts ``changes`` back.
    """

    namespace: str
    mark: str
    lease_s: float
    hard_end_s: float
    changes: tuple[Known, ...]

    def to_json(self) -> dict[str, Json]:
        """Return this order as data."""
        whole: dict[str, Json] = asdict(self)
        return {**whole, "changes": [change_to_json(each) for each in self.changes]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the order that *values* are of.

        Raises:
            ValueError: They are of none.
        """
        try:
            changes = tuple(change_from_json(each) for each in values["changes"])
            return cls(**{**values, "changes": changes})
        except (TypeError, KeyError) as error:
            raise ValueError(f"not an order of ours: {error}") from None


def change_to_json(change: Known) -> dict[str, Json]:
    """Return *change* as data."""
    return {"kind": type(change).__name__.lower(), **asdict(change)}


def change_from_json(values: Mapping[str, Any]) -> Known:
    """Return the change that *values* are of.

    Raises:
        ValueError: They are of none.
    """
    kind = KINDS.get(str(values.get("kind")))
    if kind is None:
        raise ValueError(f"{values.get('kind')!r} is no kind of change; there are {', '.join(KINDS)}")
    try:
        return kind(**{key: value for key, value in values.items() if key != "kind"})
    except TypeError as error:
        raise ValueError(f"not what is known of a change: {error}") from None
