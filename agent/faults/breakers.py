"""Exercises a circuit breaker: makes its dependency fail in each way, as long as it takes to understand it.

The faults are those of :mod:`agent.faults.links`; nothing here breaks anything by itself.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent import settings as settings_of
from agent.breakers import protocol
from agent.breakers.analysis import analyse, to_json
from agent.breakers.protocol import Pace
from agent.breakers.recording import arrivals_of, calls_of
from agent.breakers.states import State
from agent.breakers.streams import FaultWindow
from agent.breakers.view import View, view
from agent.faults import heal, links
from agent.model import NoEvidence, NoTargets, UsageError
from agent.proxy.client import ProxyClient
from agent.safety.context import current_run
from agent.traffic.samples import FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from agent.breakers.streams import Calls
    from agent.model import Json

RESULT = "breaker.json"
RECORDING = "breaker.recording.json"
LOOK_EVERY_S = 0.25
SLOW_MAX_S = 2.0
PAGE = 10_000
SLOW_SHARE = 0.6
"""A slow answer takes this share of the service's patience, so that it is late and still a success."""


def exercise(
    *,
    link: str,
    kinds: str | Sequence[str] = protocol.KINDS,
    keys: str | Sequence[str] = (),
    baseline_s: float = 10.0,
    patience_s: float = 6.0,
    fault_max_s: float = 60.0,
    recover_max_s: float = 60.0,
    trials: int = 2,
    seed: int | None = None,
    proxy: str | None = None,
) -> dict[str, Json]:
    """Fail *link* in each of *kinds* until the breaker in front of it has shown what it does.

    The traffic of the run (``agent.controls.traffic``) is one stream, the link's arrival log the other.
    Leaves ``breaker.json`` (the answer, see docs/breakers.md) and ``breaker.recording.json`` (what it
    was inferred from, beside the traffic's samples) in the run's folder.

    Args:
        link: The one link between the service and its dependency.
        kinds: Some of error, hang, slow, refuse, reset, not-found; a list, or a text with commas.
        keys: The traffic's keys, to tell apart what each of them saw; a list, or a text with commas.
        baseline_s: Seconds of calm before the first fault.
        patience_s: How long a fault stays in that does not open the breaker.
        fault_max_s: How long one stays in that does; a breaker that stays open longer is seen only once.
        recover_max_s: How long a recovery is waited for.
        trials: How many trials are awaited under each fault.
        seed: Repeats the phases at which faults begin and end.
        proxy: The proxy's API; default: the setting, else the proxy of this home.

    Returns:
        ``{"answer": "...", "sequence": [...], "findings": ["half-open-stampede", ...]}``; on the leash
        what :func:`agent.faults.links.fail_requests` returns.

    Raises:
        NoTargets: No such link.  Nothing was injected.
        NoEvidence: No traffic, or none of it comes over the link: the service bypasses it.
        Refused, DidNotLand: As the faults of links raise them.

    Undo:
        Each fault's own; every fault is taken out before the next one goes in.

    Dead man:
        Each fault's own: the reaper, and the lease that the proxy itself holds.
    """
    wanted = _listed(kinds)
    if unknown := [kind for kind in wanted if kind not in protocol.KINDS]:
        raise UsageError(f"no kind of fault is called {unknown[0]!r}; there are {', '.join(protocol.KINDS)}")
    if current_run().leashed:
        return links.fail_requests(link=link, status=500, proxy=proxy)
    pace = Pace(
        baseline_s=baseline_s,
        patience_s=patience_s,
        fault_max_s=fault_max_s,
        recover_max_s=recover_max_s,
        trials=trials,
    )
    recorder = _Recorder(link, ProxyClient.of(settings_of.current(), proxy), current_run().folder)
    _Exercise(recorder, pace, random.Random(seed), proxy).play(wanted)
    return _answer(recorder, _listed(keys))


def _listed(what: str | Sequence[str]) -> tuple[str, ...]:
    parts = what.split(",") if isinstance(what, str) else what
    return tuple(part.strip() for part in parts if part.strip())


def _answer(recorder: _Recorder, keys: Sequence[str]) -> dict[str, Json]:
    """Analyse the whole recording and file the answer."""
    from agent.traffic.samples import key_of  # noqa: PLC0415  # beside its one use

    names = {key_of(str(key)): str(key) for key in keys}
    calls, ahead = recorder.calls()
    streams = analyse(calls, recorder.arrivals(), recorder.faults, link=recorder.link, keys=names)
    recorder.save()
    found = to_json(streams, wall_ahead_s=ahead)
    (recorder.folder / RESULT).write_text(json.dumps(found))
    return {
        "answer": found["answer"],
        "sequence": found["streams"][0]["sequence"],
        "findings": [each["bug"] for each in found["findings"]],
    }


class _Recorder:
    """Collects both streams while they happen."""

    def __init__(self, link: str, client: ProxyClient, folder: Path) -> None:
        self.link, self.folder = link, folder
        self.faults: list[FaultWindow] = []
        self._client = client
        self._entries: list[dict[str, Any]] = []
        names = [each["name"] for each in client.links()]
        if link not in names:
            raise NoTargets(
                f"the proxy at {client.api} has no link {link!r}; it has {', '.join(names) or 'none'}"
            )
        self._seq = client.last_seq()
        self._since = self._until = time.monotonic()
        self._open: list[dict[str, Any]] = []

    def look(self) -> View:
        """Take in what came meanwhile, and infer what there is to infer."""
        self._until = time.monotonic()
        opened = self._client.open_requests(self.link)  # ahead of the log, so that none is missed in between
        while page := self._client.arrivals(self._seq, PAGE):
            self._seq = int(page[-1]["seq"])
            self._entries += [
                each for each in page if each["link"] == self.link and each["kind"] == "request"
            ]
        ended = {(each["peer"], each["monotonic_at"]) for each in self._entries[-PAGE:]}
        self._open = [each for each in opened if (each["peer"], each["monotonic_at"]) not in ended]
        return view(self.calls()[0], self.arrivals(), self.faults)

    def calls(self) -> tuple[Calls, float]:
        """Return the client's calls while arrivals were recorded, and how far its wall clock was ahead."""
        path = self.folder / FILE
        calls, ahead = calls_of(path.read_bytes() if path.exists() else b"")
        return calls.where((calls.begun > self._since) & (calls.ended < self._until)), ahead

    def arrivals(self) -> Any:
        """Return the link's arrivals so far."""
        return arrivals_of([*self._entries, *self._open])

    def save(self) -> None:
        """File what the answer was inferred from, so that it can be inferred again."""
        windows = [{"kind": f.kind, "began": f.began, "ended": f.ended} for f in self.faults]
        recording = {
            "link": self.link,
            "since": self._since,
            "until": self._until,
            "faults": windows,
            "arrivals": [*self._entries, *self._open],
        }
        (self.folder / RECORDING).write_text(json.dumps(recording))


class _Exercise:
    """Plays kinds of fault one after the other, each with its recovery."""

    def __init__(self, recorder: _Recorder, pace: Pace, dice: random.Random, proxy: str | None) -> None:
        self._recorder, self._pace, self._dice = recorder, pace, dice
        self._proxy = proxy
        self._slow_ms = 300.0

    def play(self, kinds: Sequence[str]) -> None:
        began = time.monotonic()
        self._wait(
            lambda seen, now: protocol.baseline_is_enough(seen, self._pace, now - began),
            3 * self._pace.baseline_s,
        )
        self._check_streams()
        for kind in kinds:
            seen = self._recorder.look()
            self._slow_ms = 1000 * min(SLOW_MAX_S, SLOW_SHARE * protocol.patience_of_service_s(seen))
            time.sleep(self._dice.uniform(0, 0.5))  # the phase at which a fault begins must not be chosen
            self._fail(kind)
            if kind == "slow" and not self._opened_under(kind):
                self._hold_a_trial()
            if not self._recover():
                return  # a breaker that does not close has nothing more to show

    def _check_streams(self) -> None:
        seen, link = self._recorder.look(), self._recorder.link
        if len(seen.calls) == 0:
            raise NoEvidence("there is no traffic: is the control agent.controls.traffic in the experiment?")
        if len(seen.arrivals) == 0:
            raise NoEvidence(
                f"{len(seen.calls)} calls were made and not one request came over the link {link!r}: "
                "the service bypasses it (tell it to call the link's address), or never asks the dependency"
            )

    def _fail(self, kind: str) -> None:
        """Keep one kind of fault in for as long as it teaches something."""
        began = time.monotonic()
        self._inject(kind)
        self._window(kind, began)
        self._wait(
            lambda seen, now: protocol.fault_is_enough(seen, self._pace, began, now), self._pace.fault_max_s
        )
        if self._opened_under(
            kind
        ):  # end it at a random moment of the open time, or every recovery looks alike
            time.sleep(self._dice.uniform(0, protocol.open_time_s(self._recorder.look())))
        heal()
        self._end_window()

    def _hold_a_trial(self) -> None:
        """Open it, then make the trial slow but successful, and see what becomes of the others."""
        began = time.monotonic()
        self._inject("error")
        self._window("error", began)
        self._wait(lambda seen, _: seen.course.sequence[-1] is State.OPEN, self._pace.patience_s)
        heal()
        self._end_window()
        began = time.monotonic()
        self._inject("slow")
        self._window("hold", began)
        longest = 2 * protocol.open_time_s(self._recorder.look()) + self._pace.patience_s
        self._wait(lambda seen, _: protocol.is_closed(seen), longest)
        heal()
        self._end_window()

    def _recover(self) -> bool:
        since = time.monotonic()
        self._wait(
            lambda seen, now: protocol.recovery_is_enough(seen, self._pace, since, now),
            self._pace.recover_max_s,
        )
        return protocol.is_closed(self._recorder.look())

    def _opened_under(self, kind: str) -> bool:
        seen = self._recorder.look()
        began = max(fault.began for fault in seen.faults if fault.kind == kind)
        return any(step.to is State.OPEN and step.before >= began for step in seen.course.transitions)

    def _inject(self, kind: str) -> None:
        faults: Mapping[str, Callable[..., Any]] = {
            "error": lambda **to: links.fail_requests(status=500, **to),
            "not-found": lambda **to: links.fail_requests(status=404, **to),
            "hang": links.partition,
            "slow": lambda **to: links.delay(latency_ms=self._slow_ms, **to),
            "refuse": links.refuse,
            "reset": lambda **to: links.reset(
                on="request", **to
            ),  # with the connection none could be counted
        }
        longest = self._pace.fault_max_s + self._pace.patience_s + self._pace.recover_max_s
        faults[kind](link=self._recorder.link, proxy=self._proxy, max_duration_s=longest)

    def _window(self, kind: str, began: float) -> None:
        self._recorder.faults.append(FaultWindow(kind=kind, began=began, ended=float("inf")))

    def _end_window(self) -> None:
        faults = self._recorder.faults
        faults[-1] = replace(faults[-1], ended=time.monotonic())

    def _wait(self, enough: Callable[[View, float], bool], longest_s: float) -> None:
        deadline = time.monotonic() + longest_s
        while time.monotonic() < deadline:
            if enough(self._recorder.look(), time.monotonic()):
                return
            time.sleep(LOOK_EVERY_S)
