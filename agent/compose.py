"""Puts the rooms together: settings, store, gates, processes, traffic and filing make a run.

Only the command line, the scheduler and the tests import this.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent import __version__
from agent.catalog.redact import redact
from agent.execution.spawn import start_child, start_watch
from agent.filing import folder as filing
from agent.jobs.adopting import follow, lives_in_a_job, take_in_what_ended
from agent.jobs.sending import send_out
from agent.model import Mark, Radius, Refused, RunRecord
from agent.report import from_json, json_text
from agent.run import Effects, Run, refused
from agent.safety import gates, owner
from agent.safety.context import new_run_id, run_folder
from agent.safety.recover import recover
from agent.sandbox import state as sandbox_state
from agent.settings import PREFIX, Settings
from agent.store import Store
from agent.traffic.samples import bins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from agent.catalog.experiment import Experiment
    from agent.run import Stop
    from agent.safety.heal import Healed
    from agent.sharing import Sharing

TRAFFIC_BIN_S = 0.5

type Observe = Callable[[RunRecord, object], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An open state folder and the environment that its runs are given."""

    settings: Settings
    store: Store
    environ: Mapping[str, str] = field(default_factory=dict)
    sharing: Sharing | None = None
    """What other agents know of this one; None where it is alone."""

    def close(self) -> None:
        """Let go of the stores."""
        if self.sharing is not None:
            self.sharing.close()
        self.store.close()

    def halted(self) -> str | None:
        """Return why nothing may go on, here or anywhere, as far as was last heard."""
        return self.store.halted() or (self.sharing.halted() if self.sharing else None)

    def claim(self, what: str, due: float) -> bool:
        """Whether *what* was due then is for this agent to do; always, where it is alone.

        Raises:
            StoreUnavailable: Nobody can tell, so it is not done.
        """
        return self.sharing is None or self.sharing.claim(what, due)

    def run(
        self,
        experiment: Experiment,
        *,
        stop: Stop,
        run: str | None = None,
        leashed: bool = False,
        because: str = "",
        observe: Observe = lambda _record, _event: None,
    ) -> RunRecord:
        """Run *experiment* and return its finished, filed record; *because* is told in it.

        *run* is its id where somebody else has chosen one.

        Raises:
            StoreUnavailable: Nothing can be recorded, so nothing was started.
        """
        run = run or new_run_id()
        record = RunRecord(
            run=run,
            experiment=str(experiment.path),
            title=experiment.title,
            started_at=0.0,
            leashed=leashed,
            definition=self._shown(experiment),
            host=socket.gethostname(),
            agent_version=__version__,
        )
        row = self._begin(record, experiment)
        asked = (Mark(at=row, kind="asked", says=because),) if because else ()
        record = record.with_(started_at=row, marks=asked)
        if why := self._closed_gate(experiment, run):
            done = refused(record, why, self.store)
        elif self.settings.executor == "kubernetes-job":
            done = self._run_outside(experiment, record, because, stop=stop, observe=observe)
        else:
            done = Run(experiment, record, self._effects(experiment, record, stop=stop, observe=observe)).go()
        if self.sharing is not None:
            self.sharing.file(run)
        return done

    def _effects(
        self,
        experiment: Experiment,
        record: RunRecord,
        *,
        stop: Stop,
        observe: Observe,
    ) -> Effects:
        folder = run_folder(self.settings.home, record.run)
        environ = self._environ(record.run, leashed=record.leashed)
        secrets = experiment.secret_values(self.environ)
        return Effects(
            store=self.store,
            start_child=lambda: start_child(
                experiment.definition,
                environ,
                leashed=record.leashed,
                folder=folder,
                conceal=lambda text: str(redact(text, secrets)),
            ),
            start_watch=lambda: start_watch(
                experiment.definition,
                experiment.probes,
                environ,
                every_s=experiment.allowance.watch.every_s,
            ),
            stop=stop,
            halted=self.halted,
            observe=observe,
            complete=lambda done: self._complete(done, experiment, folder),
            file=lambda done: filing.file(done, folder),
        )

    def _run_outside(
        self,
        experiment: Experiment,
        record: RunRecord,
        because: str,
        *,
        stop: Stop,
        observe: Observe,
    ) -> RunRecord:
        """Have a Job play the run, follow it, and take its report in."""
        folder = run_folder(self.settings.home, record.run)
        try:
            place = send_out(record, experiment, self.settings, self.environ, folder=folder, because=because)
        except Refused as error:
            return refused(record, str(error), self.store)
        return follow(self.store, record, place, stop=stop, halted=self.halted, observe=observe)

    def recover(self) -> None:
        """Heal and report what runs of agents that died left behind."""
        recover_home(self.settings, self.store)

    def _begin(self, record: RunRecord, experiment: Experiment) -> float:
        radius = experiment.allowance.blast_radius or Radius(count=self.settings.radius_count)
        self.store.begin_run(
            record.run,
            experiment=record.experiment,
            title=record.title,
            owner=owner.this_process(),
            leashed=record.leashed,
            radius=radius,
        )
        row = self.store.run(record.run)
        assert row is not None, "it was just begun"
        return row.started_at

    def _closed_gate(self, experiment: Experiment, run: str) -> str | None:
        in_a_job = self.settings.executor == "kubernetes-job"
        return gates.ask(
            [
                gates.not_halted(self.store),
                gates.nothing_left_broken(self.store),
                *([gates.fits_a_job(experiment.faults)] if in_a_job else ()),
                lambda: _first_need(experiment, self.environ),
                *([self.sharing.gate(run)] if self.sharing else ()),
            ],
        )

    def _environ(self, run: str, *, leashed: bool) -> dict[str, str]:
        ours = {"STORE": "", "RUN": run, "LEASH": "1" if leashed else "", "HOME": str(self.settings.home)}
        return {**self.environ, **{PREFIX + key: value for key, value in ours.items()}}

    def _shown(self, experiment: Experiment) -> Any:
        return redact(dict(experiment.definition), experiment.secret_values(self.environ))

    def _complete(self, record: RunRecord, experiment: Experiment, folder: Path) -> RunRecord:
        """Add the traffic, and take secrets out of whatever activities and probes returned."""
        samples = folder / "traffic.samples"
        traffic = bins(samples, TRAFFIC_BIN_S) if samples.exists() else ()
        secrets = experiment.secret_values(self.environ)
        breaker, storm = _left(folder, "breaker"), _left(folder, "storm")
        marks = (*record.marks, *_phases(breaker, storm))
        return _blacked_out(record.with_(traffic=traffic, breaker=breaker, storm=storm, marks=marks), secrets)


def open_agent(settings: Settings) -> Agent:
    """Open the state folder and heal what an earlier crash left, before anything else.

    The shared store is asked for the first time when a run begins: healing needs none.

    Raises:
        StoreUnavailable: The folder cannot be used.
        UsageError: ``GAMEDAY_STORE`` names no store.
    """
    store = Store(settings.home)
    recover_home(settings, store)
    sharing = None
    if settings.store is not None:
        from agent.sharing import Sharing  # noqa: PLC0415  # who is alone does not pay for PostgreSQL

        sharing = Sharing.over(settings.store, store)
        sharing.start()
    return Agent(settings=settings, store=store, environ=_with_sandbox(settings), sharing=sharing)


def recover_home(settings: Settings, store: Store) -> Healed:
    """Heal what dead runs left broken, and file what is known of them in their folders.

    A run in a Job does not die with its agent: its report is taken in once it is there.
    """
    healed = recover(
        store,
        file=lambda record: filing.file(record, run_folder(settings.home, record.run)),
        keep=lambda row: lives_in_a_job(settings.home, row),
    )
    take_in_what_ended(store)
    return healed


def _left(folder: Path, what: str) -> dict[str, Any] | None:
    """Return what an exercise of a breaker, or a storm, left in the run's folder."""
    path = folder / f"{what}.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _phases(breaker: dict[str, Any] | None, storm: dict[str, Any] | None) -> list[Mark]:
    """Return a mark for each phase that was played, with what it is for."""
    played = [(each, each["kind"]) for each in (breaker or {}).get("phases", ())]
    levels = (storm or {}).get("levels", ())
    played += [(each, each["name"]) for level in levels for each in level["phases"]]
    return [Mark(at=each["began_at"], kind=name, says=each["purpose"]) for each, name in played]


def _with_sandbox(settings: Settings) -> dict[str, str]:
    """Return the environment for runs; a sandbox running in this home is found by itself."""
    environ = dict(os.environ)
    running = sandbox_state.read(settings.home)
    if running is not None:
        environ.setdefault(PREFIX + "SANDBOX_URL", running["url"])
    return environ


def _first_need(experiment: Experiment, environ: Mapping[str, str]) -> str | None:
    unmet = experiment.unmet(environ)
    return f"{unmet[0]}" if unmet else None


def _blacked_out(record: RunRecord, secrets: frozenset[str]) -> RunRecord:
    """Return *record* with every secret out of it, whatever activity or probe let it slip."""
    return from_json(json.dumps(redact(json.loads(json_text(record)), secrets)))
