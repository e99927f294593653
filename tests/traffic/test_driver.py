"""The driver's own process against a server that answers, hangs, fails, or is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from agent.model import UsageError
from agent.sandbox.supervisor import free_ports
from agent.traffic.plan import Plan, check_target
from agent.traffic.samples import Outcome, Sample, read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Stage


def drive(tmp_path: Path, url: str, **changes: Any) -> tuple[Sample, ...]:
    """Drive a short plan to its end and return the samples."""
    plan = Plan(**{"url": url, "rate_rps": 50.0, "timeout_s": 0.3, "max_duration_s": 0.5, **changes})
    out = tmp_path / "samples"
    command = [sys.executable, "-m", "agent.traffic", "--plan", json.dumps(asdict(plan)), "--out", str(out)]
    subprocess.run(command, check=True, timeout=30)
    return read(out)


@pytest.mark.parametrize(
    ("path", "outcome", "degraded"),
    [
        ("/ok", Outcome.OK, 0),
        ("/degraded", Outcome.OK, 1),
        ("/error", Outcome.STATUS, 0),
        ("/hang", Outcome.TIMEOUT, 0),
        ("/cut", Outcome.BROKEN, 0),
    ],
)
def test_every_departure_leaves_one_sample_with_its_outcome(
    tmp_path: Path, server: tuple[str, list[bytes]], path: str, outcome: Outcome, degraded: int
) -> None:
    """26 departures in half a second at 50 a second, whatever the answers do: the loop is open."""
    samples = drive(tmp_path, server[0] + path)
    assert Counter((s.outcome, s.degraded) for s in samples) == {(outcome, degraded): 26}


@pytest.mark.parametrize(
    ("path", "outcome"),
    [("/ok", Outcome.OK), ("/error", Outcome.STATUS), ("/hang", Outcome.TIMEOUT), ("/cut", Outcome.BROKEN)],
)
def test_calls_over_tls_come_out_as_those_without_it(
    tmp_path: Path,
    encrypted: tuple[str, list[bytes], Path],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    outcome: Outcome,
) -> None:
    """With an authority of one's own, on connections that are kept where the answer allows it."""
    url, seen, authority = encrypted
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    samples = drive(tmp_path, url + path, timeout_s=1.0)
    assert Counter(s.outcome for s in samples) == {outcome: 26}
    assert len(seen) == 26


def test_no_call_comes_through_to_whom_nobody_trusts(
    tmp_path: Path, encrypted: tuple[str, list[bytes], Path]
) -> None:
    """Not one request is sent, and what is wrong is told before the first."""
    url, seen, _ = encrypted
    assert {s.outcome for s in drive(tmp_path, url + "/ok")} == {Outcome.BROKEN}
    assert seen == []
    with pytest.raises(UsageError, match=r"is not trusted .*SSL_CERT_FILE"):
        check_target(url)


def test_a_run_says_why_its_traffic_was_not_started(
    stage: Stage, encrypted: tuple[str, list[bytes], Path]
) -> None:
    """Chaos Toolkit keeps quiet about a control that fails, so the probe that misses the samples tells it."""
    probe = {"module": "probes.traffic", "func": "success_ratio", "arguments": {"window_s": 1.0}}
    path = stage.experiment(probe=probe)
    definition = json.loads(path.read_text())
    arguments = {"url": encrypted[0] + "/ok", "rate_rps": 50}
    provider = {"type": "python", "module": "agent.controls.traffic", "arguments": arguments}
    definition["controls"] = [{"name": "traffic", "provider": provider}]
    path.write_text(json.dumps(definition))
    code, told, errors = stage.gameday("run", str(path), "--json")
    assert (code, told["verdict"]) == (3, "INCONCLUSIVE"), errors
    assert "no traffic was started: the certificate of 127.0.0.1" in told["reason"]
    assert not stage.broken.exists()


def test_a_target_that_speaks_no_tls_is_told_so() -> None:
    """An s too many in the scheme."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as plain:
        thread = threading.Thread(target=plain.serve_forever)
        thread.start()
        try:
            with pytest.raises(UsageError, match=r"speaks no TLS .*is it http://\?"):
                check_target(f"https://127.0.0.1:{plain.server_port}/")
        finally:
            plain.shutdown()
            thread.join()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_target_that_is_down_may_be_called(scheme: str) -> None:
    """To find that out is what traffic is for."""
    check_target(f"{scheme}://127.0.0.1:{free_ports(1)[0]}/ok")


def test_nobody_listens_is_refused(tmp_path: Path) -> None:
    """A failure of its own kind."""
    samples = drive(tmp_path, f"http://127.0.0.1:{free_ports(1)[0]}/ok")
    assert {s.outcome for s in samples} == {Outcome.REFUSED}


def test_latency_counts_from_the_intended_departure(tmp_path: Path, server: tuple[str, list[bytes]]) -> None:
    """A request that times out has waited for all of its timeout, from when it was due."""
    samples = drive(tmp_path, server[0] + "/hang")
    assert all(s.latency_s >= 0.29 for s in samples)
    gaps = [
        b - a for a, b in zip(*[sorted(s.intended_at for s in samples)[i:] for i in (0, 1)], strict=False)
    ]
    assert all(abs(gap - 0.02) < 1e-4 for gap in gaps)


def test_what_cannot_be_sent_is_shed_and_told(tmp_path: Path, server: tuple[str, list[bytes]]) -> None:
    """A bound on requests in flight shows up as failures, never as waiting."""
    samples = drive(tmp_path, server[0] + "/hang", in_flight_max=3)
    outcomes = Counter(s.outcome for s in samples)
    assert outcomes[Outcome.SHED] > 0
    assert sum(outcomes.values()) == 26


def test_each_request_carries_its_own_id_and_trace(tmp_path: Path, server: tuple[str, list[bytes]]) -> None:
    """x-request-id and traceparent, different every time."""
    drive(tmp_path, server[0] + "/ok")
    ids = {line for head in server[1] for line in head.split(b"\r\n") if line.startswith(b"x-request-id: ")}
    traces = [
        line for head in server[1] for line in head.split(b"\r\n") if line.startswith(b"traceparent: 00-")
    ]
    assert len(ids) == len(traces) == len(server[1]) == 26


def test_the_end_of_the_lifeline_ends_the_driver(
    tmp_path: Path, server: tuple[str, list[bytes]], until: Callable[..., Any]
) -> None:
    """Whoever started it may die in any way."""
    plan = Plan(url=server[0] + "/ok", rate_rps=50.0)
    theirs, ours = os.pipe()
    out = tmp_path / "samples"
    command = [sys.executable, "-m", "agent.traffic", "--plan", json.dumps(asdict(plan)), "--out", str(out)]
    with subprocess.Popen([*command, "--lifeline-fd", str(theirs)], pass_fds=[theirs]) as driver:
        os.close(theirs)
        until(lambda: len(read(out)) > 5)
        assert driver.poll() is None
        os.close(ours)
        assert driver.wait(10) == 0
