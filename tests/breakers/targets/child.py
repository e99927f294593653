"""What every target process shares: its command line, its record of the truth, its end with its starter."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class State(StrEnum):
    """What a breaker is in."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return the address written as ``host:port``."""
        host, _, port = text.rpartition(":")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Truth:
    """The record of what a target's breakers really did: one JSON line for each change, written at once."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("a", encoding="utf-8", buffering=1)

    def moved(self, breaker: str, was: State, to: State, *, at: float | None = None) -> None:
        """Record that *breaker* went from *was* to *to*, now or *at* a CLOCK_MONOTONIC second."""
        at = time.monotonic() if at is None else at
        line = {"at": round(at, 6), "breaker": breaker, "from": str(was), "to": str(to)}
        self._file.write(json.dumps(line) + "\n")


def parser(of: str) -> argparse.ArgumentParser:
    """Return a parser with the options that the starter gives to each target."""
    options = argparse.ArgumentParser(prog=of)
    options.add_argument("--listen", required=True, type=Address.parse, help="HOST:PORT")
    options.add_argument("--dependency", type=Address.parse, help="HOST:PORT of what the target calls")
    return options


def end_with_starter(end: Callable[[], object] | None = None) -> None:
    """Call *end*, or exit, when the standard input ends: the starter holds the other side."""
    threading.Thread(target=_wait_for_end, args=(end or _exit,), daemon=True).start()


def _exit() -> None:
    os._exit(0)


def _wait_for_end(end: Callable[[], object]) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    end()
