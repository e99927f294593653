"""NGINX: what its error log says of an upstream, and who answered according to its access log."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent.breakers.boxes.whitebox import Sample, Traps
from agent.breakers.courses.states import State
from agent.model import UsageError
from agent.whitebox.reader import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.whitebox.address import Address
    from agent.whitebox.reader import Reader

FIELDS = 3
SECOND_S, MILLI_S = 1.0, 0.001
CLOCK_S = 60.0
"""A line that is this far from now was written in another time zone, or by another clock."""
PART_MAX = 4 * 1024 * 1024
NOBODY = "no live upstreams"
DISABLED = "upstream server temporarily disabled"


def reader(address: Address) -> Reader:
    """Follow the error log at a path.

    Options: ``server`` (HOST:PORT of one upstream server) or ``upstream`` (the block's name, as the access
    log has it); ``access``, an access log of the form ``'$msec|$upstream_addr|$upstream_status'``.  Without
    that, nothing says that it is closed again.
    """
    server, upstream, access = address.text("server"), address.text("upstream"), address.text("access")
    if not server and not upstream:
        raise UsageError("--whitebox nginx: say which #server=HOST:PORT or #upstream=NAME")
    logs = [_Log(Path(each)) for each in (address.url, access) if each]
    return _Nginx(logs[0], logs[1] if access else None, server, upstream)


class _Log:
    """What is added to a file; begins at its end, and goes on with a new file when it is rotated."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place: tuple[int, int] | None = None
        self._rest = ""

    def added(self) -> Iterator[str]:
        """Return the whole lines that were added since the last look.

        Raises:
            Unreadable: It cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                size, number = file.seek(0, 2), self._path.stat().st_ino
                before, begin = self._place or (number, size)
                begin = 0 if before != number or begin > size else begin
                file.seek(begin)
                part = file.read(PART_MAX)
        except OSError as error:
            raise Unreadable(f"{self._path}: {error.strerror}") from None
        self._place = (number, begin + len(part))
        *lines, self._rest = (self._rest + part.decode(errors="replace")).split("\n")
        yield from lines


class _Nginx:
    """Disabled is open; an answer of the server itself is closed."""

    traps = Traps(
        half_open=False,
        notes=(
            "the error log has whole seconds and the host's own time zone",
            "each worker has a state of its own unless the upstream has a zone",
            "a single server is never disabled, whatever max_fails says",
            "a log with a buffer comes late: the lines' own times count, not when they were read",
            "without an access log nothing says that it is closed again: that is told as unknown",
        ),
    )

    def __init__(self, errors: _Log, access: _Log | None, server: str, upstream: str) -> None:
        self._errors, self._access = errors, access
        self._server, self._upstream = server, upstream
        self._state: State | None = None
        self._asked = time.monotonic()

    def read(self) -> Sequence[Sample]:
        """Return what the new lines say, in order of their times."""
        since, self._asked = self._asked, time.monotonic()
        lines = [*self._errors.added()]
        seen = [each for line in lines if (each := self._error(line, since)) is not None]
        if self._access is not None:
            answers = [*self._access.added()]
            seen += [each for line in answers if (each := self._answered(line, since)) is not None]
        seen.sort(key=lambda each: each.read)
        if seen:
            self._state = seen[-1].state
        return seen or self._nothing_new()

    def _nothing_new(self) -> list[Sample]:
        if self._access is None or self._state is None:
            why = "no line of the log says that it is closed" if self._state else "no line says anything yet"
            return [Sample(asked=self._asked, read=time.monotonic(), state=None, why=why)]
        return []  # no call, no news: what was told last is as true as it was

    def _error(self, line: str, since: float) -> Sample | None:
        """Read ``2026/11/24 15:25:51 [warn] ... temporarily disabled ..., upstream: "http://..."``."""
        if NOBODY not in line and DISABLED not in line:
            return None
        about = self._server if DISABLED in line else self._upstream
        if not about or f"//{about}" not in line:
            return None
        try:
            wall = time.mktime(time.strptime(line[:19], "%Y/%m/%d %H:%M:%S"))
        except ValueError:
            return None
        after, before = _moment(wall, SECOND_S, since)
        details = {"line": line[20:220]}
        return Sample(asked=after, read=before, state=State.OPEN, event=DISABLED in line, details=details)

    def _answered(self, line: str, since: float) -> Sample | None:
        """Read ``$msec|$upstream_addr|$upstream_status``; retries are lists, of which the last one counts."""
        parts = line.split("|")
        if len(parts) != FIELDS:
            return None
        addresses = [each.strip() for each in parts[1].replace(" : ", ", ").split(",")]
        statuses = [each.strip() for each in parts[2].replace(" : ", ", ").split(",")]
        try:
            after, before = _moment(float(parts[0]) - MILLI_S, 2 * MILLI_S, since)
        except ValueError:
            return None
        details = {"addr": parts[1], "status": parts[2]}
        if addresses[-1] == self._upstream:  # the block's name instead of a server: there was none to ask
            return Sample(asked=after, read=before, state=State.OPEN, details=details)
        told = dict(zip(addresses, statuses, strict=False))
        status = told.get(self._server) if self._server else statuses[-1]
        if status is None or not status.isdigit() or int(status) >= 500:
            return None
        return Sample(asked=after, read=before, state=State.CLOSED, details=details)

    def close(self) -> None:
        """Nothing is kept open."""


def _moment(wall: float, grain_s: float, since: float) -> tuple[float, float]:
    """Return a line's own time as monotonic seconds; of a clock that differs, when it was read."""
    now = time.monotonic()
    at = wall - time.time() + now
    if abs(at - now) > CLOCK_S:
        return since, now
    return at, min(at + grain_s, now)
