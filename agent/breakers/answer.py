"""The plain answer: one paragraph that somebody who knows breakers would say after looking."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from agent.breakers.courses.states import State
from agent.breakers.machines.kinds import Kind
from agent.breakers.measures.estimate import Property, Status, often

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.view import View


def plain_answer(view: View, properties: Mapping[str, Property]) -> str:
    """Return what the breaker does, in one paragraph, and how the service asks if not once a call."""
    return " ".join([_breaker(view, properties), *view.asking.says])


def _breaker(view: View, properties: Mapping[str, Property]) -> str:
    if len(view.arrivals) == 0:
        return "No request came over the link: nothing can be said about a breaker."
    if not view.machine.three_state:
        return _other_machine(view)
    if State.OPEN not in view.course.sequence:
        return _never_opened(view, properties["failures_to_open"])
    parts = [
        _opening(properties, slow=view.machine.kind is Kind.SLOW_CALL),
        _staying(view, properties),
        _trying(properties),
        _closing(properties),
    ]
    return "It " + ", ".join(part for part in parts if part) + "." + _unseen(view)


def openings_and_closings(view: View, properties: Mapping[str, Property]) -> str:
    """Return what one of several replicas does, as far as its own calls tell."""
    wait = properties["time_to_half_open_s"]
    stays = _staying(view, properties)
    if wait.low is not None and wait.high is not None and wait.high - wait.low > VAGUE * wait.high:
        stays = f"stays open {seconds(wait.low)} to {seconds(wait.high)}"
    parts = [_opening(properties), stays, _closing(properties)]
    return "it " + ", ".join(part for part in parts if part) + "."


VAGUE = 0.1
"""A time whose bracket is wider than this share of it is told by both ends."""
NAMES = {
    Kind.REPLICAS: "Several machines behind one entry",
    Kind.GRADUAL: "A gradual recovery",
    Kind.THROTTLE: "An adaptive throttle",
    Kind.EJECTION: "An ejection of one host among several",
    Kind.SLIDING: "A limit to recent failures",
    Kind.BULKHEAD: "A bulkhead",
    Kind.RATE_LIMITER: "A rate limiter",
    Kind.UNCLEAR: "It is unclear what decides",
}


def _other_machine(view: View) -> str:
    """Say what it is instead of a breaker with three states; those are not made up."""
    machine = view.machine
    kept_back = int((~view.asked.forwarded).sum())
    if machine.kind is Kind.UNCLEAR:
        return f"{NAMES[machine.kind]}, and no states are told: {machine.why}."
    surely = "" if machine.confidence == "high" else f" ({machine.confidence} confidence)"
    return (
        f"{NAMES[machine.kind]}, no breaker with three states{surely}: {machine.why}. "
        f"{kept_back} of {len(view.asked)} calls were kept from the dependency."
    )


def _unseen(view: View) -> str:
    kinds = ", ".join(dict.fromkeys(fault.kind for fault in view.faults if not view.sees(fault)))
    if not kinds:
        return ""
    opened = State.OPEN in view.course.sequence
    why = "its rejections look like failures" if opened else "how a rejection would look is not known"
    return f" Not told for {kinds}: nothing arrives then, and {why}."


def _never_opened(view: View, opening: Property) -> str:
    if not view.faults:
        return "No fault was put in, so the breaker had no reason to open."
    seen = [fault.kind for fault in view.faults if view.sees(fault)] or [fault.kind for fault in view.faults]
    kinds = ", ".join(dict.fromkeys(seen))
    if opening.status is not Status.FAIL:
        return f"It cannot be told whether it opens ({kinds}): {opening.why}." + _unseen(view)
    said = f"It never opened ({kinds}): {opening.n} calls failed on the dependency, each was let through."
    return said + _unseen(view)


def _opening(properties: Mapping[str, Property], *, slow: bool = False) -> str:
    count, time = properties["failures_to_open"], properties["time_to_open_s"]
    if count.estimate is None:
        return "was seen open"
    within = f" within {seconds(time.high)} of the fault" if time.high is not None else ""
    if slow:
        return f"opens when calls are slow, whatever comes of them,{within}"
    said = f"opens after {span(count)} {'failure' if count.high == 1 else 'failures'}"
    if not count.more.get("constant"):
        said = f"opens after a varying number of failures ({_spread(count)})"
    if count.more.get("without"):
        said += ", or with none when calls are slow,"
    return said + within


def _spread(count: Property) -> str:
    """Say from what to what it surely varied: each number is a bracket, and some of them are apart."""
    each = cast("list[tuple[float, float]]", count.more["each"])
    return f"{min(high for _, high in each):.0f} to {max(low for low, _ in each):.0f}"


ONE_TIME = {
    "constant": "stays open {}",
    "from trials": "stays open {}, after a trial counted from its start",
    "until well": "stays open while the dependency fails, and {} or so more: a check closes it",
}
"""How it is said where one time is all there is to say."""


def _staying(view: View, properties: Mapping[str, Property]) -> str:
    wait = properties["time_to_half_open_s"]
    if wait.estimate is None and State.HALF_OPEN in view.course.sequence:
        return "stays open for a time that cannot be told, for it opened out of sight"
    if wait.estimate is None:
        return "then was not seen to try again"
    pattern = str(wait.more["pattern"])
    if said := ONE_TIME.get(pattern):
        return said.format(seconds(wait.estimate))
    if isinstance(by_kind := wait.more["by_kind"], dict) and by_kind:
        return "stays open " + _each_kind(by_kind)
    how = {"growing": ", longer each time", "varying": ", not always the same", "by kind": ""}
    return f"stays open {seconds(wait.low)} to {seconds(wait.high)}{how[pattern]}"


def _each_kind(brackets: Mapping[str, tuple[float, float]]) -> str:
    """Say the usual time, and which kinds of fault surely have another."""
    usual = max(brackets.values(), key=lambda one: sum(_meet(one, other) for other in brackets.values()))
    others = {kind: each for kind, each in brackets.items() if not _meet(usual, each)}
    told = [f"{seconds(sum(each) / 2)} under {kind}" for kind, each in others.items()]
    return seconds(sum(usual) / 2) + (f" ({', '.join(told)})" if told else "")


def _meet(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _trying(properties: Mapping[str, Property]) -> str:
    budget = properties["half_open_budget"]
    if budget.low is None or properties["time_to_half_open_s"].more.get("pattern") == "until well":
        return ""
    calls = "1 call" if budget.low == 1 else f"{budget.low:.0f} calls"
    if budget.estimate is None:
        return f"then lets at least {calls} through"
    at_once = "" if budget.low == 1 else " at once"
    stampede = ": half-open stampede" if budget.status is Status.FAIL else ""
    waits = " while others wait for it" if budget.more.get("family") == "queue" else ""
    return f"then lets {calls} through{at_once}{waits}{stampede}"


def _closing(properties: Mapping[str, Property]) -> str:
    closing, relapses = properties["time_to_close_s"], properties["relapses"]
    if closing.status is Status.FAIL:
        return "and does not close again while it is watched"
    if closing.high is None:
        return ""
    again = f" (and opens again {often(round(relapses.estimate))} after that)" if relapses.estimate else ""
    return f"and is closed at most {seconds(closing.high)} after the fault is over{again}"


def span(each: Property) -> str:
    """Return a count or its range."""
    if each.low is None or each.high is None or each.low == each.high:
        return f"{each.estimate:.0f}"
    return f"{each.low:.0f} to {each.high:.0f}"


def seconds(value: float | None) -> str:
    """Return a duration as people say it."""
    if value is None:
        return "an unknown time"
    return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
