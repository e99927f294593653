"""Pods that are replaced or added while a fault lasts: followed within the radius, or at least reported."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from agent.clients import kubernetes
from agent.clients.kubernetes import KubernetesError
from agent.faults.cluster.pod_choice import candidates
from agent.faults.inside import lifelines
from agent.model import GamedayError, NoTargets, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent.clients.kubernetes import Api
    from agent.faults.cluster.pod_choice import Candidates, Target
    from agent.faults.kernel.scope import Network
    from agent.model import Json
    from agent.safety.targets import Choice

log = structlog.get_logger()

EVERY_S = 1.0
STOPS_WITHIN_S = 45.0
"""An injector that is just being started may take so long to be taken back."""
TRIES_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """Whose pods, as the arguments of a fault say it."""

    namespace: str
    selector: str
    choice: Choice
    allow_bare: bool
    follow: bool = False

    def find(self, api: Api) -> Candidates:
        """Return the pods that may be hit now."""
        return candidates(api, self.namespace, self.selector, unready=True, allow_bare=self.allow_bare)


@dataclass(slots=True, kw_only=True)
class Follower:
    """Watches the pods of one injection, in a thread if it is to follow, else with one look at the end."""

    near: Near
    place: dict[str, Json]
    table: str
    victims: dict[str, str]
    """Full name -> uid of who is hit."""
    known: frozenset[str]
    """The uids that matched when it began: they are not hit in another's place."""
    put: Callable[[Api, Target, Callable[[], bool]], str]
    """Hits one more pod, as long as that is wanted; returns the injection's table."""
    take_back: Callable[[str], None]
    """Heals what *put* put in, by its table."""
    until: float
    """When it has to end (seconds since the epoch): nobody is hit after that."""
    peers: Callable[[Api], Sequence[Network]] | None = None
    """Who the peers are by now; None where they cannot change."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _tables: list[str] = field(default_factory=list)
    _gone: list[str] = field(default_factory=list)
    _followed: list[str] = field(default_factory=list)
    _not_followed: dict[str, str] = field(default_factory=dict)
    _tries: dict[str, int] = field(default_factory=dict)
    _networks: frozenset[Network] = frozenset()
    _thread: threading.Thread | None = None

    def start(self, networks: Sequence[Network]) -> None:
        """Begin to follow, if that is asked for; *networks* are the peers that the injectors know."""
        self._networks = frozenset(networks)
        if self.near.follow:
            self._thread = threading.Thread(target=self._go, daemon=True, name="follow")
            self._thread.start()

    def stop(self) -> dict[str, Json]:
        """Look no more, and return what became of the pods."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(STOPS_WITHIN_S)
        else:
            try:
                with kubernetes.connect(self.place) as api:
                    self._look(api)
            except GamedayError as error:
                log.info("pods_not_looked_at", why=str(error))
        told: Mapping[str, Json] = {
            "gone": list(self._gone),
            "followed": list(self._followed),
            "not_followed": dict(self._not_followed),
        }
        return {name: value for name, value in told.items() if value}

    def _go(self) -> None:
        while not self._stop.wait(EVERY_S) and time.time() < self.until:
            try:
                with kubernetes.connect(self.place) as api:
                    self._follow_peers(api)
                    for target in self._look(api):
                        self._hit(api, target)
            except GamedayError as error:
                log.warning("pods_not_looked_at", why=str(error))

    def _follow_peers(self, api: Api) -> None:
        if self.peers is None:
            return
        try:
            networks = self.peers(api)
        except NoTargets:
            return  # all of them are being replaced: the old addresses do no harm
        if frozenset(networks) != self._networks:
            self._networks = frozenset(networks)
            for table in (self.table, *self._tables):
                lifelines.change(table, networks)

    def _look(self, api: Api) -> list[Target]:
        """Note who is gone and who came; return whom to hit in their place."""
        try:
            found = self.near.find(api)
        except NoTargets:
            self._note_gone({})
            return []
        alive = {name: target.pod.uid for name, target in found.targets.items()}
        self._note_gone(alive)
        fresh = [
            target
            for name, target in sorted(found.targets.items())
            if target.pod.uid not in self.known and self.victims.get(name) != target.pod.uid
        ]
        missing = self.near.choice.wanted(found.population) - len(self.victims)
        if not self.near.follow:
            if missing > 0:
                self._not_followed |= dict.fromkeys(
                    (target.pod.full_name for target in fresh[:missing]), "follow is not asked for"
                )
            return []
        return [each for each in fresh if each.pod.phase == "Running"][: max(0, missing)]

    def _note_gone(self, alive: Mapping[str, str]) -> None:
        for name, uid in list(self.victims.items()):
            if alive.get(name) != uid:
                del self.victims[name]
                self._gone.append(name)

    def _hit(self, api: Api, target: Target) -> None:
        name, uid = target.pod.full_name, target.pod.uid
        if self._tries.get(uid, 0) >= TRIES_MAX or self._stop.is_set():
            return
        self._tries[uid] = self._tries.get(uid, 0) + 1
        try:
            table = self.put(api, target, lambda: not self._stop.is_set())
        except Refused as error:  # beyond the radius, halted, aborting: no other answer is to be expected
            self._tries[uid] = TRIES_MAX
            self._not_followed[name] = str(error)
        except (GamedayError, KubernetesError) as error:
            self._not_followed[name] = str(error)
        else:
            self._not_followed.pop(name, None)
            if self._stop.is_set():
                self.take_back(table)
                return
            self._tables.append(table)
            self.victims[name] = uid
            self._followed.append(name)
