"""Waits for one rollout: for a pipeline that has just deployed."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from agent.clients.kubernetes import KubernetesError, NotThere, connect
from agent.model import GamedayError
from agent.safety.kubernetes_guard import nothing_touched_yet
from agent.schedule.rollouts import Progress, Rollout, read_rollout

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.schedule.rollouts import Workload
    from agent.stop import StopRequest

LOOK_EVERY_S = 1.0


class NoRollout(GamedayError):
    """The rollout failed, or did not finish in time; nothing was run."""


def await_rollout(workload: Workload, *, stop: StopRequest, tell: Callable[[str], None]) -> Rollout:
    """Return the present rollout of *workload* once it has finished; *tell* each change in words.

    An API server that does not answer is waited for, too: *stop* is what ends the wait.

    Raises:
        NoRollout: There is no such workload, its rollout failed, or *stop* came first.
        Refused: The workload may not be read.
    """
    said = ""
    while True:
        try:
            with connect() as api, nothing_touched_yet():
                rollout = read_rollout(workload, api.get(workload.path))
        except NotThere:
            raise NoRollout(f"there is no {workload}; nothing was run") from None
        except KubernetesError as error:
            if not error.passing:
                raise
            says = str(error)
        else:
            if rollout.progress is Progress.FINISHED:
                return rollout
            if rollout.progress is Progress.FAILED:
                raise NoRollout(f"the rollout of {workload} failed: {rollout.says}; nothing was run")
            says = f"waiting for {workload}: {rollout.says}"
        if says != said:
            tell(says)
            said = says
        if select.select([stop], [], [], LOOK_EVERY_S)[0]:
            raise NoRollout(
                f"the rollout of {workload} had not finished ({says}): {stop.why}; nothing was run"
            )
