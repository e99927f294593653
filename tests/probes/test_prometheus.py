"""A real Prometheus that scrapes itself answers the probes; what it has no answer to is no evidence."""

from __future__ import annotations

import shutil
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from agent.model import NoEvidence, UsageError
from probes import prometheus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a Prometheus that has scraped itself a few times."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus; `make test-root` installs it")
    folder: Path = tmp_path_factory.mktemp("prometheus")
    with socket.create_server(("127.0.0.1", 0)) as free:
        where = f"127.0.0.1:{free.getsockname()[1]}"
    folder.joinpath("prometheus.yml").write_text(
        "global: {scrape_interval: 200ms}\n"
        f"scrape_configs: [{{job_name: itself, static_configs: [{{targets: ['{where}']}}]}}]\n"
    )
    process = subprocess.Popen(
        [
            program,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={where}",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://{where}"
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def url(server: str, until: Callable[..., Any]) -> str:
    """The same, once it has a few samples of itself."""

    def has_samples() -> bool:
        try:
            asked = {"query": "count_over_time(up[1m]) > 5"}
            answer = httpx.get(f"{server}/api/v1/query", params=asked)
            return answer.is_success and bool(answer.json()["data"]["result"])  # 503 while it starts
        except httpx.HTTPError:
            return False

    until(has_samples, within_s=30)
    return server


def test_a_single_series_and_a_scalar_are_numbers(url: str) -> None:
    """As an instant, and as each way to reduce a window."""
    assert prometheus.value(url=url, query="up") == 1
    assert prometheus.value(url=url, query="scalar(up) + 1") == 2
    assert prometheus.value(url=url + "/", query='sum(up{job="itself"})') == 1
    asked = {"url": url, "query": "up * 3", "window_s": 1.0, "step_s": 0.2}
    assert {prometheus.range(**asked, reduce=each) for each in ("min", "max", "mean", "last")} == {3.0}


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("nothing_of_that_name", "empty result is not a zero"),
        ("sum(nothing_of_that_name)", "empty result is not a zero"),
        ("prometheus_http_requests_total", "series; write it so that one is left"),
        ("0 * up / (0 * up)", "NaN"),
        ("sum(", "parse error"),
        ("up[1m]", "range"),
    ],
)
def test_what_is_not_one_number_is_no_evidence(url: str, query: str, says: str) -> None:
    """No series, many, not a number, a mistake in the query; for windows alike."""
    with pytest.raises(NoEvidence):
        prometheus.range(url=url, query=query, window_s=1.0)
    if says != "range":
        with pytest.raises(NoEvidence) as told:
            prometheus.value(url=url, query=query)
        assert says in str(told.value)


def test_no_server_is_no_evidence_and_a_wrong_window_a_usage_error() -> None:
    """Nobody listens at that port; and no window may be empty or have too many points."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(NoEvidence, match="did not answer"):
        prometheus.value(url=nobody, query="up")
    for window_s, step_s in ((0.0, 1.0), (1.0, 0.0), (20_000.0, 1.0)):
        with pytest.raises(UsageError):
            prometheus.range(url=nobody, query="up", window_s=window_s, step_s=step_s)
