"""Collects the calls and what comes over the links while a breaker is exercised."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Protocol

from agent.breakers.exercise.phases import EXTRAS, PURPOSES
from agent.breakers.reading.live import view_of
from agent.breakers.reading.recording import arrivals_of, calls_of, id_of, peers_of
from agent.breakers.streams import Phase
from agent.model import NoTargets
from agent.traffic.samples import FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from agent.breakers.streams import Arrivals, Calls, FaultWindow
    from agent.breakers.view import View

RECORDING = "breaker.recording.json"
PROGRESS = "breaker.progress"
"""A line for each thing that the exercise waits for, for whoever watches."""
PAGE = 10_000
SETTLED_S = 1.5
"""A call that began so long ago has ended, while nothing is wrong, and its sample is written."""
STEP_S = 0.1
"""A wall clock that moves by so much more or less than the monotonic one was set."""


class Seen(Protocol):
    """Where links are and what came over them; :class:`~agent.proxy.client.ProxyClient` is one."""

    @property
    def api(self) -> str:
        """Where it is, for a person."""

    def links(self) -> list[dict[str, Any]]:
        """Return the links, each with its ``name``."""

    def last_seq(self) -> int:
        """Return the number of the last entry so far."""

    def arrivals(self, since: int, limit: int) -> list[dict[str, Any]]:
        """Return up to *limit* entries after *since*, oldest first."""

    def open_requests(self, link: str) -> list[dict[str, Any]]:
        """Return the requests that have no answer yet."""

    def clock(self) -> dict[str, Any] | None:
        """Return how well the clocks of arrivals are known, None where they are this host's."""


class Recorder:
    """Both streams since it was made, and the faults that were played meanwhile.

    *keys* are the names of the traffic's keys by number; *told* is which link a key's calls go over, as
    far as somebody said so.
    """

    def __init__(
        self,
        links: Sequence[str],
        client: Seen,
        folder: Path,
        keys: Mapping[int, str],
        told: Mapping[str, str],
    ) -> None:
        self.links, self.folder = tuple(links), folder
        self.keys, self.told = keys, told
        self.faults: list[FaultWindow] = []
        self.phases: list[Phase] = []
        self.skipped: dict[str, str] = {}
        self.clock_steps: list[dict[str, float]] = []
        self._client = client
        self._entries: list[dict[str, Any]] = []
        names = [each["name"] for each in client.links()]
        if missing := [link for link in links if link not in names]:
            raise NoTargets(
                f"the proxy at {client.api} has no link {missing[0]!r}; it has {', '.join(names) or 'none'}"
            )
        self._seq = client.last_seq()
        self._since = self._until = time.monotonic()
        self._ahead = time.time() - time.monotonic()
        self._open: list[dict[str, Any]] = []

    def look(self, link: str, key: str = "") -> View:
        """Take in what came meanwhile, and infer what there is to infer about *link*, or one *key*."""
        self._watch_clock()
        self._until = time.monotonic()
        # Ahead of the log, so that none is missed in between.
        opened = [each for name in self.links for each in self._client.open_requests(name)]
        while page := self._client.arrivals(self._seq, PAGE):
            self._seq = int(page[-1]["seq"])
            self._entries += [
                each for each in page if each["link"] in self.links and each["kind"] == "request"
            ]
        ended = {(each["peer"], each["monotonic_at"]) for each in self._entries[-PAGE:]}
        self._open = [each for each in opened if (each["peer"], each["monotonic_at"]) not in ended]
        numbers = {name: number for number, name in self.keys.items()}
        return view_of(
            self.calls()[0],
            self.arrivals(),
            self.faults,
            link=link,
            key=numbers[key] if key else None,
            phases=self.phases,
        )

    def calls(self) -> tuple[Calls, float]:
        """Return the client's calls while arrivals were recorded, and how far its wall clock was ahead."""
        calls, ahead = calls_of(self.samples())
        return calls.where((calls.begun > self._since) & (calls.ended < self._until)), ahead

    def samples(self) -> bytes:
        """Return the traffic's samples file so far."""
        path = self.folder / FILE
        return path.read_bytes() if path.exists() else b""

    def arrivals(self) -> dict[str, Arrivals]:
        """Return the arrivals on each link so far."""
        entries, peers = [*self._entries, *self._open], self.peers()
        return {
            link: arrivals_of([each for each in entries if each["link"] == link], peers)
            for link in self.links
        }

    def peers(self) -> tuple[str, ...]:
        """Return what the sources of arrivals are called, by their number; the same on every link."""
        return peers_of([*self._entries, *self._open])

    def clock(self) -> dict[str, Any] | None:
        """Return how well the clocks of arrivals are known, None where they are this host's."""
        return self._client.clock()

    def path_of(self, key: str) -> str:
        """Return a glob that only requests of *key* match at the link, "" if there is none to be seen."""
        theirs, others = self._paths(lambda number: self.keys.get(number) == key)
        if len(theirs) != 1 or theirs & others:
            return ""
        return _literally(*theirs)

    def path_of_calls(self) -> str:
        """Return a glob that requests of our calls match at the link, and nobody else's where it can be told.

        Health checks and other clients then get no error answers: a dependency that fails in its work and
        is well when it is asked whether it is well.
        """
        ours, others = (
            {path.partition("?")[0] for path in paths} for paths in self._paths(lambda number: number >= 0)
        )
        others -= ours  # a call that began before the recording did is nobody's
        if len(ours) != 1 or not others or any(path.startswith(tuple(ours)) for path in others):
            return "*"
        return f"{_literally(*ours)}*"

    def _paths(self, chosen: Callable[[int], bool]) -> tuple[set[str], set[str]]:
        """Return the paths of calls whose key is *chosen*, and of all other requests; -1 is nobody's.

        Its last seconds are left out: calls that are under way are in no sample yet.
        """
        calls, _ = self.calls()
        until = min([self._until, *(fault.began for fault in self.faults)]) - SETTLED_S
        owners = dict(zip(calls.id.tolist(), calls.key.tolist(), strict=True))
        theirs: set[str] = set()
        others: set[str] = set()
        for entry in (each for each in self._entries if each["monotonic_at"] < until):
            number = owners.get(id_of(entry["id"]), -1)
            (theirs if chosen(number) else others).add(entry["path"])
        return theirs, others

    def begin(
        self,
        kind: str,
        *,
        rate_rps: float | None = None,
        timeout_s: float | None = None,
        clock_s: float | None = None,
    ) -> None:
        """Note that a phase begins now, with what the client does differently in it, and say its purpose."""
        self.say(f"{kind}: {PURPOSES[kind]}")
        self.phases.append(
            Phase(
                kind=kind,
                began=time.monotonic(),
                ended=float("inf"),
                extra=kind in EXTRAS,
                rate_rps=rate_rps,
                timeout_s=timeout_s,
                clock_s=clock_s,
            )
        )

    def end(self) -> None:
        """Note that the last phase is over."""
        self.phases[-1] = replace(self.phases[-1], ended=time.monotonic())

    def take_back(self, since: float, why: str) -> None:
        """Note that the last phase, which is over, began *since* then, and that its rate was taken back."""
        self.phases[-1] = replace(self.phases[-1], began=since, taken_back=why)

    def take_back_steps(self, kind: str, why: str) -> None:
        """Note that what was kept at phases of *kind* so far was taken back with a later one."""
        self.phases = [
            replace(each, taken_back=why) if each.kind == kind and not each.taken_back else each
            for each in self.phases
        ]

    def skip(self, kind: str, why: str) -> None:
        """Note that a phase is not played."""
        self.skipped[kind] = why
        self.say(f"{kind} is left out: {why}")

    def say(self, text: str) -> None:
        """Tell whoever watches."""
        with (self.folder / PROGRESS).open("a", encoding="utf-8") as lines:
            lines.write(text + "\n")

    def save(self) -> None:
        """File what the answer was inferred from, so that it can be inferred again."""
        recording = {
            "links": self.links,
            "since": self._since,
            "until": self._until,
            "faults": [
                {"kind": f.kind, "began": f.began, "ended": f.ended, "link": f.link, "key": f.key}
                for f in self.faults
            ],
            "keys": list(self.keys.values()),
            "key_links": dict(self.told),
            "phases": [asdict(each) for each in self.phases],
            "skipped": self.skipped,
            "clock_steps": self.clock_steps,
            "clock": self.clock(),
            "arrivals": [*self._entries, *self._open],
        }
        (self.folder / RECORDING).write_text(json.dumps(recording))

    def _watch_clock(self) -> None:
        ahead = time.time() - time.monotonic()
        if abs(ahead - self._ahead) >= STEP_S:
            self.clock_steps.append({"at": time.monotonic(), "by_s": ahead - self._ahead})
        self._ahead = ahead  # a clock that is only slewed moves by less between two looks


def _literally(path: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)
