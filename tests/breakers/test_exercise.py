"""The exercise as a user plays it, where it goes right and where it cannot."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Stage

    from agent.proxy.client import ProxyClient


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _test(entry: str, *more: str, faults: str = "error") -> tuple[str, ...]:
    return ("breaker", "test", "--entry", entry, "--rate", "80", "--faults", faults, *more)


def test_a_path_without_a_breaker_never_opens(stage: Stage, proxy: ProxyClient) -> None:
    """A clear answer and a finding, not an error; the client calls the link itself."""
    out = stage.folder / "out"
    entry = f"http://{proxy.links()[0]['listen']}/"
    code, told, errors = stage.gameday(*_test(entry, "--out", str(out), "--json"))
    assert (code, told["verdict"]) == (1, "DEVIATED"), errors
    assert told["answer"].startswith("It never opened (error)")
    assert [each["bug"] for each in told["findings"]] == ["never-opens"]
    assert told["streams"][0]["sequence"] == ["closed"]
    assert "No breaker opens on this path" in told["reason"]
    assert proxy.links()[0]["toxics"] == []
    assert "seen from outside" in (out / "report.html").read_text()


def test_a_breaker_that_had_no_reason_to_open_is_not_praised(stage: Stage, proxy: ProxyClient) -> None:
    """Nothing but 404s: no finding, and no evidence either."""
    entry = f"http://{proxy.links()[0]['listen']}/"
    code, told, errors = stage.gameday(*_test(entry, "--json", faults="not-found"))
    assert told["findings"] == []
    assert (code, told["verdict"]) == (3, "INCONCLUSIVE"), (told["reason"], errors)


def test_a_link_that_nobody_uses_is_said(stage: Stage, proxy: ProxyClient, upstream: str) -> None:
    """The service bypasses it: nothing can be told, and nothing was broken."""
    code, told, errors = stage.gameday(*_test(f"http://{upstream}/", "--json"))
    assert (code, told["verdict"]) == (3, "INCONCLUSIVE"), errors
    assert "the service bypasses it" in told["reason"]
    assert told["run"]["injections"] == []
    assert proxy.links()[0]["toxics"] == []


@pytest.mark.parametrize("command", ["test", "storm"])
def test_an_entry_that_cannot_be_called_is_refused_before_anything_begins(stage: Stage, command: str) -> None:
    """A word that is no address; said at once, and not as traffic that is missing."""
    code, _, errors = stage.gameday("breaker", command, "--entry", "shop.example.com", "--rate", "80")
    assert code == 2
    assert "http://HOST… or https://HOST…, not 'shop.example.com'" in errors
    assert stage.gameday("runs", "--json")[1] == []


def test_an_entry_that_is_down_is_said(stage: Stage, proxy: ProxyClient) -> None:
    """Not steady before anything was touched."""
    assert proxy.links()
    code, told, _ = stage.gameday(*_test("http://127.0.0.1:1/", "--json"))
    assert (code, told["verdict"]) == (3, "INCONCLUSIVE")
    assert "not met before anything was touched" in told["reason"]


def test_who_takes_faults_out_is_there_before_the_first_fault(
    stage: Stage, proxy: ProxyClient, until: Callable[..., Any]
) -> None:
    """A fault is asked for and in at once: what starts a process in between would count as time to open."""
    stage.start("agent", *_test(f"http://{proxy.links()[0]['listen']}/"))
    until(lambda: any("agent.safety.reaper" in each.cmdline() for each in stage.processes()), within_s=40)
    assert stage.injections() == ()


@pytest.mark.parametrize("kind", ["error", "hang", "refuse"])
def test_when_everything_but_the_proxy_is_killed_the_link_heals_by_its_lease(
    stage: Stage, proxy: ProxyClient, kind: str, until: Callable[..., Any]
) -> None:
    """An exercise that dies in the middle of a fault leaves none behind."""
    entry = f"http://{proxy.links()[0]['listen']}/"
    stage.start("agent", *_test(entry, faults=kind))
    until(lambda: proxy.links()[0]["toxics"], within_s=40)
    carrier = next(each.pid for each in stage.processes() if "agent.proxy" in each.cmdline())
    stage.kill_all(but=(carrier,))
    until(lambda: not proxy.links()[0]["toxics"])
    code, _, errors = stage.gameday("heal")
    assert code == 0, errors
    assert stage.open_injections() == ()


def test_ctrl_c_in_the_middle_of_a_fault_leaves_nothing_broken_and_says_so(
    stage: Stage, proxy: ProxyClient, until: Callable[..., Any]
) -> None:
    """The fault goes out at once, and the answer is that there is none."""
    process = stage.start("agent", *_test(f"http://{proxy.links()[0]['listen']}/", "--json", faults="hang"))
    until(lambda: proxy.links()[0]["toxics"], within_s=40)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=30)
    told = json.loads(out)
    assert (process.returncode, told["verdict"]) == (3, "INCONCLUSIVE"), said
    assert "Interrupted by SIGINT" in told["reason"]
    assert told["answer"].startswith("No answer: Interrupted")
    assert proxy.links()[0]["toxics"] == []
    assert stage.open_injections() == ()


def test_another_client_of_the_dependency_is_reported_and_changes_nothing(
    stage: Stage, proxy: ProxyClient
) -> None:
    """Its requests are strangers, though they are as many as ours."""
    listen, over = proxy.links()[0]["listen"], threading.Event()

    def call() -> None:
        with httpx.Client() as client:
            while not over.wait(0.01):
                with contextlib.suppress(httpx.HTTPError):
                    client.get(f"http://{listen}/other")

    other = threading.Thread(target=call)
    other.start()
    try:
        code, told, errors = stage.gameday(*_test(f"http://{listen}/", "--json"))
    finally:
        over.set()
        other.join()
    assert code == 1, errors
    assert [each["bug"] for each in told["findings"]] == ["never-opens"]
    assert told["mapping"]["by"] == "id"
    assert told["mapping"]["strangers"] > 100
    assert any("somebody else uses the dependency" in note for note in told["notes"])


def test_a_link_that_no_key_leads_to_is_named(stage: Stage, upstream: str) -> None:
    """Of several, the one that nothing came over; nothing was broken."""
    ports = [_free_port() for _ in range(2)]
    links = [
        each
        for name, port in zip(("shard-0", "shard-1"), ports, strict=True)
        for each in ("--link", f"{name}=127.0.0.1:{port}->{upstream}")
    ]
    code, told, errors = stage.gameday(*_test(f"http://127.0.0.1:{ports[0]}/", *links, "--json"))
    assert (code, told["verdict"]) == (3, "INCONCLUSIVE"), errors
    assert "not one request came over the link 'shard-1'" in told["reason"]
    assert told["run"]["injections"] == []


def test_a_port_that_is_taken_is_a_sentence(stage: Stage, upstream: str) -> None:
    """Exit code 2, with the address, before anything is called."""
    code, _, errors = stage.gameday(
        *_test("http://127.0.0.1:1/", "--listen", upstream, "--upstream", upstream)
    )
    assert code == 2
    assert upstream in errors
    assert "in use" in errors
    assert "Traceback" not in errors


def test_what_is_going_to_happen_is_said_before(stage: Stage, proxy: ProxyClient) -> None:
    """How many faults on what, how long and why; then what is waited for, and what was expected."""
    expect = stage.folder / "expect.yaml"
    expect.write_text("time_to_open_s: {max: 2}\ntolerated_findings: [never-opens]\n")
    entry = f"http://{proxy.links()[0]['listen']}/"
    code, told, errors = stage.gameday(*_test(entry, "--expect", str(expect), "--json"))
    assert (
        "is called 80 times a second, and at most 320 times once it was seen to stay open for less" in errors
    )
    assert "as calls come out as before. After 10 s of calm come 1 faults of the link dependency" in errors
    assert "as long as the breaker stays open" in errors
    assert "error on dependency: until it was seen to try 2 times" in errors
    (found,) = told["expectations"]
    assert (found["property"], found["expected"]) == ("time_to_open_s", {"max": 2})
    assert found["status"] in ("inconclusive", "fail")
    assert code in (1, 3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--key", "alpha"), "--key and {key} in --entry together"),
        (("--key", "alpha=nowhere"), "names no link; there are dependency"),
        (("--link", "a=127.0.0.1:1"), "write NAME=LISTEN->UPSTREAM"),
        (("--link", "a", "--link", "a"), "--link a is there twice"),
        (("--link", "a", "--link", "b", "--listen", "x:1", "--upstream", "y:1"), "are one link's"),
        (("--faults", "eror"), "kinds are error, hang"),
        (("--clock-set", "set-clock 30"), "{offset_s} has to be in it"),
        (("--faults", "error,clock-step"), "give as --clock-set"),
        (("--listen", "127.0.0.1:1"), "--listen and --upstream together"),
        (("--expect", "no-such-file"), "there is no file"),
        (("--pods", "shop", "--towards", "service/db:80"), "write NAMESPACE/SELECTOR"),
        (("--pods", "shop/app=shop"), "write service/NAME:PORT"),
        (("--pods", "a/b=c", "--towards", "x:1", "--listen", "x:1", "--upstream", "y:1"), "leave --listen"),
    ],
)
def test_misuse_is_a_sentence(stage: Stage, arguments: tuple[str, ...], says: str) -> None:
    """Exit code 2, before anything is started."""
    code, _, errors = stage.gameday("breaker", "test", "--entry", "http://127.0.0.1:1/", *arguments)
    assert code == 2
    assert says in errors
    assert "Traceback" not in errors
