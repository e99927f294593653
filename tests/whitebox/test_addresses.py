"""How a source is named, what is refused before anything is read, and that errors are never a state."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.breakers.courses.states import State
from agent.model import UsageError
from agent.whitebox import KINDS, open_reader
from agent.whitebox.documents import at_path
from agent.whitebox.exposition import measured
from agent.whitebox.opossum import NEXT, NEXT_UNHEARD, first_state, order
from agent.whitebox.reader import Unreadable, Watch
from agent.whitebox.web import BODY_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CLOSED, OPEN, HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN
SPECS = {
    "resilience4j": "http://h/actuator",
    "envoy": "http://h#cluster=c",
    "haproxy": "/run/haproxy.sock#backend=b",
    "nginx": "/var/log/nginx/error.log#upstream=u",
    "caddy": "http://h",
    "opossum": "http://h/metrics#name=n",
    "hystrix": "http://h/hystrix.stream",
    "pybreaker": "redis://h",
    "aiobreaker": "redis://h",
    "purgatory": "redis://h#name=n",
    "gobreaker": "redis://h#name=n",
    "prometheus": "http://h/metrics#metric=m&map=0:closed",
    "json": "http://h/state",
}


def test_every_kind_opens_and_declares_its_traps() -> None:
    """Nothing is read yet."""
    assert set(SPECS) == set(KINDS)
    for kind, url in SPECS.items():
        _, reader, traps = open_reader(f"{kind}:{url}{'&' if '#' in url else '#'}late_s=0.5")
        assert traps.late_s >= 0.5
        assert kind == "json" or traps.notes
        reader.close()


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("http://h/state", "no kind is called 'http'"),
        ("json", "KIND:URL"),
        ("json:", "KIND:URL"),
        ("json:ftp://h", "no http:// or https:// URL"),
        ("json:http://h#pat=x", "no option is called 'pat'"),
        ("json:http://h#every_s=fast", "every_s is a number"),
        ("json:http://h#every_s=0.001", "every_s is from 0.02"),
        ("json:http://h#map=1:ajar", "states are closed, open and half_open, not 'ajar'"),
        ("json:http://h#map=1", "map is a:b,c:d"),
        ("json:http://h#authorization_env=GONE", "there is no variable GONE"),
        ("json:http://h#link=other", "no link is called 'other'"),
        ("prometheus:http://h#metric=m", "say what values mean"),
        ("prometheus:http://h", "say which metric"),
        ("envoy:http://h", "say which cluster"),
        ("gobreaker:http://h#name=n", "no redis:// URL"),
        ("nginx:/var/log/nginx/error.log", "say which #server"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_read(spec: str, says: str) -> None:
    """A sentence, with what there is instead."""
    with pytest.raises(UsageError, match=says):
        open_reader(spec, links=["dependency"])


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one in the URL nor one in the environment."""
    monkeypatch.setenv("SECRET", "hush")
    address, _, _ = open_reader("purgatory:redis://user:hush@h:6379/0#name=n&password_env=SECRET")
    assert address.shown == "redis://***@h:6379/0#name=n&password_env=SECRET"


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Misbehave as the path says."""
        if self.path == "/slow":
            time.sleep(1.0)
        body = {
            "/open": b'{"a": [{"state": "OPEN"}]}',
            "/garbage": b"{",
            "/strange": b'{"a": [{"state": "ajar"}]}',
            "/large": b" " * (BODY_MAX + 1),
        }.get(self.path, b"{}")
        self.send_response(500 if self.path == "/broken" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def source() -> Iterator[str]:
    """A server that misbehaves."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is the point
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/broken", "answers 500"),
        ("/garbage", "no JSON"),
        ("/strange", "nobody said what 'ajar' means"),
        ("/large", "larger than"),
        ("/slow", "Timeout"),
        ("/else", "there is no"),
    ],
)
def test_an_error_is_a_sample_with_its_reason(
    source: str, path: str, why: str, until: Callable[..., Any]
) -> None:
    """Never a state, and reading goes on."""
    _, reader, _ = open_reader(f"json:{source}{path}#path=a[0].state&timeout_s=0.2")
    with Watch(reader, every_s=0.02) as watch:
        until(lambda: len(watch.samples) >= 2)
    assert {each.state for each in watch.samples} == {None}
    assert all(why in each.why for each in watch.samples)


def test_nobody_there_is_a_sample_too(until: Callable[..., Any]) -> None:
    """Over HTTP, in Redis, in a log, at a socket."""
    for spec in (
        "json:http://127.0.0.1:1/",
        "hystrix:http://127.0.0.1:1/",
        "pybreaker:redis://127.0.0.1:1/0",
        "nginx:/nowhere/error.log#upstream=u",
        "haproxy:/nowhere/haproxy.sock#backend=b",
    ):
        _, reader, _ = open_reader(spec)
        with Watch(reader, every_s=0.02) as watch:
            until(lambda watch=watch: watch.samples)
        assert watch.samples[0].state is None
        assert watch.samples[0].why


def test_a_readers_bug_is_a_sample_too(until: Callable[..., Any]) -> None:
    """It must not end an exercise."""

    class Broken:
        traps = open_reader("json:http://h")[2]

        def read(self) -> Any:
            """Have a bug."""
            return {}["missing"]

        def close(self) -> None:
            """Have another one."""
            raise RuntimeError

    with Watch(Broken(), every_s=0.02) as watch:
        until(lambda: watch.samples)
    assert watch.samples[0].why == "KeyError: 'missing'"


def test_a_value_is_found_and_understood(source: str) -> None:
    """By a path, in the usual words."""
    _, reader, _ = open_reader(f"json:{source}/open#path=a[0].state")
    (sample,) = reader.read()
    reader.close()
    assert sample.state is OPEN
    assert at_path({"x": {"y": [1, {"z": 2}]}}, "x.y[1].z") == 2
    with pytest.raises(Unreadable):
        at_path({"x": []}, "x[0]")


@given(
    name=st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
    label=st.text(
        alphabet=st.characters(codec="utf-8", exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")
    ),
    value=st.floats(allow_nan=False),
)
def test_a_line_of_prometheus_is_read_as_it_was_written(name: str, label: str, value: float) -> None:
    """With every character that a label can have; lines that are none are passed over."""
    escaped = label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    text = f'# HELP {name} x\n{name}{{l="{escaped}",m="x"}} {value!r} 1700000000\n{name}_else 1\n{name} {{\n'
    (line,) = measured(text, name, {"m": "x"})
    assert line.labels["l"] == label
    assert line.value == value


@given(st.data())
def test_opossums_events_are_put_in_the_only_order_they_can_have(data: st.DataObject) -> None:
    """Whatever order is inferred is the real one; where several are possible none is."""
    allowed = data.draw(st.sampled_from([NEXT, NEXT_UNHEARD]))
    names = {"open": OPEN, "halfOpen": HALF_OPEN, "close": CLOSED}
    state = start = data.draw(st.sampled_from(list(allowed)))
    path, counts = [], dict.fromkeys(names, 0)
    for _ in range(data.draw(st.integers(1, 4))):
        event = data.draw(st.sampled_from(allowed[state]))
        state = names[event]
        counts[event] += 1
        path.append(state)
    assert order(start, counts, allowed) in ((), tuple(path))
    if len(path) == 1:
        assert order(start, counts, allowed) == tuple(path)


@pytest.mark.parametrize(
    ("counts", "state"),
    [
        ({}, CLOSED),
        ({"open": 1}, OPEN),
        ({"open": 2, "halfOpen": 1}, OPEN),
        ({"open": 1, "halfOpen": 1, "close": 1}, CLOSED),
        ({"open": 2, "halfOpen": 2, "close": 1}, None),
        ({"open": 1, "close": 1}, None),
    ],
)
def test_what_opossums_counters_say_at_first(counts: dict[str, int], state: State | None) -> None:
    """Where two states are possible, neither is told."""
    assert first_state(counts) is state


def test_a_log_that_is_rotated_is_followed(tmp_path: Path) -> None:
    """What was there before is not news; what comes after the rotation is."""
    errors, access = tmp_path / "error.log", tmp_path / "access.log"
    errors.touch()
    access.write_text("1700000000.000|127.0.0.1:1|200\n")
    _, reader, _ = open_reader(f"nginx:{errors}#upstream=orders&access={access}")
    assert [each.state for each in reader.read()] == [None]
    _write(access, "127.0.0.1:1", "200")
    assert [each.state for each in reader.read()] == [CLOSED]
    access.rename(tmp_path / "access.log.1")
    _write(access, "orders", "502")
    assert [each.state for each in reader.read()] == [OPEN]
    _write(access, "127.0.0.1:1, 127.0.0.1:2", "500, 200")
    assert [each.state for each in reader.read()] == [CLOSED]
    assert list(reader.read()) == []


def _write(log: Path, addresses: str, statuses: str) -> None:
    with log.open("a") as file:
        file.write(f"{time.time():.3f}|{addresses}|{statuses}\n")
