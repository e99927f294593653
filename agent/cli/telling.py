"""Live progress of a breaker's exercise: also what it waits for, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.live import Progress

if TYPE_CHECKING:
    from agent.model import RunRecord

PROGRESS = "breaker.progress"
"""What the exercise writes in the run's folder, a line for each thing that it waits for."""


class Telling(Progress):
    """Progress that also tells what the exercise waits for."""

    _told = 0

    def __call__(self, record: RunRecord, event: object) -> None:
        """Follow one event, and say what the exercise has said since the last one."""
        super().__call__(record, event)
        said = self.run_folder(record) / PROGRESS
        lines = said.read_text(encoding="utf-8").splitlines() if said.exists() else []
        for line in lines[self._told :]:
            self.say(line)
        self._told = len(lines)
