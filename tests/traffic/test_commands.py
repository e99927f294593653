"""A driver that is told something while it drives, from outside, by its run's folder."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from agent.model import UsageError
from agent.traffic import commands, offers
from agent.traffic.commands import TrafficGone
from agent.traffic.offers import Mix
from agent.traffic.plan import Plan
from agent.traffic.samples import FILE, HEADER, Sample, key_of, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def driven(folder: Path, url: str, **changes: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Drive *url* meanwhile, at 100 a second and up to 400, taking commands in *folder*."""
    plan = Plan(**{"url": url, "rate_rps": 100.0, "rate_max_rps": 400.0, "timeout_s": 0.5, **changes})
    folder.mkdir(parents=True, exist_ok=True)
    theirs, ours = os.pipe()
    command = [sys.executable, "-m", "agent.traffic", "--plan", json.dumps(asdict(plan))]
    command += ["--out", str(folder / FILE), "--commands", str(folder), "--lifeline-fd", str(theirs)]
    with subprocess.Popen(command, pass_fds=[theirs]) as driver:
        os.close(theirs)
        deadline = time.monotonic() + 20
        while not read(folder / FILE):
            assert time.monotonic() < deadline, "no traffic"
            time.sleep(0.02)
        try:
            yield driver
        finally:
            os.close(ours)
            assert driver.wait(20) == 0


def departures(folder: Path, since: float, until: float) -> list[Sample]:
    """Return the requests that were to leave between two monotonic moments."""
    ahead = HEADER.unpack((folder / FILE).read_bytes()[: HEADER.size])[2]
    return [s for s in read(folder / FILE) if since <= s.intended_at - ahead < until]


def test_a_lower_rate_holds_from_the_moment_that_is_answered(
    tmp_path: Path, server: tuple[str, list[bytes]], until: Callable[..., Any]
) -> None:
    """To the request: what left before and after is what the side file says was offered."""
    with driven(tmp_path, server[0] + "/ok"):
        offer = commands.change(tmp_path, rate_rps=20.0)
        until(lambda: time.monotonic() > offer.at + 1.0)
        again = commands.change(tmp_path)
        until(lambda: time.monotonic() > again.at + 0.5)
    told = offers.read(tmp_path)
    assert [(each.rate_rps, each.why) for each in told] == [
        (100.0, "plan"),
        (20.0, "change"),
        (100.0, "change"),
    ]
    for since, end in ((told[0].at, told[1].at), (told[1].at, told[2].at), (again.at, again.at + 0.4)):
        assert len(departures(tmp_path, since, end)) == pytest.approx(
            offers.offered(told, since=since, until=end), abs=1.5
        )


def test_a_pause_sends_nothing_and_ends_by_itself(
    tmp_path: Path, server: tuple[str, list[bytes]], until: Callable[..., Any]
) -> None:
    """Rate 0 for a while, then the plan again, with nobody asking for it."""
    with driven(tmp_path, server[0] + "/ok"):
        offer = commands.change(tmp_path, rate_rps=0.0, for_s=0.5)
        until(lambda: offers.read(tmp_path)[-1].why == "change over")
        back = offers.read(tmp_path)[-1].at
        until(lambda: time.monotonic() > back + 0.3)
    assert departures(tmp_path, offer.at, back) == []
    assert 0.4 < back - offer.at < 5.0
    assert len(departures(tmp_path, back, back + 0.2)) >= 15


def test_an_earlier_timeout_ends_requests_that_leave_from_then_on(
    tmp_path: Path, server: tuple[str, list[bytes]], until: Callable[..., Any]
) -> None:
    """Not those that are under way; and it cannot be later than the plan's."""
    with driven(tmp_path, server[0] + "/hang"):
        offer = commands.change(tmp_path, timeout_s=0.1)
        until(lambda: time.monotonic() > offer.at + 1.0)
        with pytest.raises(UsageError, match=r"at most 0\.5"):
            commands.change(tmp_path, timeout_s=5.0)
    assert all(s.latency_s >= 0.49 for s in departures(tmp_path, 0.0, offer.at))
    after = departures(tmp_path, offer.at, offer.at + 0.5)
    assert after
    assert all(s.latency_s >= 0.09 for s in after)
    assert sorted(s.latency_s for s in after)[len(after) // 2] < 0.4


def test_a_share_of_the_requests_differs_and_is_told_apart(
    tmp_path: Path, server: tuple[str, list[bytes]], until: Callable[..., Any]
) -> None:
    """Another path and header, recorded under a key of its own."""
    with driven(tmp_path, server[0] + "/ok"):
        mix = Mix(share=0.5, path="/error?why=mix", headers={"x-mixed": "yes"}, key="other")
        offer = commands.change(tmp_path, mix=mix)
        until(lambda: time.monotonic() > offer.at + 1.0)
    after = departures(tmp_path, offer.at, offer.at + 1.0)
    mixed = [s for s in after if s.key == key_of("other")]
    assert 20 < len(mixed) < 80
    assert {s.status for s in mixed} == {503}
    assert {s.status for s in after if s.key != key_of("other")} == {200}
    heads = [head for head in server[1] if b"/error?why=mix" in head]
    assert heads
    assert all(b"x-mixed: yes" in head for head in heads)
    assert offers.read(tmp_path)[-1].mix == mix


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"rate_rps": 100.5}, "more than that is a surge"),
        ({"rate_rps": -1.0}, "from 0 to the plan's"),
        ({"rate_rps": float("nan")}, "from 0 to the plan's"),
        ({"timeout_s": 0.0}, "timeout_s is above 0"),
        ({"for_s": 0.0}, "for_s is above 0"),
        ({"mix": Mix(share=1.5)}, "share is from 0 to 1"),
        ({"mix": Mix(share=0.5, path="ok")}, "begins with /"),
        ({"mix": Mix(share=0.5, headers={"x": "a\r\nb: c"})}, "printable"),
    ],
)
def test_what_is_out_of_range_is_refused_and_changes_nothing(
    tmp_path: Path, server: tuple[str, list[bytes]], asked: dict[str, Any], says: str
) -> None:
    """The driver itself refuses; the plan goes on."""
    with driven(tmp_path, server[0] + "/ok"):
        with pytest.raises(UsageError, match=says):
            commands.change(tmp_path, **asked)
        assert commands.status(tmp_path)["offer"]["rate_rps"] == 100.0
    assert [each.why for each in offers.read(tmp_path)] == ["plan"]


@pytest.mark.parametrize("rate_rps", [100.0, 400.5, float("inf"), float("nan")])
def test_a_surge_beyond_what_the_driver_was_started_with_is_refused(
    tmp_path: Path, server: tuple[str, list[bytes]], rate_rps: float
) -> None:
    """The bound is the driver's own, whoever asks."""
    with driven(tmp_path, server[0] + "/ok"), pytest.raises(UsageError, match="at most rate_max_rps, 400"):
        commands.begin_surge(tmp_path, name="s", rate_rps=rate_rps, lease_s=1.0, max_duration_s=9.0)


def test_a_surge_that_nobody_renews_is_over_with_its_lease(
    tmp_path: Path, server: tuple[str, list[bytes]], until: Callable[..., Any]
) -> None:
    """The driver goes back to the plan by itself, and says why."""
    with driven(tmp_path, server[0] + "/ok"):
        commands.begin_surge(tmp_path, name="s", rate_rps=300.0, lease_s=0.6, max_duration_s=60.0)
        until(lambda: commands.status(tmp_path)["surge"] is None)
    surge, back = offers.read(tmp_path)[1:]
    assert (surge.why, surge.rate_rps, back.why, back.rate_rps) == ("surge", 300.0, "lease lapsed", 100.0)
    assert len(departures(tmp_path, surge.at, back.at)) == pytest.approx(
        300.0 * (back.at - surge.at), rel=0.05
    )


def test_a_surge_that_is_renewed_for_ever_ends_with_its_time(
    tmp_path: Path, server: tuple[str, list[bytes]]
) -> None:
    """``max_duration_s`` is a hard end, and renewing what is over brings nothing back."""
    with driven(tmp_path, server[0] + "/ok"):
        commands.begin_surge(tmp_path, name="s", rate_rps=300.0, lease_s=0.5, max_duration_s=1.0)
        deadline = time.monotonic() + 20
        while commands.status(tmp_path)["surge"] is not None:
            commands.renew_surge(tmp_path, name="s", lease_s=0.5)
            assert time.monotonic() < deadline
        commands.renew_surge(tmp_path, name="s", lease_s=0.5)
        assert commands.status(tmp_path)["offer"]["rate_rps"] == 100.0
        assert commands.end_surge(tmp_path, name="s") is None
    surge, back = offers.read(tmp_path)[1:]
    assert back.why == "surge over"
    assert back.at - surge.at == pytest.approx(1.0, abs=0.3)


def test_lowering_ends_a_surge(tmp_path: Path, server: tuple[str, list[bytes]]) -> None:
    """One rate is in force at a time, and the lower one wins."""
    with driven(tmp_path, server[0] + "/ok"):
        commands.begin_surge(tmp_path, name="s", rate_rps=300.0, lease_s=9.0, max_duration_s=9.0)
        commands.change(tmp_path, rate_rps=10.0)
        now = commands.status(tmp_path)
    assert (now["surge"], now["offer"]["rate_rps"]) == (None, 10.0)


def test_a_change_that_is_refused_leaves_a_surge_its_lease(
    tmp_path: Path, server: tuple[str, list[bytes]], until: Callable[..., Any]
) -> None:
    """Whatever is wrong with it; the surge still ends by itself."""
    with driven(tmp_path, server[0] + "/ok"):
        commands.begin_surge(tmp_path, name="s", rate_rps=300.0, lease_s=1.5, max_duration_s=9.0)
        for wrong in (Mix(share=2.0), Mix(share=0.5, path="x"), Mix(share=0.5, headers={"a": "\n"})):
            with pytest.raises(UsageError):
                commands.change(tmp_path, mix=wrong)
        assert commands.status(tmp_path)["surge"]["name"] == "s"
        until(lambda: commands.status(tmp_path)["surge"] is None)
        assert commands.status(tmp_path)["offer"]["rate_rps"] == 100.0


def test_a_folder_with_a_long_name_can_be_commanded(tmp_path: Path, server: tuple[str, list[bytes]]) -> None:
    """A socket's name has 108 bytes; a home may lie deeper than that."""
    folder = tmp_path / ("x" * 120) / "run"
    with driven(folder, server[0] + "/ok"):
        assert commands.change(folder, rate_rps=50.0).rate_rps == 50.0
    assert not (folder / commands.SOCKET).exists()


def test_nonsense_on_the_channel_is_answered_and_does_no_harm(
    tmp_path: Path, server: tuple[str, list[bytes]]
) -> None:
    """Each line gets an error of its own, a line without an end is cut off, and the traffic goes on."""
    with driven(tmp_path, server[0] + "/ok"):
        for line in (b"x", b"[]", b"{}", b'{"do": "stop"}', b'{"do": "change", "rate": 1}', b'"\xff"'):
            with commands.reachable(tmp_path) as path, socket.socket(socket.AF_UNIX) as channel:
                channel.settimeout(5)
                channel.connect(path)
                channel.sendall(line + b"\n")
                assert b"not understood" in channel.makefile("rb").readline()
        with commands.reachable(tmp_path) as path, socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(5)
            channel.connect(path)
            channel.sendall(b"x" * 200_000)
            assert channel.makefile("rb").read() == b""
        assert commands.status(tmp_path)["offer"]["rate_rps"] == 100.0


@pytest.mark.parametrize("killed", [False, True])
def test_a_driver_that_ended_is_gone(tmp_path: Path, server: tuple[str, list[bytes]], killed: bool) -> None:
    """Whether it left its socket behind or not."""
    if killed:
        plan = Plan(url=server[0] + "/ok", rate_rps=100.0)
        command = [sys.executable, "-m", "agent.traffic", "--plan", json.dumps(asdict(plan))]
        command += ["--out", str(tmp_path / FILE), "--commands", str(tmp_path)]
        with subprocess.Popen(command) as driver:
            while not (tmp_path / commands.SOCKET).exists():
                time.sleep(0.01)
            driver.kill()
        assert (tmp_path / commands.SOCKET).exists()
    with pytest.raises(TrafficGone):
        commands.status(tmp_path)
