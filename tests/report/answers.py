"""Answers about circuit breakers: inferred from simulated ones, and the extremes of what a page can meet."""

from __future__ import annotations

import functools
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

from agent.breakers.analysis import analyse, to_json
from agent.breakers.boxes.comparison import compare
from agent.breakers.boxes.comparison import to_json as told_by
from agent.breakers.boxes.whitebox import Sample, Traps
from agent.breakers.courses.states import State
from agent.breakers.evidence import cut_out, lanes
from agent.breakers.simulation.simulate import Design, World, simulate
from agent.breakers.streams import Arrivals, Calls, FaultWindow
from agent.breakers.view import view

if TYPE_CHECKING:
    from agent.breakers.boxes.comparison import Comparison
    from agent.breakers.view import View

T0 = 1_795_471_205.120
LONG = "a-very-long-name-without-any-place-to-break-it-" * 8


@functools.cache
def _inferred(half_open: str, fault: str, rate_rps: float) -> dict[str, Any]:
    truth = simulate(Design(half_open=half_open), World(fault=fault, rate_rps=rate_rps))
    return to_json(analyse(truth.calls, {"dependency": truth.arrivals}, [truth.fault]), wall_ahead_s=T0)


def well() -> dict[str, Any]:
    """Opens, rejects, tries one, closes."""
    return dict(_inferred("reject", "error", 30.0))


def stampede() -> dict[str, Any]:
    """Lets everybody in when it tries again."""
    return dict(_inferred("admit", "hang", 60.0))


def of(begun: Any, faults: list[FaultWindow]) -> dict[str, Any]:
    """Return the answer about calls that all came well through."""
    n = len(begun)
    ids, zeros = np.arange(1, n + 1, dtype="u8"), np.zeros(n, "i8")
    calls = Calls(
        begun=begun,
        ended=begun + 0.004,
        outcome=zeros,
        status=zeros + 200,
        degraded=np.zeros(n, bool),
        key=zeros,
        id=ids,
    )
    arrivals = Arrivals(at=begun + 0.001, ended=begun + 0.003, status=zeros + 200, source=zeros, id=ids)
    return to_json(analyse(calls, {"dependency": arrivals}, faults), wall_ahead_s=T0)


def no_traffic() -> dict[str, Any]:
    """Nobody called."""
    return of(np.empty(0), [])


def one_call() -> dict[str, Any]:
    """One call, and a fault that met nobody."""
    return of(np.array([1.0]), [FaultWindow(kind="error", began=2.0, ended=3.0)])


@functools.cache
def _million() -> dict[str, Any]:
    return of(np.linspace(0.0, 600.0, 1_000_000), [FaultWindow(kind="slow", began=200.0, ended=400.0)])


def million() -> dict[str, Any]:
    """A million calls in ten minutes."""
    return dict(_million())


def many_findings() -> dict[str, Any]:
    """Forty findings, each with evidence."""
    told = stampede()
    return told | {"findings": [told["findings"][0] | {"title": f"Finding {n}"} for n in range(40)]}


def many_streams() -> dict[str, Any]:
    """Twelve keys."""
    told = stampede()
    return told | {
        "streams": [told["streams"][0], *(told["streams"][0] | {"key": f"shard-{n}"} for n in range(12))]
    }


def reader(kind: str, *, late_s: float, read_every_s: float = 0.2) -> tuple[Comparison, View]:
    """Return what a source tells that is so much late and for a while cannot be read, beside what is seen."""
    truth = simulate(Design(half_open="admit"), World(fault="hang", rate_rps=60.0))
    changes = [(-9.0, "closed"), *((at, to) for at, _, to in truth.transitions[0])]
    samples = []
    for at in np.arange(0.0, 40.0, read_every_s).tolist():
        state = next(to for since, to in reversed(changes) if since + late_s <= at)
        unread = 30.0 < at < 33.0
        samples.append(
            Sample(
                asked=at,
                read=at + 0.01,
                state=None if unread else State(state),
                why="connection refused" if unread else "",
            )
        )
    seen = view(truth.calls, truth.arrivals, [truth.fault])
    traps = Traps(lazy=True, notes=("It says open until a call arrives.",))
    return compare(seen, samples, kind=kind, url=f"http://127.0.0.1:8080/{kind}", traps=traps), seen


@functools.cache
def _whitebox() -> dict[str, Any]:
    """Two readers: one agrees, the other is two seconds late, which is a finding."""
    told = stampede()
    good, late = reader("resilience4j", late_s=0.0), reader("prometheus", late_s=2.0)
    moments = lanes(late[1])
    findings = [
        {name: value for name, value in asdict(each).items() if name != "span"}
        | cut_out(each, late[1], moments, T0)
        for each in late[0].disagreements
    ]
    return told | {
        "whitebox": [told_by(each, wall_ahead_s=T0) for each, _ in (good, late)],
        "findings": [*told["findings"], *findings],
    }


def whitebox() -> dict[str, Any]:
    """Two readers, as :func:`_whitebox` made them."""
    return dict(_whitebox())


def several_links() -> dict[str, Any]:
    """Two links, each with a breaker of its own, one of them failing; the calls' keys tell the link."""
    good = simulate(Design(), World(fault="error", rate_rps=30.0, seed=3))
    bad = simulate(Design(half_open="admit"), World(fault="hang", rate_rps=60.0, seed=4))
    sides = ((good, 1), (bad, 2))
    calls = Calls(
        **{
            name: np.concatenate([getattr(truth.calls, name) for truth, _ in sides])
            for name in ("begun", "ended", "outcome", "status", "degraded")
        },
        key=np.concatenate([np.full(len(truth.calls), number) for truth, number in sides]),
        id=np.concatenate([truth.calls.id * 10 + number for truth, number in sides]).astype("u8"),
    )
    arrivals = {
        f"shard-{number}": replace(truth.arrivals, id=(truth.arrivals.id * 10 + number).astype("u8"))
        for truth, number in sides
    }
    keys = {1: "eu", 2: "us"}
    return to_json(analyse(calls, arrivals, [bad.fault], keys=keys), wall_ahead_s=T0)


@functools.cache
def _replicas() -> dict[str, Any]:
    truth = simulate(
        Design(replicas=3, open_s=1.5),
        World(rate_rps=60.0, duration_s=25.0, fault_began=8.0, fault_ended=14.0),
    )
    peers = ("10.0.0.1", "10.0.0.2", "checkout-6d5f7c9b8-x2x7p")
    return to_json(
        analyse(truth.calls, {"dependency": truth.arrivals}, truth.faults, peers=peers), wall_ahead_s=T0
    )


def replicas() -> dict[str, Any]:
    """Three replicas behind one entry, the states of each; of one a time in which they are not told."""
    told = _replicas()
    (stream,) = told["streams"]
    last = stream["sources"][-1]
    unknown = last | {"sequence": ["closed", "unknown", *last["sequence"][2:]]}
    steps = [dict(each) for each in last["transitions"]]
    steps[0]["to"] = steps[1]["from"] = "unknown"
    sources = [*stream["sources"][:-1], unknown | {"transitions": steps}]
    return told | {"streams": [stream | {"sources": sources}]}


def played() -> dict[str, Any]:
    """A fault in which nobody could be told apart, and phases that are no faults."""
    told = well()
    faults = [each | {"seen": False} for each in told["faults"]]
    pause = {"kind": "pause", "purpose": "nobody calls", "began_at": T0 + 30.0, "ended_at": T0 + 36.0}
    return told | {"faults": faults, "phases": [*faults, pause]}


def taken_back() -> dict[str, Any]:
    """A rate that was raised while nothing was wrong, and taken back."""
    told = well()
    fields = {"purpose": "more calls", "rate_rps": 80.0, "taken_back": "9 of 40 calls did not come out well"}
    attempt = {"kind": "raise", "began_at": T0 + 33.0, "ended_at": T0 + 37.0, "seen": False}
    return told | {"phases": [*told["phases"], attempt | fields]}


def another_machine() -> dict[str, Any]:
    """No breaker with three states: none are told."""
    told = well()
    return told | {
        "machine": {
            "kind": "throttle",
            "why": "a share of calls is kept back all the time",
            "confidence": "high",
        },
        "streams": [told["streams"][0] | {"sequence": [], "transitions": []}],
    }


def named(name: str) -> dict[str, Any]:
    """Return an answer in which every text is *name*."""
    told = stampede()
    stream = told["streams"][0]
    step = {"from": name, "to": name} | {k: v for k, v in stream["transitions"][0].items() if "_at" in k}
    properties = {name: next(iter(told["properties"].values())) | {"why": name, "unit": name, "status": name}}
    finding = told["findings"][0] | dict.fromkeys(
        ("bug", "title", "evidence", "confidence", "severity", "advice", "key"), name
    )
    finding["evidence_calls"] = [each | {"answer": name} for each in finding["evidence_calls"]]
    return told | {
        "answer": name,
        "machine": {"kind": name, "why": name},
        "streams": [
            {
                "key": name,
                "link": name,
                "sequence": [name] * 9,
                "transitions": [step],
                "properties": properties,
            }
            | {"answer": name}
        ]
        * 3,
        "properties": properties,
        "findings": [finding],
        "faults": [each | {"kind": name} for each in told["faults"]],
        "expectations": [{"property": name, "expected": name, "status": name}],
        "whitebox": [
            whitebox()["whitebox"][0]
            | {
                "kind": name,
                "url": name,
                "errors": {name: 1},
                "explained": {name: 1},
                "traps": {"notes": [name]},
            }
        ],
        "mapping": told["mapping"] | {"by": name},
    }


def long_names() -> dict[str, Any]:
    """Names that nobody can break."""
    return named(LONG)


EXTREMES = (
    well,
    stampede,
    no_traffic,
    one_call,
    million,
    many_findings,
    many_streams,
    whitebox,
    several_links,
    replicas,
    played,
    another_machine,
    long_names,
)

_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["pass", "fail", "inconclusive", "closed", "open", "half_open", "s", "share", "calls"])
)
_anything = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
_times = st.floats(T0, T0 + 60.0) | _leaves
_lanes = st.dictionaries(
    st.sampled_from(["let_through_well", "let_through_failed", "kept_back", "aside", "answered_well"]),
    st.lists(_times, max_size=6) | _anything,
    max_size=4,
)


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return objects with any of *fields*, and now and then something else altogether."""
    return st.fixed_dictionaries({}, optional=fields) | _anything


_transitions = _some(**{"from": _leaves, "to": _leaves, "after_at": _times, "before_at": _times})
_properties = st.dictionaries(
    st.sampled_from(["half_open_budget", "leak_share", "time_to_half_open_s"]) | st.text(max_size=9),
    _some(
        unit=_leaves,
        estimate=_leaves,
        low=_leaves,
        high=_leaves,
        n=_leaves,
        status=_leaves,
        why=_leaves,
        limit=_leaves,
        more=_some(each=st.lists(st.tuples(_leaves, _leaves) | _anything, max_size=4)),
    ),
    max_size=3,
)
_findings = _some(
    bug=_leaves,
    title=_leaves,
    evidence=_leaves,
    advice=_leaves,
    severity=_leaves,
    confidence=_leaves,
    key=_leaves,
    link=_leaves,
    evidence_span=_some(from_at=_times, to_at=_times),
    evidence_window=_some(from_at=_times, to_at=_times),
    evidence_calls=st.lists(
        _some(call=_leaves, begun_at=_times, ended_at=_times, answer=_leaves, requests=_leaves)
        | _some(begun_at=_times, ended_at=_times, arrived_at=st.lists(_times, max_size=3)),
        max_size=3,
    ),
    evidence_raster=_lanes,
    evidence_raster_every=_anything,
)
_streams = _some(
    key=_leaves,
    link=_leaves,
    sequence=st.lists(_leaves, max_size=5),
    transitions=st.lists(_transitions, max_size=4),
    properties=_properties,
    answer=_leaves,
)
anything = _some(
    answer=_leaves,
    notes=_leaves | st.lists(_leaves, max_size=3),
    machine=_leaves | _some(kind=_leaves, why=_leaves),
    streams=st.lists(_streams, max_size=3),
    properties=_properties,
    findings=st.lists(_findings, max_size=3),
    faults=st.lists(_some(kind=_leaves, began_at=_times, ended_at=_times, seen=_leaves), max_size=3),
    phases=st.lists(_some(kind=_leaves, began_at=_times, ended_at=_times, purpose=_leaves), max_size=3),
    expectations=st.lists(
        _some(property=_leaves, expected=_leaves | _some(min=_leaves, max=_leaves), status=_leaves),
        max_size=3,
    ),
    raster=_lanes,
    raster_every=_anything,
    mapping=_some(by=_leaves, calls=_leaves, doubtful_share=_leaves),
    whitebox=st.lists(
        _some(
            kind=_leaves,
            samples=_leaves,
            errors=_anything,
            states=st.lists(
                _some(state=_leaves, after_at=_times, before_at=_times, until_at=_times), max_size=4
            ),
            agreement=_some(compared_s=_leaves, share=_leaves, transitions=_leaves, matched=_leaves),
            explained=_anything,
            traps=_anything,
            disagreements=st.lists(_some(bug=_leaves, evidence=_leaves), max_size=2),
        ),
        max_size=3,
    ),
)
"""Answers of every kind, also those no exercise would leave."""
