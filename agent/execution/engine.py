"""The child process: Chaos Toolkit plays one experiment in its main thread and tells its parent.

Nothing here is needed for safety: the door, the reaper and the parent see to that.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from chaoslib.experiment import run_experiment
from chaoslib.run import RunEventHandler
from chaoslib.types import Dry

from agent.execution.messages import Played, Section
from agent.execution.plain import plain
from agent.model import Activity
from agent.pipes import wait_for_end

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.connection import Connection

    from agent.execution.messages import Message

PARENT_GONE_GRACE_S = 10.0


def play(
    definition: dict[str, Any],
    environ: Mapping[str, str],
    *,
    messages: Connection,
    lifeline: Connection,
    output: Connection,
    leashed: bool,
) -> None:
    """Play *definition* and send every :data:`Message` to the parent; the target of the child process."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environ)
    os.environ["GAMEDAY_LIFELINE_FD"] = str(lifeline.fileno())
    sys.path.insert(0, os.getcwd())  # as `chaos run` does: modules beside the experiment
    for fd in (1, 2):
        os.dup2(output.fileno(), fd)
    threading.Thread(target=_end_with_parent, args=(lifeline.fileno(),), daemon=True).start()
    teller = _Teller(messages)
    try:
        journal = run_experiment(
            leash(definition) if leashed else definition,
            settings={"runtime": {"rollbacks": {"strategy": "always"}}},
            event_handlers=[teller],
        )
        status, deviated, error = str(journal["status"]), bool(journal["deviated"]), None
    except BaseException as raised:  # noqa: BLE001  # boundary: whatever an extension threw, the parent is told
        status, deviated, error = "crashed", False, f"{type(raised).__name__}: {raised}"
    teller.send(Played(at=time.time(), status=status, deviated=deviated, error=error))
    wait_for_end(lifeline.fileno())


def leash(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return *definition* with every action that the door does not guard left out of play."""
    return {**definition, "method": [_leashed(step) for step in definition["method"]]}


def _leashed(step: dict[str, Any]) -> dict[str, Any]:
    module = step.get("provider", {}).get("module", "")
    if step.get("type") == "action" and not module.startswith("agent.faults"):
        return {**step, "dry": Dry.ACTIONS}
    return step


def _end_with_parent(lifeline: int) -> None:
    """Interrupt the experiment when the parent is gone; Chaos Toolkit then plays the rollbacks."""
    wait_for_end(lifeline)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PARENT_GONE_GRACE_S)
    os.killpg(0, signal.SIGKILL)


class _Teller(RunEventHandler):  # type: ignore[misc]  # chaoslib is untyped
    """Tells the parent what Chaos Toolkit does, as it happens."""

    def __init__(self, messages: Connection) -> None:
        self._messages = messages
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._section = "before"
        self._started: dict[int, float] = {}

    def send(self, message: Message) -> None:
        if os.getpid() != self._pid:
            os._exit(70)  # an activity forked and its copy came back here: one experiment is enough
        with self._lock:
            self._messages.send(message)

    def _enter(self, name: str) -> None:
        self._section = name
        self.send(Section(name=name, at=time.time()))

    def _leave(self, name: str, state: Any = None) -> None:
        probes = (state or {}).get("probes", [])
        told = {p["activity"]["name"]: p["tolerance_met"] for p in probes if p.get("status") == "succeeded"}
        self.send(Section(name=name, at=time.time(), ended=True, met=_met(state), probes_met=told))

    def start_hypothesis_before(self, experiment: Any) -> None:  # noqa: ARG002
        self._enter("before")

    def hypothesis_before_completed(self, experiment: Any, state: Any, journal: Any) -> None:  # noqa: ARG002
        self._leave("before", state)

    def start_method(self, experiment: Any) -> None:  # noqa: ARG002
        self._enter("method")

    def method_completed(self, experiment: Any, state: Any) -> None:  # noqa: ARG002
        self._leave("method")

    def start_hypothesis_after(self, experiment: Any) -> None:  # noqa: ARG002
        self._enter("after")

    def hypothesis_after_completed(self, experiment: Any, state: Any, journal: Any) -> None:  # noqa: ARG002
        self._leave("after", state)

    def start_rollbacks(self, experiment: Any) -> None:  # noqa: ARG002
        self._enter("rollbacks")

    def rollbacks_completed(self, experiment: Any, journal: Any) -> None:  # noqa: ARG002
        self._leave("rollbacks")

    def start_activity(self, activity: Any) -> None:
        self.send(_activity(activity, self._section, started_at=time.time()))

    def activity_completed(self, activity: Any, run: Any) -> None:
        error = "".join(run.get("exception") or []).strip() or None
        self.send(
            _activity(
                activity,
                self._section,
                started_at=datetime.fromisoformat(run["start"]).timestamp(),
                ended_at=datetime.fromisoformat(run["end"]).timestamp(),
                status=run.get("status", "interrupted"),
                output=plain(run.get("output")),
                error=error and _cause(error),
            ),
        )


def _met(state: Any) -> bool | None:
    """Return a hypothesis's outcome; None when a probe failed, which is not an answer."""
    if not state or any(probe.get("status") == "failed" for probe in state.get("probes", [])):
        return None
    return bool(state["steady_state_met"])


def _activity(activity: Mapping[str, Any], section: str, **values: Any) -> Activity:
    return Activity(name=str(activity.get("name")), kind=str(activity.get("type")), section=section, **values)


def _cause(error: str) -> str:
    """Return what an activity raised; Chaos Toolkit puts the tracebacks of the whole chain before it."""
    return error.rpartition("chaoslib.exceptions.ActivityFailed: ")[2]
