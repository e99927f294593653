"""Each kind of reader beside the real thing, which is driven from closed to open and back by hand."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from agent.breakers.boxes.whitebox import spells
from agent.breakers.courses.states import State
from agent.whitebox import open_reader
from agent.whitebox.reader import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.breakers.boxes.whitebox import Spell

pytestmark = [pytest.mark.whitebox, pytest.mark.timeout(600)]

CLOSED, OPEN, HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN
SAME_MOMENT_S = 0.05
HOLD_S = 0.7
WIDE_S = 1.0
"""Wider than this no bracket may be, of sources that are read twenty times a second on a busy machine."""


@dataclass(frozen=True, slots=True)
class Real:
    """A state that began after ``lo`` and by ``hi``, as the driver saw it."""

    state: State
    lo: float
    hi: float


class Round:
    """Drives one breaker through its states, and waits until its reader has told each."""

    def __init__(self, target: Any, watch: Watch, until: Callable[..., Any]) -> None:
        self._target, self._watch, self._until = target, watch, until
        self.real: list[Real] = []

    @property
    def told(self) -> list[Spell]:
        """What was told so far, without times in which nothing was known."""
        found = [each for each in spells(self._watch.samples) if each.state is not None]
        return [each for n, each in enumerate(found) if n == 0 or each.state is not found[n - 1].state]

    def wait_for(self, state: State) -> None:
        """Wait until *state* was told last."""
        self._until(lambda: self.told and self.told[-1].state is state, within_s=15)

    def _call(self, answer: str, *, good: bool) -> tuple[float, float]:
        """Call until the answer is *answer*; return when the first call began and the last one ended."""
        began = time.monotonic()
        self._until(lambda: self._target.drive(good=good) == answer, within_s=15)
        return began, time.monotonic()

    def close_first(self) -> None:
        """It is well."""
        self._call("ok", good=True)

    def open(self) -> None:
        """Fail until it keeps calls back."""
        self.real.append(Real(OPEN, *self._call("kept back", good=False)))

    def try_one(self, *, tell: bool) -> None:
        """Let one trial in and hold it; with *tell* its reader has to say half-open meanwhile."""
        since = time.monotonic()
        said: list[str] = []

        def hold() -> None:
            while not said or said[-1] == "kept back":
                said.append(self._target.drive(good=True, hold_s=HOLD_S))
                time.sleep(0.01)

        thread = threading.Thread(target=hold)
        thread.start()
        if tell:
            self.wait_for(HALF_OPEN)
        thread.join(20)
        assert said[-1] == "ok"
        if tell:
            self.real.append(Real(HALF_OPEN, since, time.monotonic()))

    def close(self, since: float) -> None:
        """Succeed until it has closed."""
        self._until(self._is_closed, within_s=15)
        self.real.append(Real(CLOSED, since, time.monotonic()))

    def _is_closed(self) -> bool:
        self._target.drive(good=True)
        return bool(self.told) and self.told[-1].state is CLOSED

    def check(self, *, wide_s: float = WIDE_S, late_s: float = 0.0) -> None:
        """Assert that each state was told in order, within brackets that hold the real moment."""
        told = self.told
        assert [each.state for each in told] == [CLOSED, *(each.state for each in self.real)]
        for spell, real in zip(told[1:], self.real, strict=True):
            assert spell.began_after <= real.hi + SAME_MOMENT_S + late_s, (spell, real)
            assert spell.began_before >= real.lo - SAME_MOMENT_S, (spell, real)
            assert spell.began_before - spell.began_after <= wide_s, (spell, real)


def play(
    target: Any, spec: str, until: Callable[..., Any], *, half_open: bool = True, **check: float
) -> Watch:
    """Go once around, and return the watch with all it has read."""
    address, reader, _ = open_reader(spec)
    watch = Watch(reader, every_s=address.every_s)
    with watch:
        around = Round(target, watch, until)
        around.close_first()
        around.wait_for(CLOSED)
        around.open()
        around.wait_for(OPEN)
        since = time.monotonic()
        around.try_one(tell=half_open)
        around.close(since)
    around.check(**check)
    return watch


def test_resilience4j_tells_by_its_actuator(resilience4j: Any, until: Callable[..., Any]) -> None:
    """States and events; each event is placed to the millisecond."""
    resilience4j.drive(good=True)
    spec = f"resilience4j:{resilience4j.url}/actuator#name={resilience4j.name}&every_s=0.05"
    watch = play(resilience4j, spec, until)
    events = [each for each in watch.samples if each.event]
    assert [each.state for each in events] == [OPEN, HALF_OPEN, CLOSED]
    assert all(each.read - each.asked < 0.01 for each in events)


def test_resilience4j_stays_open_until_the_next_call(resilience4j: Any, until: Callable[..., Any]) -> None:
    """Long after its wait is over it says open: nobody has called it, and reading changes nothing."""
    until(lambda: resilience4j.drive(good=False) == "kept back")
    address, reader, traps = open_reader(
        f"resilience4j:{resilience4j.url}/actuator/prometheus#name={resilience4j.name}&every_s=0.05"
    )
    opened = time.monotonic()
    with Watch(reader, every_s=address.every_s) as watch:
        until(lambda: watch.samples and watch.samples[-1].asked > opened + 2.5)
    assert {each.state for each in watch.samples} == {OPEN}
    assert traps.lazy


def test_resilience4j_tells_by_its_gauges(resilience4j: Any, until: Callable[..., Any]) -> None:
    """The same as Prometheus text."""
    spec = f"resilience4j:{resilience4j.url}/actuator/prometheus#name={resilience4j.name}&every_s=0.05"
    play(resilience4j, spec, until)


def test_hystrix_tells_by_its_stream(hystrix: Any, until: Callable[..., Any]) -> None:
    """It has no word for half-open, and what it sends is as old as the time between two lines."""
    spec = f"hystrix:{hystrix.url}/hystrix.stream#command=orders&every_s=0.02"
    play(hystrix, spec, until, half_open=False, late_s=0.5, wide_s=1.5)


def test_opossum_is_inferred_from_its_counters(
    opossum: Callable[..., Any], until: Callable[..., Any]
) -> None:
    """There is no gauge of the state, and halfOpen is not counted where nobody listens to it."""
    target = opossum()
    play(target, f"opossum:{target.url}/metrics#name=orders&every_s=0.05", until, half_open=False)


def test_opossum_whose_half_open_is_listened_to(
    opossum: Callable[..., Any], until: Callable[..., Any]
) -> None:
    """Then it is counted, and comes by a timer, without any call."""
    target = opossum("listens")
    play(target, f"opossum:{target.url}/metrics#name=orders&half_open=yes&every_s=0.05", until)


@pytest.mark.parametrize("name", ["pybreaker", "aiobreaker"])
def test_the_keys_of_a_python_library_tell(
    name: str, library: Callable[[str], Any], redis: str, until: Callable[..., Any]
) -> None:
    """Read and not changed."""
    target = library(name)
    play(target, f"{name}:redis://{redis}/0#namespace=orders&every_s=0.02", until)


def test_the_key_of_purgatory_tells_no_half_open(
    library: Callable[[str], Any], redis: str, until: Callable[..., Any]
) -> None:
    """It writes half-open when the trial is over, and closed at once after it: declared, and so it is."""
    target = library("purgatory")
    spec = f"purgatory:redis://{redis}/0#name=orders&every_s=0.02"
    assert open_reader(spec)[2].late_half_open
    play(target, spec, until, half_open=False)


def test_the_key_of_gobreaker_tells(
    library: Callable[[str], Any], redis: str, until: Callable[..., Any]
) -> None:
    """It stores a state when the call has ended that made it."""
    target = library("gobreaker")
    address, reader, _ = open_reader(f"gobreaker:redis://{redis}/0#name=orders&every_s=0.02")
    with Watch(reader, every_s=address.every_s) as watch:
        around = Round(target, watch, until)
        around.close_first()
        around.wait_for(CLOSED)
        around.open()
        around.wait_for(OPEN)
        since = time.monotonic()
        around.try_one(tell=False)
        around.wait_for(HALF_OPEN)
        around.real.append(Real(HALF_OPEN, since, time.monotonic()))
        around.close(time.monotonic())
    around.check()


def test_reading_gobreaker_does_not_make_it_try(
    library: Callable[[str], Any], redis: str, until: Callable[..., Any]
) -> None:
    """Its own State() would: here it stays open until a call arrives."""
    target = library("gobreaker")
    until(lambda: target.drive(good=False) == "kept back")
    address, reader, _ = open_reader(f"gobreaker:redis://{redis}/0#name=orders&every_s=0.05")
    opened = time.monotonic()
    with Watch(reader, every_s=address.every_s) as watch:
        until(lambda: watch.samples and watch.samples[-1].asked > opened + 2.0)
    assert {each.state for each in watch.samples} == {OPEN}


def test_envoy_tells_that_its_host_is_ejected(envoy: Callable[..., Any], until: Callable[..., Any]) -> None:
    """There is no half-open; that a connection limit is reached (cx_open) is not open."""
    target = envoy()
    admin = (target.folder / "admin").read_text()
    watch = play(target, f"envoy:{admin}#cluster=orders&limits=yes&every_s=0.05", until, half_open=False)
    assert any(each.details["cx_open"] for each in watch.samples if each.state is CLOSED)


def test_haproxy_tells_at_its_socket(haproxy: Any, until: Callable[..., Any]) -> None:
    """Down is open; only its own checks bring it back."""
    spec = f"haproxy:{haproxy.folder}/haproxy.sock#backend=orders&server=one&every_s=0.05"
    play(haproxy, spec, until, half_open=False)


def test_haproxy_tells_by_its_exporter(haproxy: Any, until: Callable[..., Any]) -> None:
    """The same as Prometheus text, of the whole backend."""
    metrics = (haproxy.folder / "metrics").read_text()
    play(haproxy, f"haproxy:{metrics}#backend=orders&every_s=0.05", until, half_open=False)


def test_a_down_between_two_looks_is_told_by_the_counter(haproxy: Any, until: Callable[..., Any]) -> None:
    """Looked at before and after: the counter says that it was down."""
    _, reader, _ = open_reader(f"haproxy:{haproxy.folder}/haproxy.sock#backend=orders&server=one")
    until(lambda: haproxy.drive(good=True) == "ok")
    (before,) = reader.read()
    assert before.state is CLOSED
    until(lambda: haproxy.drive(good=False) == "kept back")
    until(lambda: haproxy.drive(good=True) == "ok")
    missed = reader.read()
    assert [each.state for each in missed] == [OPEN, CLOSED]
    assert all(each.event and each.asked == before.asked for each in missed)


def test_nginx_tells_by_its_logs(nginx: Any, until: Callable[..., Any]) -> None:
    """Who answered is in the access log, to the millisecond; a group without a live server is open."""
    spec = f"nginx:{nginx.folder}/error.log#upstream=orders&access={nginx.folder}/access.log&every_s=0.05"
    play(nginx, spec, until, half_open=False)


def test_nginx_without_an_access_log_never_says_closed(nginx: Any, until: Callable[..., Any]) -> None:
    """The error log tells that there was nobody to ask, and nothing of the end of that."""
    address, reader, _ = open_reader(f"nginx:{nginx.folder}/error.log#upstream=orders&every_s=0.05")
    with Watch(reader, every_s=address.every_s) as watch:
        until(lambda: nginx.drive(good=False) == "kept back")
        until(lambda: any(each.state is OPEN for each in watch.samples))
        until(lambda: nginx.drive(good=True) == "ok")
        until(lambda: watch.samples[-1].state is None)
    assert "no line of the log says that it is closed" in watch.samples[-1].why
    opened = next(each for each in watch.samples if each.state is OPEN)
    assert opened.read - opened.asked <= 1.0


def test_caddy_tells_by_its_admin(caddy: Any, until: Callable[..., Any]) -> None:
    """As many failures as are allowed is open; the number is read from its configuration."""
    admin = (caddy.folder / "admin").read_text()
    watch = play(caddy, f"caddy:{admin}#every_s=0.05", until, half_open=False)
    assert watch.samples[0].details["max_fails"] == 5


def test_any_gauge_tells_by_configuration(resilience4j: Any, until: Callable[..., Any]) -> None:
    """resilience4j's gauges read as anybody's: a gauge for each state."""
    options = f"labels=name:{resilience4j.name}&state_label=state&every_s=0.05"
    metric = "resilience4j_circuitbreaker_state"
    spec = f"prometheus:{resilience4j.url}/actuator/prometheus#metric={metric}&{options}"
    play(resilience4j, spec, until)


def test_any_json_tells_by_configuration(resilience4j: Any, until: Callable[..., Any]) -> None:
    """resilience4j's actuator read as anybody's document."""
    options = f"path=circuitBreakers.{resilience4j.name}.state&lazy=yes&every_s=0.05"
    play(resilience4j, f"json:{resilience4j.url}/actuator/circuitbreakers#{options}", until)
