"""Any breaker that has a gauge: Prometheus text, a metric, labels, and what each value means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.breakers.boxes.whitebox import Sample, Traps
from agent.model import UsageError
from agent.whitebox.address import state_of
from agent.whitebox.exposition import measured
from agent.whitebox.reader import Unreadable
from agent.whitebox.web import Web

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.breakers.courses.states import State
    from agent.whitebox.address import Address
    from agent.whitebox.exposition import Measured
    from agent.whitebox.reader import Reader


def reader(address: Address) -> Reader:
    """Read a page of Prometheus text.

    Options: ``metric``; ``labels=a:b,c:d`` that pick one line of it; ``map=0:closed,1:half_open,2:open``
    for a gauge of the state, or ``state_label=NAME`` for a gauge for each state that is 1 in it (then a
    ``map`` may translate the label's words); ``lazy=yes``, ``half_open=no``.
    """
    metric = address.required("metric", "metric")
    meaning, label = address.states(), address.text("state_label")
    if not meaning and not label:
        raise UsageError(
            "--whitebox prometheus: say what values mean: map=0:closed,2:open or state_label=NAME"
        )
    traps = given_traps(address, "a gauge is what it was when the page was made")
    return _Gauge(Web(address), metric, address.pairs("labels"), meaning, label, traps)


def given_traps(address: Address, *notes: str) -> Traps:
    """Return the traps that the user declares of a source that nobody here knows."""
    return Traps(
        lazy=address.text("lazy") == "yes", half_open=address.text("half_open", "yes") != "no", notes=notes
    )


class _Gauge:
    """A gauge of the state, or one for each state."""

    def __init__(
        self,
        web: Web,
        metric: str,
        labels: Mapping[str, str],
        meaning: Mapping[str, State],
        label: str,
        traps: Traps,
    ) -> None:
        self._web, self._metric, self._labels = web, metric, labels
        self._meaning = {_number(value): state for value, state in meaning.items()}
        self._words, self._label, self.traps = meaning, label, traps

    def read(self) -> Sequence[Sample]:
        """Return what the gauge means."""
        page = self._web.get()
        lines = list(measured(page.text, self._metric, self._labels))
        if self._label:
            lines = [line for line in lines if line.value == 1]
        if len(lines) != 1:
            raise Unreadable(f"{len(lines)} lines of {self._metric} have these labels, and one is needed")
        word = lines[0].labels.get(self._label, "") if self._label else f"{lines[0].value:g}"
        state = self._state(lines[0], word)
        if state is None:
            raise Unreadable(f"nobody said what {word!r} means")
        return [Sample(asked=page.asked, read=page.read, state=state, details={"value": word})]

    def _state(self, line: Measured, word: str) -> State | None:
        if self._label:
            return self._words.get(word) or state_of(word)
        return self._meaning.get(line.value)

    def close(self) -> None:
        """Close the connection."""
        self._web.close()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
