"""A surge of the run's traffic, through the one door, with the real control and driver."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from agent.controls import traffic as control
from agent.faults import heal, traffic
from agent.model import NoTargets, UsageError
from agent.safety.context import current_run
from agent.traffic import commands, offers
from probes import traffic as probes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def entry(upstream: str) -> Iterator[str]:
    """The service that the traffic goes to."""
    yield f"http://{upstream}"
    control.stop()


def test_a_surge_lands_is_kept_in_by_the_run_and_is_gone_after_heal(
    entry: str, until: Callable[..., Any]
) -> None:
    """Measured in departures; it outlives its lease as long as the run renews it; the dose is told."""
    control.before_experiment_control(None, url=f"{entry}/", rate_rps=50.0, rate_max_rps=200.0)
    folder = current_run().folder
    done: dict[str, Any] = traffic.surge(factor=3.0)
    assert done["victims"] == [entry]
    assert done["dose"]["asked"] == {"rate_rps": 150.0}
    assert done["dose"]["measured"]["rate_rps"] > 100
    began = offers.read(folder)[-1]
    until(lambda: time.monotonic() > began.at + 4.0)
    assert commands.status(folder)["offer"]["rate_rps"] == 150.0, "the lease of 3 s was renewed"
    until(lambda: probes.samples(window_s=1.0) > 100)
    assert probes.success_ratio(window_s=1.0) == 1.0
    assert heal() == {"healed": ["traffic.surge"]}
    assert commands.status(folder)["surge"] is None
    assert [each.why for each in offers.read(folder)] == ["plan", "surge", "surge over"]


@pytest.mark.parametrize(
    "asked", [{}, {"factor": 2.0, "rate_rps": 100.0}, {"factor": 1.0}, {"rate_rps": 200.1}, {"factor": 9.0}]
)
def test_a_surge_that_is_not_allowed_touches_nothing(entry: str, asked: dict[str, float]) -> None:
    """Neither more than the traffic's limit, nor less than the plan, nor both ways of saying it."""
    control.before_experiment_control(None, url=f"{entry}/", rate_rps=50.0, rate_max_rps=200.0)
    with pytest.raises(UsageError):
        traffic.surge(**asked)
    assert [each.why for each in offers.read(current_run().folder)] == ["plan"]


def test_a_surge_without_traffic_has_no_target() -> None:
    """Said as such."""
    with pytest.raises(NoTargets, match=r"agent\.controls\.traffic"):
        traffic.surge(factor=2.0)


def test_on_the_leash_the_load_stays_as_planned(entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The victim is named, and that is all."""
    monkeypatch.setenv("GAMEDAY_LEASH", "1")
    control.before_experiment_control(None, url=f"{entry}/", rate_rps=50.0, rate_max_rps=200.0)
    said: dict[str, Any] = traffic.surge(factor=2.0)
    assert said["leashed"]
    assert said["victims"] == [entry]
    assert [each.why for each in offers.read(current_run().folder)] == ["plan"]
