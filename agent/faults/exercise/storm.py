"""Plays a storm: offers the load, puts the trigger in and takes it out, and records both streams."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from agent import settings as settings_of
from agent.breakers.storms.answer import Level, to_json
from agent.breakers.storms.goodput import load_of
from agent.breakers.storms.storm import Name, Phase, back, is_bad, judge, lowered_rps
from agent.faults import links, traffic
from agent.model import NoEvidence, NoTargets, NotRecovered, UsageError
from agent.proxy.client import ProxyClient
from agent.safety.context import current_run
from agent.safety.heal import heal
from agent.store import Store
from agent.traffic import commands
from agent.traffic.commands import TrafficGone
from agent.traffic.samples import FILE, HEADER, why_missing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.breakers.storms.goodput import Load
    from agent.breakers.storms.storm import Pace, Rules
    from agent.model import Json

RESULT = "storm.json"
KINDS = ("latency", "error", "hang", "refuse", "reset", "surge")
SURGE = "traffic.surge"
LOOK_EVERY_S = 0.25
PAGE = 10_000
LAG_S = 0.2
"""So long after its client gave up a call is in the samples at the latest."""
SPARE_S = 15.0
"""A trigger's own hard end comes so much after the moment at which it is taken out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What is done for a moment; ``factor`` is a surge's, ``latency_ms`` that of a slow link."""

    kind: str
    for_s: float
    latency_ms: float | None = None
    factor: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"no trigger is called {self.kind!r}; there are {', '.join(KINDS)}")
        if not 0 < self.for_s <= 60:
            raise UsageError(f"trigger_s is above 0 and at most 60, not {self.for_s:g}")

    def begin(self, link: str, proxy: str | None) -> dict[str, Json]:
        """Put it in, through the door."""
        longest = self.for_s + SPARE_S
        if self.kind == "surge":
            return traffic.surge(factor=self.factor, max_duration_s=longest)
        to: dict[str, Any] = {"link": link, "proxy": proxy, "max_duration_s": longest}
        if self.kind == "latency":
            return links.delay(latency_ms=self.latency_ms or 0.0, **to)
        if self.kind == "error":
            return links.fail_requests(status=503, **to)
        if self.kind == "reset":
            return links.reset(on="request", **to)
        return links.partition(**to) if self.kind == "hang" else links.refuse(**to)


class Recorder:
    """Collects both streams while they happen.

    Raises:
        NoTargets: There is no such link, or no traffic.
    """

    def __init__(self, link: str, proxy: str | None) -> None:
        self.link, self.folder = link, current_run().folder
        self._client = ProxyClient.of(settings_of.current(), proxy)
        names = [each["name"] for each in self._client.links()]
        if link not in names:
            raise NoTargets(
                f"the proxy at {self._client.api} has no link {link!r}; it has {', '.join(names) or 'none'}"
            )
        try:
            now = commands.status(self.folder)
        except TrafficGone as error:
            raise NoTargets(f"{error}: a storm needs the control agent.controls.traffic") from error
        self.plan_rps, self.rate_max_rps = float(now["plan_rate_rps"]), float(now["rate_max_rps"])
        self.patience_s = float(now["offer"]["timeout_s"])
        self.opened: list[tuple[float, int]] = []
        self._seq = self._client.last_seq()
        self._ended: list[float] = []
        self._open: list[float] = []

    def look(self) -> Load:
        """Take in what came meanwhile, and return all of it."""
        opened = self._client.open_requests(self.link)  # ahead of the log, so that none is missed in between
        fresh: set[tuple[str, float]] = set()
        while page := self._client.arrivals(self._seq, PAGE):
            self._seq = int(page[-1]["seq"])
            mine = [each for each in page if each["link"] == self.link and each["kind"] == "request"]
            self._ended += [each["monotonic_at"] for each in mine]
            fresh |= {(each["peer"], each["monotonic_at"]) for each in mine}
        self._open = [
            each["monotonic_at"] for each in opened if (each["peer"], each["monotonic_at"]) not in fresh
        ]
        self.opened.append((time.monotonic(), len(self._open)))
        path = self.folder / FILE
        return load_of(path.read_bytes() if path.exists() else b"", [*self._ended, *self._open])

    @property
    def settled(self) -> float:
        """The moment up to which it is known what became of every call."""
        return time.monotonic() - self.patience_s - LAG_S

    @property
    def wall_ahead_s(self) -> float:
        """How far the samples' wall clock is ahead of the monotonic one."""
        with (self.folder / FILE).open("rb") as file:
            ahead: float = HEADER.unpack(file.read(HEADER.size))[2]
        return ahead


class Storm:
    """Plays the trigger at one load, or at several."""

    def __init__(
        self, recorder: Recorder, pace: Pace, rules: Rules, trigger: Trigger, proxy: str | None
    ) -> None:
        self._recorder, self._pace, self._rules = recorder, pace, rules
        self._trigger, self._proxy = trigger, proxy

    def play(self, rate_rps: float) -> Level:
        """Hold *rate_rps*, trigger, and watch; lower and restore the load where that is needed to tell."""
        phases: list[Phase] = []

        def hold(name: Name, longest_s: float, enough: Callable[[Load, float], bool], rate: float) -> None:
            began = time.monotonic()
            while time.monotonic() < began + longest_s:
                if enough(self._recorder.look(), began):
                    break
                time.sleep(LOOK_EVERY_S)
            phases.append(Phase(name=name, began=began, ended=time.monotonic(), rate_rps=rate))

        try:
            self._offer(rate_rps)
            hold(Name.BASELINE, self._pace.baseline_s, self._goes_bad, rate_rps)
            self._check(phases[0])
            if not self._went_bad(phases[0]):
                phases.append(self._triggered(rate_rps))
                hold(Name.WATCH, self._pace.watch_s, self._is_back, rate_rps)
                if not self._came_back(phases[-1]):
                    low = lowered_rps(rate_rps)
                    self._offer(low)
                    hold(Name.LOWERED, self._pace.lowered_max_s, self._is_back, low)
                    if self._came_back(phases[-1]):
                        self._offer(rate_rps)
                        hold(Name.RESTORED, self._pace.restored_s, self._goes_bad, rate_rps)
        finally:
            self._offer(self._recorder.plan_rps)
        judged = judge(self._settled(phases[-1]), phases, self._rules)
        return Level(rate_rps=rate_rps, phases=tuple(phases), judged=judged)

    def calm_down(self) -> bool:
        """Lower the load until the goodput is back, and say whether it is; then the plan's load is back."""
        low = lowered_rps(self._recorder.plan_rps)
        self._offer(low)
        began = time.monotonic()
        calm = False
        while not calm and time.monotonic() < began + self._pace.lowered_max_s:
            time.sleep(LOOK_EVERY_S)
            calm = self._is_back(self._recorder.look(), began)
        self._offer(self._recorder.plan_rps)
        return calm

    def answer(self, levels: Sequence[Level], *, swept: bool) -> dict[str, Json]:
        """File what is known so far, and return the short of it."""
        found = to_json(
            self._recorder.look(),
            levels,
            trigger={key: value for key, value in asdict(self._trigger).items() if value is not None},
            rules=self._rules,
            opened=self._recorder.opened,
            wall_ahead_s=self._recorder.wall_ahead_s,
            swept=swept,
        )
        (self._recorder.folder / RESULT).write_text(json.dumps(found), encoding="utf-8")
        return {"answer": found["answer"], "outcome": found["outcome"]}

    # what is decided on the way

    def _is_back(self, load: Load, began: float) -> bool:
        return back(load, began, self._recorder.settled, self._rules) is not None

    def _goes_bad(self, load: Load, began: float) -> bool:
        return is_bad(load, began, self._recorder.settled, self._rules)

    def _went_bad(self, phase: Phase) -> bool:
        return is_bad(self._settled(phase), phase.began, phase.ended, self._rules)

    def _came_back(self, phase: Phase) -> bool:
        return back(self._recorder.look(), phase.began, self._recorder.settled, self._rules) is not None

    def _settled(self, phase: Phase) -> Load:
        """Return the streams once it is known what became of every call of *phase*."""
        time.sleep(max(0.0, phase.ended - self._recorder.settled))
        return self._recorder.look()

    def _check(self, baseline: Phase) -> None:
        load, link = self._recorder.look(), self._recorder.link
        calls = len(load.good[load.calls(baseline.began, baseline.ended)])
        if not calls:
            raise NoEvidence(f"there is no traffic: {why_missing(current_run().folder)}")
        if not load.requests(baseline.began, baseline.ended):
            raise NoEvidence(
                f"{calls} calls were made and not one request came over the link {link!r}: "
                "the service bypasses it (tell it to call the link's address), never asks the dependency, or "
                "speaks TLS or HTTP/2 to it, which a link carries unseen"
            )

    # what is done

    def _offer(self, rate_rps: float) -> None:
        """Offer *rate_rps*: up to the plan's by a command, above it by a surge through the door."""
        _heal(SURGE)
        if rate_rps > self._recorder.plan_rps:
            traffic.surge(rate_rps=rate_rps, max_duration_s=self._pace.longest_s + SPARE_S)
        else:
            commands.change(self._recorder.folder, rate_rps=rate_rps)

    def _triggered(self, rate_rps: float) -> Phase:
        """Put the trigger in for its time, and return when nothing of it is left."""
        told = self._trigger.begin(self._recorder.link, self._proxy)
        began = _applied(str(told["injection"]))  # what came before it, such as a reaper, is no trigger
        while (left := began + self._trigger.for_s - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_EVERY_S))
            self._recorder.look()
        _heal(str(told["fault"]))
        return Phase(name=Name.TRIGGER, began=began, ended=time.monotonic(), rate_rps=rate_rps)


def _applied(injection: str) -> float:
    """Return the monotonic moment at which *injection* was in."""
    store = Store(settings_of.current().home)
    try:
        found = next(each for each in store.injections(current_run().id) if each.id == injection)
    finally:
        store.close()
    assert found.applied_at is not None, "it has landed"
    return time.monotonic() - (time.time() - found.applied_at)


def _heal(fault: str) -> None:
    """Heal what this run has of *fault*, and nothing else of it.

    Raises:
        NotRecovered: Something of it may still be in.
    """
    store = Store(settings_of.current().home)
    try:
        result = heal(store, current_run().id, only=lambda injection: injection.fault == fault)
    finally:
        store.close()
    if not result.clean:
        raise NotRecovered("; ".join(f"{what}: {why}" for what, why in result.left))
