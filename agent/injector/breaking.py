"""What an order becomes in here: something that is put in, kept, changed, and taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.faults.kernel.scope import Network
    from agent.model import Fact, Json


class Breaking(Protocol):
    """One fault in this pod.  Whatever it is, it ends with this process, or with its lease in the kernel."""

    def check(self) -> None:
        """Refuse what cannot be done here, before anything is touched.

        Raises:
            Unsupported: It cannot; says why.
        """

    def put(self) -> Fact:
        """Put it in, and tell whether it is."""

    def renew(self) -> Fact:
        """Give it another lease; one that has lapsed stays lapsed."""

    def change(self, networks: Sequence[Network]) -> None:
        """Make *networks* its peers; nothing to do for what has none."""

    def news(self) -> Mapping[str, Json]:
        """Return what there is to tell with a beat."""

    def remove(self) -> Fact | None:
        """Take it out; return the dose, None when it is not known."""


@runtime_checkable
class Leading(Protocol):
    """What toxics can be put on while it is in; each answer is what is told of it."""

    def put_toxic(self, name: str, toxic: dict[str, Any]) -> Mapping[str, Json]:
        """Put *toxic* on; ``holds`` says whether it is.

        Raises:
            UsageError: It makes no sense.
        """

    def take_toxic(self, name: str) -> Mapping[str, Json]:
        """Take it off; ``dose`` is what it did, None where it is not there."""

    def toxics(self) -> Mapping[str, Json]:
        """Return the ``names`` of those that are on."""

    def arrivals(self, since: int) -> Mapping[str, Json]:
        """Return the ``requests`` after entry *since*, and those that are still ``open``.

        ``seq`` is where to go on from, and ``more`` whether there is more already.
        """
