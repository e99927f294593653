"""What stands in for the program as the first process of a container, here as a reaper of orphans."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AS_THE_FIRST = """
import ctypes, os, signal, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: orphans come here, as to the first process
from agent.first_process import stand_in
stand_in()
"""


class First:
    """A process that stands in for a program, and the program's lines."""

    def __init__(self, program: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", AS_THE_FIRST + program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """Return the next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def children(self) -> list[psutil.Process]:
        """Return whom it would have to bury."""
        return psutil.Process(self.process.pid).children()


@pytest.fixture
def first() -> Iterator[Callable[[str], First]]:
    """Start one; it is ended with the test, with what it started."""
    started: list[First] = []

    def start(program: str) -> First:
        started.append(First(program))
        return started[-1]

    yield start
    for each in started:
        assert each.process.stdin is not None
        assert each.process.stdout is not None
        if each.process.poll() is None:
            for child in psutil.Process(each.process.pid).children(recursive=True):
                child.kill()
        each.process.stdin.close()
        each.process.stdout.close()
        each.process.wait(20)


@pytest.mark.parametrize(("program", "code"), [("sys.exit(4)", 4), ("os.kill(os.getpid(), 9)", 137)])
def test_it_ends_as_the_program_ended(first: Callable[[str], First], program: str, code: int) -> None:
    """A verdict's exit code gets out of the container; a death by a signal is told as a shell would."""
    assert first(program).process.wait(20) == code


def test_a_request_to_end_reaches_the_program(first: Callable[[str], First]) -> None:
    """SIGTERM to the first process is SIGTERM to the program, which may take its time."""
    one = first(
        "signal.signal(signal.SIGTERM, lambda *_: (print('healing', flush=True), sys.exit(3)))\n"
        "print('running', flush=True)\n"
        "while True: signal.pause()\n"
    )
    assert one.line() == "running"
    one.process.send_signal(signal.SIGTERM)
    assert one.line() == "healing"
    assert one.process.wait(20) == 3


def test_orphans_are_buried_while_the_program_runs(
    first: Callable[[str], First], until: Callable[..., Any]
) -> None:
    """What a run leaves behind takes up no process id; only the program stays."""
    one = first(
        "for _ in range(5): subprocess.run(['sh', '-c', 'true & true & exit 0'])\n"
        "print('ran', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    assert one.line() == "ran"
    until(lambda: len(one.children()) == 1)


def test_it_stays_until_an_orphan_has_healed(
    first: Callable[[str], First], until: Callable[..., Any]
) -> None:
    """The program dies; a reaper in a session of its own is given time to end by itself."""
    one = first(
        "reaper = subprocess.Popen(['sh', '-c', 'read line; echo healed'], start_new_session=True)\n"
        "print(reaper.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    reaper = int(one.line())
    until(lambda: [each.pid for each in one.children()] == [reaper])
    assert one.process.poll() is None
    assert one.process.stdin is not None
    one.process.stdin.write("now\n")
    one.process.stdin.flush()
    assert one.line() == "healed"
    assert one.process.wait(20) == 137
