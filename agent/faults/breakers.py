"""Exercises a circuit breaker: makes its dependency fail in each way, as long as it takes to understand it.

The faults are those of :mod:`agent.faults.links` or :mod:`agent.faults.inside.link`, of
:mod:`agent.faults.traffic` and :mod:`agent.faults.clocks`; nothing here breaks anything by itself.
"""

from __future__ import annotations

import json
import random
import shlex
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import settings as settings_of
from agent.breakers.analysis import analyse, to_json
from agent.breakers.blur import blurred
from agent.breakers.boxes import comparison
from agent.breakers.boxes.comparison import with_disagreements
from agent.breakers.exercise import phases
from agent.breakers.exercise.protocol import Pace
from agent.breakers.expect import held, parse
from agent.faults import links
from agent.faults.clocks import Clock
from agent.faults.exercise.extras import Extras
from agent.faults.exercise.in_pods import led
from agent.faults.exercise.phases import ByProxy, Exercise
from agent.faults.exercise.rate import Rate
from agent.faults.exercise.recording import Recorder
from agent.faults.inside.link import Ends, lead
from agent.model import UsageError
from agent.proxy.client import ProxyClient
from agent.safety.context import current_run
from agent.traffic.samples import key_of
from agent.whitebox.sources import Sources, listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.faults.exercise.phases import Way
    from agent.faults.exercise.recording import Seen
    from agent.model import Json

RESULT = "breaker.json"
WHITEBOX = "breaker.whitebox.json"


def exercise(
    *,
    link: str | Sequence[str],
    pods: str = "",
    towards: str = "",
    kinds: str | Sequence[str] = phases.DEFAULT,
    keys: str | Sequence[str] = (),
    key_links: str | Mapping[str, str] = "",
    expect: str = "",
    baseline_s: float = 10.0,
    patience_s: float = 6.0,
    fault_max_s: float = 60.0,
    recover_max_s: float = 60.0,
    trials: int = 2,
    within_s: float = 840.0,
    seed: int | None = None,
    bursts: bool = True,
    whitebox: str | Sequence[str] = (),
    clock_set: str | Sequence[str] = (),
    clock_read: str | Sequence[str] = (),
    clock_url: str = "",
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
            each leads to a shard, or from a replica.  With *pods* only what the one link is called.
        pods: ``NAMESPACE/SELECTOR`` of the pods that call the dependency: the link is then made inside each
            of them, by what :func:`agent.faults.pod_networks.delay` does it with, and the service is told
            nothing.  The namespace has to be in ``GAMEDAY_NAMESPACES``.
        towards: ``service/NAME:PORT``, ``pods/SELECTOR:PORT``, ``host/NAME:PORT`` or ``ADDRESS:PORT``: the
            dependency as those pods call it.
        kinds: Some of error, hang, slow, refuse, reset, not-found, and of the extra phases late-success,
            late-failure, interleaved, cancel, burst, low-rate, clock-step, pause; ``more`` stands for those
            extra phases that can tell something not known by then.  A list, or a text with commas.
        keys: The traffic's keys, to tell apart what each of them saw; a list, or a text with commas.
        key_links: Which link the calls for a key go over (``alpha=shard-0,beta=shard-1``); what is not
            said is learnt from the baseline.
        expect: A file of expectations, whose status becomes part of the answer.
        baseline_s: Seconds of calm before the first fault.
        patience_s: How long a fault stays in that does not open the breaker; the first one stays in for
            20 s at least, and each for half as long again as it took to open before.
        fault_max_s: How long one stays in that does, until a first trial tells how long it stays open.
        recover_max_s: How long a recovery is waited for; several open times once those are known.
        trials: How many trials are awaited under each fault.
        within_s: No phase is begun that would usually end later than this after the start.
        seed: Repeats the phases at which faults begin and end.
        bursts: Whether the traffic's ``rate_max_rps`` allows the phase burst, too, and not only that the
            rate is raised step by step with nothing wrong.
        whitebox: Where to read what the breaker says of itself, ``KIND:URL#options`` (docs/whitebox.md); a
            list, or a text with blanks.  A source that cannot be read ends nothing.
        clock_set: The command that sets the service's wall clock, see :func:`agent.faults.clocks.step`: a
            list of arguments, or a text that is split as a shell would; without it no clock is set.
        clock_read: The command that prints that clock; default: the Date of answers at *clock_url*.
        clock_url: The entry, where a clock is set and there is no *clock_read*.
        proxy: The proxy's API; default: the setting, else the proxy of this home.

    Returns:
        ``{"answer": "...", "sequence": [...], "findings": ["half-open-stampede", ...]}``; on the leash
        what :func:`agent.faults.links.fail_requests` returns.

    Raises:
        UsageError: *key_links* or *expect* name what there is not; *pods* without *towards*.  Nothing was
            injected.
        NoTargets: No such link, or pod.  Nothing was injected.
        Unsupported, NoInjector: As :func:`agent.faults.inside.link.lead`.
        NoEvidence: No traffic, or none of it comes over a link: the service bypasses it.
        Refused, DidNotLand: As the faults of links and of the traffic raise them.

    Undo:
        Each fault's own; every fault is taken out before the next phase begins, and the traffic is as
        planned.  A link in pods is taken out at the end.

    Dead man:
        Each fault's own: the reaper, and the lease that the proxy, or the traffic, itself holds; the clock's
        is a timer process.  In pods: the end of the stream, and the lease in the injector and in the kernel.
    """
    wanted, links_ = _listed(kinds), _listed(link)
    if unknown := [kind for kind in wanted if kind not in phases.NAMES]:
        raise UsageError(f"no kind of fault is called {unknown[0]!r}; there are {', '.join(phases.NAMES)}")
    told = pairs(key_links)
    if strange := [f"{key}={name}" for key, name in told.items() if name not in links_]:
        raise UsageError(f"{strange[0]} names no link; there are {', '.join(links_)}")
    expectations = parse(Path(expect)) if expect else {}
    sources = Sources(listed(whitebox), links=links_)
    ends = _ends(pods, towards, links_, proxy)
    longest_s = within_s + fault_max_s + 2 * recover_max_s
    if current_run().leashed:
        return _on_the_leash(ends, links_[0], proxy, longest_s)
    pace = Pace(
        baseline_s=baseline_s,
        patience_s=patience_s,
        first_patience_s=max(20.0, patience_s),
        fault_max_s=fault_max_s,
        recover_max_s=recover_max_s,
        trials=trials,
    )
    names = {key_of(key): key for key in _listed(keys)}
    began = time.monotonic()
    with ExitStack() as stack:
        seen: Seen
        way: Way
        if ends is None:
            seen, way = ProxyClient.of(settings_of.current(), proxy), ByProxy(proxy)
        else:
            seen = way = stack.enter_context(
                led(ends, name=links_[0], max_duration_s=longest_s, calm_within_s=recover_max_s)
            )
        recorder = Recorder(links_, seen, current_run().folder, names, told)
        left_s = within_s - (time.monotonic() - began)
        rate = Rate(recorder.folder, max_duration_s=longest_s)
        stack.callback(rate.back)
        played = Exercise(recorder, pace, random.Random(seed), way=way, rate=rate, within_s=left_s)
        stack.enter_context(sources)
        played.play([kind for kind in wanted if kind in phases.KINDS])
        Extras(played, _clock(clock_set, clock_read, clock_url), bursts=bursts).play(wanted)
    return _answer(recorder, rate, expectations, sources)


def _ends(pods: str, towards: str, links_: Sequence[str], proxy: str | None) -> Ends | None:
    if not pods and not towards:
        return None
    if len(links_) > 1 or proxy:
        raise UsageError("a link in pods is one, and of no proxy elsewhere: give one name and no proxy")
    return Ends.parse(pods, towards)


def _on_the_leash(ends: Ends | None, link: str, proxy: str | None, longest_s: float) -> dict[str, Json]:
    """Return who would be hit."""
    if ends is None:
        return links.fail_requests(link=link, status=500, proxy=proxy)
    told = lead(ends, name=link, max_duration_s=longest_s)
    assert isinstance(told, dict), "on the leash nothing is led"
    return told


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


def _clock(command: str | Sequence[str], reading: str | Sequence[str], url: str) -> Clock | None:
    words = [shlex.split(each) if isinstance(each, str) else list(each) for each in (command, reading)]
    return Clock(command=words[0], reading=words[1], url=url) if words[0] else None


def _listed(what: str | Sequence[str]) -> tuple[str, ...]:
    parts = what.split(",") if isinstance(what, str) else what
    return tuple(part.strip() for part in parts if part.strip())


def _answer(recorder: Recorder, rate: Rate, wanted: Mapping[str, Any], sources: Sources) -> dict[str, Json]:
    """Analyse the whole recording and file the answer."""
    calls, ahead = recorder.calls()
    answer = analyse(
        calls,
        recorder.arrivals(),
        recorder.faults,
        keys=recorder.keys,
        told=recorder.told,
        phases=recorder.phases,
        peers=recorder.peers(),
    )
    clock = recorder.clock()
    recorder.save()
    compared = sources.compared({each.link: each.view for each in answer.judged})
    found = to_json(with_disagreements(answer, compared), wall_ahead_s=ahead)
    if clock is not None:
        found = blurred(found, clock["uncertainty_s"], clock["pods"]) | {"clock": clock}
    found["rate"] |= {"at_most_rps": rate.most_rps or None}
    found |= {"skipped": recorder.skipped, "clock_steps": recorder.clock_steps}
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
