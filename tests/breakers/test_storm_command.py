"""``gameday breaker storm`` as a user plays it, where it goes right, where it cannot, and where it dies."""

from __future__ import annotations

import json
import signal
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.traffic import offers

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Stage

    from agent.proxy.client import ProxyClient


STORM = Path(__file__).parents[2] / "experiments" / "breakers" / "storm.yaml"


def _storm(entry: str, *more: str) -> tuple[str, ...]:
    common = ("--rate", "60", "--timeout-s", "1", "--baseline-s", "3", "--trigger-s", "2")
    return ("breaker", "storm", "--entry", entry, *common, *more)


@pytest.mark.quiet
def test_a_path_with_nothing_that_stays_recovers(stage: Stage, proxy: ProxyClient) -> None:
    """The client calls the link itself; the goodput is back with the end of the errors."""
    out = stage.folder / "out"
    entry = f"http://{proxy.links()[0]['listen']}/"
    code, told, errors = stage.gameday(*_storm(entry, "--trigger", "error", "--out", str(out), "--json"))
    assert (code, told["outcome"]) == (0, "recovered"), (told, errors)
    assert [phase["name"] for phase in told["levels"][0]["phases"]] == ["baseline", "trigger", "watch"]
    assert "A short trouble under load" in (out / "report.html").read_text()
    assert json.loads((out / "storm.json").read_text())["schema"] == "gameday/storm/1"
    assert json.loads((out / "record.json").read_text())["storm"]["outcome"] == "recovered"
    assert proxy.links()[0]["toxics"] == []


@pytest.mark.quiet
def test_a_trigger_that_nobody_notices_is_no_pass(stage: Stage, proxy: ProxyClient) -> None:
    """20 ms are within everybody's patience: nothing was shown."""
    entry = f"http://{proxy.links()[0]['listen']}/"
    code, told, errors = stage.gameday(*_storm(entry, "--latency-ms", "20", "--json"))
    assert (code, told["verdict"], told["outcome"]) == (3, "INCONCLUSIVE", "inconclusive"), (told, errors)
    assert "did no harm" in told["answer"]


@pytest.mark.quiet
def test_a_sweep_offers_no_more_than_it_may_and_ends_with_a_bracket(stage: Stage, proxy: ProxyClient) -> None:
    """A path that nothing overloads survives the highest load given; each raised load was a fault."""
    entry = f"http://{proxy.links()[0]['listen']}/"
    asked = _storm(entry, "--sweep", "40:90", "--trigger", "error", "--watch-s", "8", "--json")
    code, told, errors = stage.gameday(*asked, timeout_s=100)
    assert code == 0, (told, errors)
    assert told["hysteresis"]["survives_rps"] == 90
    assert told["hysteresis"]["fails_rps"] is None
    faults = [each["fault"] for each in told["run"]["injections"]]
    assert sorted(set(faults)) == ["links.fail_requests", "traffic.surge"]
    folder = stage.home / "runs" / told["run"]["run"]
    assert max(each.rate_rps for each in offers.read(folder)) == 90


def test_a_link_that_nobody_uses_is_said(stage: Stage, proxy: ProxyClient, upstream: str) -> None:
    """The service bypasses it: nothing can be told, and nothing was broken."""
    assert proxy.links()
    code, told, errors = stage.gameday(*_storm(f"http://{upstream}/", "--json"))
    assert (code, told["verdict"]) == (3, "INCONCLUSIVE"), errors
    assert "the service bypasses it" in told["reason"]
    assert told["run"]["injections"] == []


def test_an_entry_that_is_down_trips_by_itself(stage: Stage, proxy: ProxyClient) -> None:
    """It is not touched, and never called well."""
    assert proxy.links()
    code, told, _ = stage.gameday(*_storm("http://127.0.0.1:1/", "--json"))
    assert (code, told["verdict"]) == (3, "INCONCLUSIVE")
    assert told["run"]["injections"] == []


@pytest.mark.parametrize("trigger", ["hang", "surge"])
def test_when_everything_but_the_proxy_is_killed_nothing_stays(
    stage: Stage, proxy: ProxyClient, trigger: str, until: Callable[..., Any]
) -> None:
    """A storm that dies in its trigger leaves neither a broken link nor a raised load."""
    entry = f"http://{proxy.links()[0]['listen']}/"
    stage.start("agent", *_storm(entry, "--trigger", trigger, "--rate-max", "180", "--trigger-s", "30"))
    until(lambda: [each for each in stage.open_injections() if each.landed], within_s=40)
    carrier = next(each.pid for each in stage.processes() if "agent.proxy" in each.cmdline())
    stage.kill_all(but=(carrier,))
    until(lambda: not proxy.links()[0]["toxics"])
    until(lambda: all(each.pid == carrier for each in stage.processes()))  # a kill takes its time
    code, _, errors = stage.gameday("heal")
    assert code == 0, errors
    assert stage.open_injections() == ()


def test_an_interrupt_in_the_trigger_heals_first(
    stage: Stage, proxy: ProxyClient, until: Callable[..., Any]
) -> None:
    """Ctrl-C: the link is well again, and the run says that it was interrupted."""
    entry = f"http://{proxy.links()[0]['listen']}/"
    run = stage.start("agent", *_storm(entry, "--trigger", "refuse", "--trigger-s", "30", "--json"))
    until(lambda: [each for each in stage.open_injections() if each.landed], within_s=40)
    run.send_signal(signal.SIGINT)
    out, errors = run.communicate(timeout=60)
    told = json.loads(out)
    assert told["verdict"] in {"INCONCLUSIVE", "DEVIATED"}, errors
    assert told["answer"].startswith("No answer: ")
    assert proxy.links()[0]["toxics"] == []
    assert stage.open_injections() == ()


def test_an_outage_that_lasts_is_ended_by_the_experiments_own_rule(
    stage: Stage, proxy: ProxyClient, tmp_path: Path
) -> None:
    """After so many seconds without goodput the watch heals the trigger, long before its time is over."""
    file = tmp_path / "storm.yaml"
    text = STORM.read_text(encoding="utf-8")
    file.write_text(text.replace("abort_after_s: 90", "abort_after_s: 3"), encoding="utf-8")
    entry = f"http://{proxy.links()[0]['listen']}/"
    values = {"entry": entry, "trigger": "refuse", "trigger_s": "50", "baseline_s": "3"}
    pairs = [part for name, value in values.items() for part in ("--var", f"{name}={value}")]
    code, told, errors = stage.gameday("run", str(file), *pairs, "--json")
    assert (code, told["verdict"]) == (1, "DEVIATED"), (told["reason"], errors)
    assert told["reason"].startswith("Aborted by the watch: not steady for 3")
    (trigger,) = told["injections"]
    applied, healed = (datetime.fromisoformat(trigger[name]) for name in ("applied_at", "healed_at"))
    assert (healed - applied).total_seconds() < 40, "it was to last for 50"
    assert proxy.links()[0]["toxics"] == []
    assert [each for each in stage.processes() if "agent.traffic" in " ".join(each.cmdline())] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--trigger", "flood"), "there are latency, error"),
        (("--trigger", "surge"), "--rate-max"),
        (("--trigger", "surge", "--sweep", "10:20"), "its trigger is one on the link"),
        (("--sweep", "20:10"), "--sweep is LOW:HIGH"),
        (("--sweep", "20"), "--sweep is LOW:HIGH"),
        (("--listen", "127.0.0.1:1"), "--listen and --upstream together"),
        (("--trigger-s", "0"), "trigger_s is above 0"),
        (("--good-share", "1.5"), "good_share"),
    ],
)
def test_misuse_is_a_sentence(stage: Stage, arguments: tuple[str, ...], says: str) -> None:
    """Exit code 2, before anything is started."""
    code, _, errors = stage.gameday("breaker", "storm", "--entry", "http://127.0.0.1:1/", *arguments)
    assert code == 2
    assert says in errors
    assert "Traceback" not in errors
