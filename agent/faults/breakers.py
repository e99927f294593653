"""Exercises a circuit breaker: makes its dependency fail in each way, as long as it takes to understand it.

The faults are those of :mod:`agent.faults.links`; nothing here breaks anything by itself.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import settings as settings_of
from agent.breakers import comparison, protocol
from agent.breakers.analysis import analyse, to_json
from agent.breakers.comparison import with_disagreements
from agent.breakers.expect import held, parse
from agent.breakers.live import misled
from agent.breakers.protocol import Pace, Step
from agent.breakers.states import State
from agent.breakers.streams import FaultWindow
from agent.faults import heal, links
from agent.faults.breaker_recording import Recorder
from agent.model import NoEvidence, UsageError
from agent.proxy.client import ProxyClient
from agent.safety.context import current_run
from agent.traffic.samples import key_of
from agent.whitebox.sources import Sources, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent.breakers.view import View
    from agent.model import Json

RESULT = "breaker.json"
WHITEBOX = "breaker.whitebox.json"
LOOK_EVERY_S = 0.25
SLOW_MAX_S = 2.0
SLOW_SHARE = 0.6
"""A slow answer takes this share of the service's patience, so that it is late and still a success."""


def exercise(
    *,
    link: str | Sequence[str],
    kinds: str | Sequence[str] = protocol.KINDS,
    keys: str | Sequence[str] = (),
    key_links: str | Mapping[str, str] = "",
    expect: str = "",
    baseline_s: float = 10.0,
    patience_s: float = 6.0,
    fault_max_s: float = 60.0,
    recover_max_s: float = 60.0,
    trials: int = 2,
    seed: int | None = None,
    whitebox: str | Sequence[str] = (),
    proxy: str | None = None,
) -> dict[str, Json]:
    """Fail *link* in each of *kinds* until the breaker in front of it has shown what it does.

    Several links fail one at a time, and what becomes of the calls over the others is told too.  So are
    the calls for other keys where there is one link and several keys: then the requests of one key fail.

    The traffic of the run (``agent.controls.traffic``) is one stream, the link's arrival log the other.
    Leaves ``breaker.json`` (the answer, see docs/breakers.md) and ``breaker.recording.json`` (what it
    was inferred from, beside the traffic's samples) in the run's folder; with *whitebox* also
    ``breaker.whitebox.json``, what the breaker said meanwhile.

    Args:
        link: The link between the service and its dependency; of several (a list, or a text with commas)
            each leads to a shard, or from a replica.
        kinds: Some of error, hang, slow, refuse, reset, not-found; a list, or a text with commas.
        keys: The traffic's keys, to tell apart what each of them saw; a list, or a text with commas.
        key_links: Which link the calls for a key go over (``alpha=shard-0,beta=shard-1``); what is not
            said is learnt from the baseline.
        expect: A file of expectations, whose status becomes part of the answer.
        baseline_s: Seconds of calm before the first fault.
        patience_s: How long a fault stays in that does not open the breaker.
        fault_max_s: How long one stays in that does; a breaker that stays open longer is seen only once.
        recover_max_s: How long a recovery is waited for.
        trials: How many trials are awaited under each fault.
        seed: Repeats the phases at which faults begin and end.
        whitebox: Where to read what the breaker says of itself, ``KIND:URL#options`` (docs/whitebox.md); a
            list, or a text with blanks.  A source that cannot be read ends nothing.
        proxy: The proxy's API; default: the setting, else the proxy of this home.

    Returns:
        ``{"answer": "...", "sequence": [...], "findings": ["half-open-stampede", ...]}``; on the leash
        what :func:`agent.faults.links.fail_requests` returns.

    Raises:
        UsageError: *key_links* or *expect* name what there is not.  Nothing was injected.
        NoTargets: No such link.  Nothing was injected.
        NoEvidence: No traffic, or none of it comes over a link: the service bypasses it.
        Refused, DidNotLand: As the faults of links raise them.

    Undo:
        Each fault's own; every fault is taken out before the next one goes in.

    Dead man:
        Each fault's own: the reaper, and the lease that the proxy itself holds.
    """
    wanted, links_ = _listed(kinds), _listed(link)
    if unknown := [kind for kind in wanted if kind not in protocol.KINDS]:
        raise UsageError(f"no kind of fault is called {unknown[0]!r}; there are {', '.join(protocol.KINDS)}")
    told = pairs(key_links)
    if strange := [f"{key}={name}" for key, name in told.items() if name not in links_]:
        raise UsageError(f"{strange[0]} names no link; there are {', '.join(links_)}")
    expectations = parse(Path(expect)) if expect else {}
    sources = Sources(listed(whitebox), links=links_)
    if current_run().leashed:
        return links.fail_requests(link=links_[0], status=500, proxy=proxy)
    pace = Pace(
        baseline_s=baseline_s,
        patience_s=patience_s,
        fault_max_s=fault_max_s,
        recover_max_s=recover_max_s,
        trials=trials,
    )
    names = {key_of(key): key for key in _listed(keys)}
    recorder = Recorder(
        links_, ProxyClient.of(settings_of.current(), proxy), current_run().folder, names, told
    )
    with sources:
        _Exercise(recorder, pace, random.Random(seed), proxy).play(wanted)
    return _answer(recorder, expectations, sources)


def pairs(told: str | Mapping[str, str]) -> dict[str, str]:
    """Return which link each key goes over, from a mapping or a text ``key=link,key=link``.

    Raises:
        UsageError: A part of the text is no pair.
    """
    if not isinstance(told, str):
        return dict(told)
    found = {}
    for part in _listed(told):
        key, equals, name = part.partition("=")
        if not (key and equals and name):
            raise UsageError(f"key_links: write key=link with commas in between, not {part!r}")
        found[key.strip()] = name.strip()
    return found


def _listed(what: str | Sequence[str]) -> tuple[str, ...]:
    parts = what.split(",") if isinstance(what, str) else what
    return tuple(part.strip() for part in parts if part.strip())


def _answer(recorder: Recorder, wanted: Mapping[str, Any], sources: Sources) -> dict[str, Json]:
    """Analyse the whole recording and file the answer."""
    calls, ahead = recorder.calls()
    answer = analyse(calls, recorder.arrivals(), recorder.faults, keys=recorder.keys, told=recorder.told)
    recorder.save()
    compared = sources.compared({each.link: each.view for each in answer.judged})
    found = to_json(with_disagreements(answer, compared), wall_ahead_s=ahead)
    found["expectations"] = held(wanted, found)
    if sources:
        sources.save(recorder.folder / WHITEBOX)
        found["whitebox"] = [comparison.to_json(each, wall_ahead_s=ahead) for each in compared]
    (recorder.folder / RESULT).write_text(json.dumps(found))
    return {
        "answer": found["answer"],
        "sequence": found["streams"][0]["sequence"],
        "findings": [each["bug"] for each in found["findings"]],
    }


class _Exercise:
    """Plays kinds of fault one after the other, each with its recovery."""

    def __init__(self, recorder: Recorder, pace: Pace, dice: random.Random, proxy: str | None) -> None:
        self._recorder, self._pace, self._dice = recorder, pace, dice
        self._proxy = proxy
        self._slow_ms = 300.0
        self._step, self._state = Step(kind="", link=recorder.links[0]), State.CLOSED

    def play(self, kinds: Sequence[str]) -> None:
        began = time.monotonic()
        self._recorder.say(f"calm for {self._pace.baseline_s:.0f} s, to learn what the service does usually")
        self._wait(
            lambda seen, now: protocol.baseline_is_enough(seen, self._pace, now - began),
            3 * self._pace.baseline_s,
        )
        self._check_streams()
        steps = protocol.steps(kinds, self._recorder.links, self._keys_apart())
        for n, step in enumerate(steps):
            self._step = step
            seen = self._look()
            self._recorder.say(protocol.next_in_words(seen, self._pace, steps[n:]))
            self._slow_ms = 1000 * min(SLOW_MAX_S, SLOW_SHARE * protocol.patience_of_service_s(seen))
            time.sleep(self._dice.uniform(0, 0.5))  # the phase at which a fault begins must not be chosen
            self._fail(self._step.kind)
            if self._step.kind == "slow" and not self._opened_under("slow"):
                self._hold_a_trial()
            if not self._recover():
                return  # a breaker that does not close has nothing more to show

    def _look(self) -> View:
        """Look at the breaker of the path that fails now."""
        return self._recorder.look(self._step.link, self._step.key)

    def _check_streams(self) -> None:
        self._look()
        calls, _ = self._recorder.calls()
        if len(calls) == 0:
            raise NoEvidence("there is no traffic: is the control agent.controls.traffic in the experiment?")
        arrivals = self._recorder.arrivals()
        if unused := [link for link, each in arrivals.items() if len(each) == 0]:
            names = " and ".join(repr(link) for link in unused)
            raise NoEvidence(
                f"{len(calls)} calls were made and not one request came over the link {names}: "
                "the service bypasses it (tell it to call the link's address), or never asks the dependency"
                + (", or no --key leads there" if len(arrivals) > 1 else "")
            )
        if wrong := misled(calls, arrivals, self._recorder.keys, self._recorder.told):
            raise NoEvidence(wrong)

    def _keys_apart(self) -> tuple[str, ...]:
        """Return the keys whose requests can be made to fail alone, where one link leads all of them."""
        keys = self._recorder.keys.values() if len(self._recorder.links) == 1 else ()
        return tuple(key for key in keys if self._recorder.path_of(key)) if len(keys) > 1 else ()

    def _fail(self, kind: str) -> None:
        """Keep one kind of fault in for as long as it teaches something."""
        began = time.monotonic()
        self._inject(kind)
        self._window(kind, began)
        self._wait(
            lambda seen, now: protocol.fault_is_enough(seen, self._pace, began, now), self._pace.fault_max_s
        )
        if self._opened_under(kind):
            # Ended at a random moment of the open time, or every recovery looks alike.
            time.sleep(self._dice.uniform(0, protocol.open_time_s(self._look())))
        heal()
        self._end_window()

    def _hold_a_trial(self) -> None:
        """Open it, then make the trial slow but successful, and see what becomes of the others."""
        began = time.monotonic()
        self._inject("error")
        self._window("error", began)
        self._wait(lambda seen, _: seen.course.sequence[-1] is State.OPEN, self._pace.patience_s)
        heal()
        self._end_window()
        began = time.monotonic()
        self._inject("slow")
        self._window("hold", began)
        longest = 2 * protocol.open_time_s(self._look()) + self._pace.patience_s
        self._wait(lambda seen, _: protocol.is_closed(seen), longest)
        heal()
        self._end_window()

    def _recover(self) -> bool:
        since = time.monotonic()
        self._recorder.say(f"{self._step.kind} is out: until it has closed and stayed so for a while")
        self._wait(
            lambda seen, now: protocol.recovery_is_enough(seen, self._pace, since, now),
            self._pace.recover_max_s,
        )
        return protocol.is_closed(self._look())

    def _opened_under(self, kind: str) -> bool:
        seen = self._look()
        began = max(fault.began for fault in seen.faults if fault.kind == kind)
        return any(step.to is State.OPEN and step.before >= began for step in seen.course.transitions)

    def _inject(self, kind: str) -> None:
        path = self._recorder.path_of(self._step.key) if self._step.key else self._recorder.path_of_calls()
        faults: Mapping[str, Callable[..., Any]] = {
            "error": lambda **to: links.fail_requests(status=500, path=path, **to),
            "not-found": lambda **to: links.fail_requests(status=404, **to),
            "hang": links.partition,
            "slow": lambda **to: links.delay(latency_ms=self._slow_ms, **to),
            "refuse": links.refuse,
            "reset": lambda **to: links.reset(
                on="request", **to
            ),  # with the connection none could be counted
        }
        longest = self._pace.fault_max_s + self._pace.patience_s + self._pace.recover_max_s
        faults[kind](link=self._step.link, proxy=self._proxy, max_duration_s=longest)

    def _window(self, kind: str, began: float) -> None:
        link = self._step.link if len(self._recorder.links) > 1 else ""
        self._recorder.faults.append(
            FaultWindow(kind=kind, began=began, ended=float("inf"), link=link, key=self._step.key)
        )

    def _end_window(self) -> None:
        faults = self._recorder.faults
        faults[-1] = replace(faults[-1], ended=time.monotonic())

    def _wait(self, enough: Callable[[View, float], bool], longest_s: float) -> None:
        deadline = time.monotonic() + longest_s
        while time.monotonic() < deadline:
            seen = self._look()
            if seen.course.sequence[-1] is not self._state:
                self._state = seen.course.sequence[-1]
                self._recorder.say(f"seen {self._state.replace('_', '-')}")
            if enough(seen, time.monotonic()):
                return
            time.sleep(LOOK_EVERY_S)
