"""One run, from an experiment to a filed report; every effect is an argument.

The order is the safety story: recover, gates, record, play and watch, heal, look again, judge, file.
Whatever goes wrong on the way, the healing in the middle is not skipped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Protocol

import structlog

from agent.evidence.judge import Allowed, Course, judge
from agent.evidence.spans import steady_after, unsteady_since
from agent.execution.messages import Played, Section, refusal
from agent.model import Activity, Look, Mark, RunRecord, Verdict
from agent.safety.heal import Healed, heal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from agent.catalog.experiment import Experiment
    from agent.execution.spawn import Child, Watcher
    from agent.store import Store

log = structlog.get_logger()

TICK_S = 0.1
HALT_EVERY_S = 0.25
WATCH_STARTS_WITHIN_S = 8.0


class Stop(Protocol):
    """Somebody outside may ask the run to end: a signal, or the end of ``serve``."""

    @property
    def why(self) -> str | None:
        """The reason, in words that fit before "while the fault was in"; None while nobody asked."""

    def fileno(self) -> int:
        """Return a file descriptor that is readable once somebody asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """Everything a run does to the world, so that a test may pass in less."""

    store: Store
    start_child: Callable[[], Child]
    start_watch: Callable[[], Watcher]
    stop: Stop
    halted: Callable[[], str | None]
    """Why everything is to stop, None while it is not; answers at once, whoever cannot be reached."""
    observe: Callable[[RunRecord, object], None]
    """Told of every message, look and mark as it happens, for a progress display."""
    complete: Callable[[RunRecord], RunRecord]
    """Adds what only lies in files: traffic, the redacted definition."""
    file: Callable[[RunRecord], RunRecord]
    """Puts the report where people look; its failure must not change the verdict."""


@dataclass(slots=True)
class _Course:
    """What is known so far; the only thing in here that changes."""

    record: RunRecord
    looks: list[Look] = field(default_factory=list)
    activities: list[Activity] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    before_met: bool | None = None
    after_met: bool | None = None
    method_started: bool = False
    played: Played | None = None
    stopped: str | None = None
    refused: str | None = None


class Run:
    """A run in progress; :meth:`go` is the whole life of it."""

    def __init__(self, experiment: Experiment, record: RunRecord, effects: Effects) -> None:
        self._experiment = experiment
        self._allowance = experiment.allowance
        self._effects = effects
        self._store = effects.store
        self._now = _Course(record=record)
        self._watcher: Watcher | None = None
        self._look_begun: float | None = None
        self._look_may_take_s = self._allowance.watch.look_timeout_s
        self._halt_asked = 0.0

    def go(self) -> RunRecord:
        """Play, watch, heal, look again, judge and file; return the finished record."""
        self._mark("started")
        child = self._effects.start_child()
        try:
            self._play(child)
            result = self._heal(patient=self._now.played is not None)
            if self._now.played is None:
                child.stop()  # before anybody waits for what comes back by itself: it may still be breaking
                result = self._heal()
            if self._now.method_started and not self._now.record.leashed:
                self._look_again()
        finally:
            if self._watcher:
                self._watcher.stop()
            child.release()
            child.stop()
            heal(self._store, self._now.record.run)
        return self._finish(result)

    # playing and watching

    def _play(self, child: Child) -> None:
        deadline = time.monotonic() + self._allowance.timeout_s
        reading: list[Connection] = [child.messages, child.output.source]
        while self._now.played is None and self._now.stopped is None and not self._aborted:
            ends: list[Connection | int] = [
                *reading,
                *self._watch_ends(),
                self._effects.stop.fileno(),
                child.process.sentinel,
            ]
            ready = wait(ends, TICK_S)
            if child.output.source in ready and not child.output.drain():
                reading.remove(child.output.source)
            if child.messages in ready:
                self._hear(child)
            elif child.process.sentinel in ready:
                self._stop_for("The run's own process died", kind="child_died")
            self._hear_watch()
            self._check_ends(deadline)

    @property
    def _aborted(self) -> bool:
        return self._now.record.aborted

    def _check_ends(self, deadline: float) -> None:
        """Ask everybody who may end the run early."""
        if why := self._effects.stop.why:
            self._stop_for(why, kind="interrupted")
        elif time.monotonic() > deadline:
            self._stop_for(f"Its time limit of {self._allowance.timeout_s:g} s was over", kind="timeout")
        elif time.monotonic() - self._halt_asked > HALT_EVERY_S:
            self._halt_asked = time.monotonic()
            if (reason := self._effects.halted()) is not None:
                self._stop_for(f"Halted ({reason})", kind="halted")
            self._show_injections()

    def _show_injections(self) -> None:
        for injection in self._store.injections(self._now.record.run):
            self._effects.observe(self._now.record, injection)

    def _stop_for(self, why: str, *, kind: str) -> None:
        if self._now.stopped is None and self._now.played is None:
            self._now.stopped = why
            self._mark(kind, why)
            self._store.abort(self._now.record.run)

    def _hear(self, child: Child) -> None:
        try:
            message = child.messages.recv()
        except (EOFError, OSError):
            return self._stop_for("The run's own process died", kind="child_died")
        now = self._now
        if isinstance(message, Section):
            self._enter(message)
        elif isinstance(message, Activity):
            if now.activities and now.activities[-1].ended_at is None:
                now.activities.pop()
            now.activities.append(message)
            if message.error and message.section == "method" and (said := refusal(message.error)):
                now.refused = said
        elif isinstance(message, Played):
            now.played = message
            if message.status == "interrupted":
                now.stopped = "Interrupted"
        self._effects.observe(now.record, message)
        return None

    def _enter(self, section: Section) -> None:
        """Follow Chaos Toolkit from section to section; the watch begins with the method."""
        now = self._now
        if section.ended:
            now.activities = [_with_met(each, section) for each in now.activities]
        else:
            self._mark(section.name, at=section.at)
        if section.name == "before" and section.ended:
            now.before_met = section.met
        elif section.name == "after" and section.ended:
            now.after_met = section.met
        elif section.name == "method" and not section.ended:
            now.method_started = True
            if self._experiment.probes:
                self._start_watch()

    def _watch_ends(self) -> Sequence[Connection]:
        return [self._watcher.looks] if self._watcher else []

    def _hear_watch(self) -> None:
        """Take looks; one that takes too long is unknown, and its process is replaced."""
        if self._watcher is None:
            return
        try:
            while self._watcher.looks.poll():
                self._take(self._watcher.looks.recv())
        except (EOFError, OSError):
            self._replace_watch("the watch died")
        if self._look_begun is not None and time.time() - self._look_begun > self._look_may_take_s:
            self._replace_watch(f"a look took longer than {self._look_may_take_s:g} s")

    def _take(self, message: float | Look) -> None:
        if isinstance(message, float):
            self._look_begun, self._look_may_take_s = message, self._allowance.watch.look_timeout_s
            return
        self._look_begun = None
        self._now.looks.append(message)
        self._effects.observe(self._now.record, message)
        self._abort_if_due()

    def _start_watch(self) -> None:
        """Start a watch; its first look may take longer, for it has to import its probes before."""
        self._look_begun = time.time()
        self._look_may_take_s = self._allowance.watch.look_timeout_s + WATCH_STARTS_WITHIN_S
        self._watcher = self._effects.start_watch()

    def _replace_watch(self, why: str) -> None:
        assert self._watcher is not None
        begun = self._look_begun or time.time()
        self._mark("look_unknown", why)
        self._take(Look(at=begun, ended_at=time.time(), steady=None, readings=()))
        self._watcher.stop()
        self._start_watch()

    def _abort_if_due(self) -> None:
        """Apply the experiment's abort rule: so many seconds without one steady look."""
        limit, since = self._allowance.watch.abort_after_s, unsteady_since(self._now.looks)
        if limit is None or since is None or self._aborted or self._now.played or self._now.stopped:
            return
        last = self._now.looks[-1]
        if last.ended_at - since >= limit and not self._now.record.leashed:
            self._now.record = self._now.record.with_(aborted=True)
            self._mark("abort", f"not steady for {last.ended_at - since:.1f} s, {limit:g} s were allowed")
            self._store.abort(self._now.record.run)

    # after the fault

    def _heal(self, *, patient: bool = True) -> Healed:
        """Heal from the ledger; the first thing after an abort, and harmless when all is gone."""
        if self._store.injections(self._now.record.run, open_only=True):
            self._mark("heal_started")
        result = heal(self._store, self._now.record.run, patient=patient, final=patient)
        self._show_injections()
        if result.healed:
            self._mark("healed", ", ".join(result.healed))
        for what, why in result.left if patient else ():
            self._mark("not_recovered", f"{what}: {why}")
        return result

    def _look_again(self) -> None:
        """The third look: until steady, or until ``recover_within_s`` is over."""
        if self._watcher is None:
            return
        injections = self._store.injections(self._now.record.run)
        healed_at = max((i.healed_at or time.time() for i in injections), default=time.time())
        patience = self._allowance.watch.look_timeout_s + self._allowance.watch.every_s
        deadline = healed_at + self._allowance.recover_within_s + patience
        self._watcher.look_now()
        while time.time() < deadline:
            wait(self._watch_ends(), TICK_S)
            self._hear_watch()
            if back := steady_after(self._now.looks, healed_at):
                self._mark("recovered", at=back.ended_at)
                return

    def _finish(self, result: Healed) -> RunRecord:
        now = self._now
        injections = self._store.injections(now.record.run)
        record = now.record.with_(
            ended_at=time.time(),
            injections=injections,
            activities=tuple(now.activities),
            looks=tuple(now.looks),
            marks=(*now.record.marks, *now.marks),
            recovered=result.clean and not any(injection.open for injection in injections),
        )
        verdict, reason = judge(record, self._course(), self._allowed)
        record = self._effects.complete(record.with_(verdict=verdict, reason=reason))
        record = self._effects.file(record)
        assert record.ended_at is not None
        self._store.end_run(record.run, record.summary(), ended_at=record.ended_at)
        return record

    def _course(self) -> Course:
        now = self._now
        return Course(
            before_met=now.before_met,
            after_met=now.after_met,
            has_hypothesis=bool(self._experiment.probes),
            stopped=now.stopped,
            refused=now.refused,
            engine_error=now.played.error if now.played else None,
        )

    @property
    def _allowed(self) -> Allowed:
        return Allowed(
            unsteady_s_max=self._allowance.during.unsteady_s_max,
            recover_within_s=self._allowance.recover_within_s,
        )

    def _mark(self, kind: str, says: str = "", *, at: float | None = None) -> None:
        mark = Mark(at=time.time() if at is None else at, kind=kind, says=says)
        self._now.marks.append(mark)
        self._effects.observe(self._now.record, mark)


def _with_met(activity: Activity, section: Section) -> Activity:
    """Return *activity* with what the hypothesis that just ended says of it."""
    if activity.section != section.name or activity.name not in section.probes_met:
        return activity
    return replace(activity, met=section.probes_met[activity.name])


def refused(record: RunRecord, why: str, store: Store) -> RunRecord:
    """Return the record of a run that a gate kept from starting, ended in the store."""
    now = time.time()
    done = replace(record, verdict=Verdict.REFUSED, reason=why, ended_at=now)
    store.end_run(done.run, done.summary(), ended_at=now)
    log.warning("run_refused", run=record.run, why=why)
    return done
