"""What a reader is, and the watch that reads on and on, within bounds, whatever happens to the source."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, Self

from agent.breakers.boxes.whitebox import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.boxes.whitebox import Traps

SAMPLES_MAX = 50_000
"""More than a quarter of an hour at the fastest rate; then reading ends, and the last sample says so."""
WHY_MAX = 200
STOP_S = 2.0


class Unreadable(Exception):
    """The source cannot be read now, or what it says cannot be understood; says why."""


class Reader(Protocol):
    """Reads one breaker's own words.  It never changes what it reads, and never asks what would."""

    @property
    def traps(self) -> Traps:
        """In which ways this source misleads."""

    def read(self) -> Sequence[Sample]:
        """Return what is new since the last look; within the source's time limit.

        Raises:
            Unreadable: Nothing could be read.
        """

    def close(self) -> None:
        """Let go of connections and files."""


class Watch:
    """Reads one source in a thread of its own, until it is stopped; a context manager."""

    def __init__(self, reader: Reader, *, every_s: float) -> None:
        self.reader, self.every_s = reader, every_s
        self._samples: list[Sample] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="whitebox", daemon=True)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """What was read so far."""
        return tuple(self._samples)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it; a look that hangs in its source is not waited for longer than `STOP_S`."""
        self._stopped.set()
        self._thread.join(STOP_S)

    def _go_on(self) -> None:
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            self._samples += self._look()
            if len(self._samples) >= SAMPLES_MAX:
                self._samples.append(unknown(time.monotonic(), f"reading ended after {SAMPLES_MAX} samples"))
                break
            due = max(due + self.every_s, time.monotonic())
        with suppress(Exception):  # the thread ends here, and what was read is kept
            self.reader.close()

    def _look(self) -> Sequence[Sample]:
        asked = time.monotonic()
        try:
            return self.reader.read()
        except Unreadable as error:
            return [unknown(asked, str(error))]
        except Exception as error:  # noqa: BLE001  # a reader's bug must not end an exercise; it is told
            return [unknown(asked, f"{type(error).__name__}: {error}")]


def unknown(asked: float, why: str) -> Sample:
    """Return the sample of a look that brought nothing."""
    return Sample(asked=asked, read=time.monotonic(), state=None, why=why[:WHY_MAX])
