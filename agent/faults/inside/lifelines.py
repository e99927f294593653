"""The streams to injectors in pods that this process holds, and what is said over them.

Each is the lifeline of the fault in its pod: when the process dies the API server closes the stream, and
the injector heals.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from agent.clients.kubernetes import KubernetesError
from agent.faults.inside.clocks import Exchange
from agent.faults.inside.injectors import NoInjector
from agent.injector.orders import peers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.clients.kubernetes import Attached
    from agent.faults.inside.dose import ArrivalLog
    from agent.faults.kernel.scope import Network
    from agent.model import Json

ANSWERS_WITHIN_S = 5.0


@dataclass(slots=True)
class Held:
    """The streams of one injection, by pod."""

    streams: dict[str, Attached] = field(default_factory=dict)
    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    log: ArrivalLog | None = None
    watch: Watch | None = None
    over: bool = False
    """Whether it is being taken out; what was said is kept until that has come to its end."""

    def lose(self, pod: str, why: str) -> None:
        """Let go of the stream to *pod*, which ends the fault there; the dose tells *why*."""
        self.streams.pop(pod).close()
        ended = f"its lease was not renewed ({why}), so its dead man ended it"
        self.said[pod] = {**self.said.get(pod, {}), "why": ended}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What an injector says to a line, and the four moments of the exchange."""

    says: Mapping[str, Any]
    exchange: Exchange


class Watch(Protocol):
    """Looks after pods that are replaced or added; see :mod:`agent.faults.inside.follow`."""

    def stop(self) -> dict[str, Json]:
        """Look no more; return what became of the pods meanwhile."""


HELD: dict[str, Held] = {}
"""What this process holds, by the name of the injection's nftables table."""


def watched_by(table: str, watch: Watch) -> None:
    """Have *watch* stopped when *table* is removed."""
    if table in HELD:
        HELD[table].watch = watch


def is_held(table: str) -> bool:
    """Whether this process holds the streams of *table*."""
    return table in HELD and not HELD[table].over


def change(table: str, networks: Sequence[Network]) -> None:
    """Tell the injectors of *table* who the peers are by now; one that does not answer is let go of."""
    held = HELD.get(table)
    if held is None:
        return
    with held.lock:
        for pod, stream in list(held.streams.items()):
            try:
                stream.say(json.dumps(peers(networks)))
                hear(stream, pod)
            except KubernetesError as error:
                held.lose(pod, str(error))


def ask_all(table: str, line: Mapping[str, Json]) -> dict[str, Answered]:
    """Say *line* to every injector of *table* and return what each says to it, by pod; see :func:`ask`."""
    held = HELD.get(table)
    return {pod: ask(table, line, pod=pod) for pod in (list(held.said) if held else [""])}


def ask(table: str, line: Mapping[str, Json], *, pod: str) -> Answered:
    """Say *line* to the injector of *table* in *pod* and return what it says to it.

    Raises:
        NoInjector: Another process holds the streams, or the injector has ended.
        KubernetesError: It does not answer; it is let go of, and heals.
    """
    held = HELD.get(table)
    if held is None or held.over:
        raise NoInjector("nobody in this process holds the streams")
    with held.lock:
        if pod not in held.streams:
            why = held.said.get(pod, {}).get("why") or "its stream has ended"
            raise NoInjector(f"the injector in {pod} is gone: {why}")
        return _ask(held, pod, held.streams[pod], line)


def _ask(held: Held, pod: str, stream: Attached, line: Mapping[str, Json]) -> Answered:
    asked = time.monotonic()
    try:
        stream.say(json.dumps(line))
        answer = hear(stream, pod)
    except KubernetesError as error:
        held.lose(pod, str(error))
        raise
    answered = time.monotonic()
    if "heard" not in answer:
        why = str(answer.get("says") or answer.get("why") or answer)
        held.lose(pod, why)
        raise NoInjector(f"{pod}: {why}")
    times = Exchange(asked=asked, heard=answer["heard"], told=answer["told"], answered=answered)
    return Answered(says=answer, exchange=times)


def hear(stream: Attached, pod: str, *, within_s: float = ANSWERS_WITHIN_S) -> dict[str, Any]:
    """Return what the injector in *pod* says next.

    Raises:
        NoInjector: It makes no sense.
        KubernetesError: It says nothing, or the stream is gone.
    """
    line = stream.hear(timeout_s=within_s)
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        raise NoInjector(f"the injector in {pod} says {line!r}") from None
    return found
