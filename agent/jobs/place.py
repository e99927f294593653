"""Where the Job of a run is, kept in the run's folder from before it is made, for the next parent."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from agent.clients import jobs
from agent.filing.folder import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agent.model import Json

FILE = "job.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlace:
    """A Job's namespace and name; ``cluster`` is which API server, as ``connect`` takes it.

    By ``ends_by``, in seconds since the epoch, its own deadline has ended it.
    """

    namespace: str
    name: str
    cluster: Mapping[str, Json]
    ends_by: float

    @property
    def path(self) -> str:
        """The path of the Job."""
        return jobs.path_of(self.namespace, self.name)

    def write(self, folder: Path) -> None:
        """Keep it in the run's *folder*."""
        write_whole(folder / FILE, json.dumps(asdict(self)))


def read_place(folder: Path) -> JobPlace | None:
    """Return where the run of *folder* has its Job; None if it is none that lives in one."""
    try:
        return JobPlace(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
