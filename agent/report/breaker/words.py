"""How the properties of a breaker are named and written; the same words on every form of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.report.breaker.fields import count, number, text
from agent.report.words import NONE, brief, seconds
from agent.report.words import number as plain_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.report.breaker.read import Answer, Expectation, Property, Stream
    from agent.report.breaker.states import Reader
    from agent.report.strips import State

UNTOLD = "unknown"
STATES = {"closed": "closed", "open": "open", "half_open": "half-open"}
MACHINES = {
    "slow-call": "a breaker that counts slow calls",
    "none": "no breaker",
    "replicas": "several replicas, each with a breaker of its own",
    "gradual": "a breaker that lets a growing share in when it recovers",
    "throttle": "adaptive throttling, which never keeps back everything",
    "ejection": "single hosts are ejected, the others go on",
    "sliding": "failures that expire one by one, no trial",
    "bulkhead": "a bulkhead: it limits the calls in flight",
    "rate-limiter": "a rate limiter",
    "unclear": "unclear",
}
"""What is said of a machine; of a plain breaker nothing is."""
PLAIN_MACHINES = ("", "breaker")
SIGNS: dict[str, State] = {"pass": "steady", "fail": "unsteady"}
"""Status -> the look of its sign; everything else is unknown."""
COUNTS = ("calls", "times", "requests")
NAMES = {
    "fail_fast_p99_ms": "fail-fast latency, p99",
    "leak_share": "leak while open",
    "degraded_share": "degraded answers",
    "half_open_budget": "half-open budget",
    "time_to_half_open_s": "open time",
}
"""What a property is called where its own name does not say it."""


def state(name: str) -> str:
    """Return a state as people write it."""
    return STATES.get(name) or brief(name.replace("_", " "), 24) or "unknown"


def machine(answer: Answer) -> str:
    """Return what kind of machine it is, in one sentence, where it is no plain breaker."""
    if answer.machine in PLAIN_MACHINES:
        return ""
    said = f"{MACHINES.get(answer.machine, answer.machine)}"
    why = f" ({answer.machine_says})" if answer.machine_says else ""
    return said + why + (f"; confidence {answer.machine_confidence}" if answer.machine_confidence else "")


def title(name: str) -> str:
    """Return what a property is called."""
    plain = name.removesuffix("_s").removesuffix("_ms").removesuffix("_share").replace("_", " ")
    return NAMES.get(name) or brief(plain, 60) or "property without a name"


def sign(status: str) -> State:
    """Return which of the three signs a status has."""
    return SIGNS.get(status, "unknown")


def amount(value: float | None, unit: str) -> str:
    """Return a measured value with its unit, a dash for none."""
    if value is None:
        return NONE
    if unit == "share":
        return f"{100 * value:.3g} %" if abs(value) < 10 else f"{plain_number(round(100 * value))} %"
    if unit in COUNTS or not unit:
        return plain_number(round(value)) if value == round(value) else f"{value:.3g}"
    if value == 0:
        return f"0 {unit}"
    return f"{_decimals(value, 3 if unit == 's' else 2)} {unit}"


def _decimals(value: float, most: int) -> str:
    """Return *value* with *most* decimals below one, fewer above; the same for both ends of an interval."""
    for limit in (1, 100, 1000):
        if abs(value) < limit:
            return f"{value:.{most}f}"
        most = max(0, most - 1)
    return plain_number(round(value))


def between(low: float | None, high: float | None, unit: str) -> str:
    """Return the interval of a value; open where nothing bounds it."""
    if low is None and high is None:
        return ""
    if low is None:
        return f"at most {amount(high, unit)}"
    if high is None:
        return f"at least {amount(low, unit)}"
    least, most = amount(low, unit), amount(high, unit)
    return "" if low == high else f"{least} to {most}" if least != most else f"about {least}"


def expected(wanted: Expectation, unit: str) -> str:
    """Return what was wanted of a property."""
    if wanted.expected:
        return wanted.expected
    if wanted.low is not None and wanted.low == wanted.high:
        return amount(wanted.low, unit)
    return between(wanted.low, wanted.high, unit) or "anything"


def measured(each: Property) -> str:
    """Return estimate and interval in one phrase."""
    span = between(each.low, each.high, each.unit)
    if each.estimate is None:
        return span or "not measured"
    return f"{amount(each.estimate, each.unit)} ({span})" if span else amount(each.estimate, each.unit)


def property_says(each: Property) -> str:
    """Return what the small picture of a property shows, for those who cannot see it."""
    said = [f"{title(each.name)}: {measured(each)}"]
    if each.limit is not None:
        said.append(f"at most {amount(each.limit, each.unit)} passes")
    if each.each:
        said.append(f"{len(each.each)} observations")
    return "; ".join(said) + f"; {each.status}"


def course(answer: Answer) -> str:
    """Return the states in order and the plain answer, for those who cannot see the raster."""
    shown = [each for stream in answer.judged[:8] for each in stream.with_states]
    said = " ".join(_sequence(each, several=len(answer.judged) > 1) for each in shown)
    return f"{said or 'No state was inferred.'} {answer.says}".strip()


def replica(stream: Stream, most: int) -> str:
    """Return what a replica is called in *most* letters, "" where it is none: of a long one the end."""
    name = stream.source
    return name if len(name) <= most else f"\N{HORIZONTAL ELLIPSIS}{name[1 - most :]}"


def _sequence(stream: Stream, *, several: bool) -> str:
    names = [state(each) for each in stream.sequence]
    more = f" and {len(names) - 60:,} more" if len(names) > 60 else ""
    where = f" on {stream.link}" if several and stream.link else ""
    where = f" of {brief(stream.source, 80)}" if stream.source else where
    return f"Inferred states{where}: {', '.join(names[:60]) or 'none'}{more}."


def path(stream: Stream) -> str:
    """Return which calls a stream is about."""
    if stream.source:
        return f"replica {stream.source}"
    if not stream.key:
        return f"link {stream.link}" if stream.link else "all calls"
    return f"{stream.key} (link {stream.link})" if stream.link else stream.key


def mapped(answer: Answer) -> str:
    """Return how well calls and arrivals could be told to belong together."""
    found = answer.mapping
    if not found:
        return ""
    said = (
        f"Mapped by {text(found.get('by'), 20) or 'unknown means'}: {count(found.get('calls')):,} calls, "
        f"{count(found.get('arrivals')):,} arrivals, {count(found.get('strangers')):,} of no known call"
    )
    doubtful = number(found.get("doubtful_share"))
    return said + (f"; {amount(doubtful, 'share')} of the matches are doubtful." if doubtful else ".")


def requests(n: int) -> str:
    """Return how many requests a call made."""
    return "1 request" if n == 1 else f"{n} requests"


def agreement(reader: Reader) -> str:
    """Return how far a source and what was seen from outside tell the same."""
    if reader.share is None or reader.compared_s is None:
        return "nothing could be compared"
    return (
        f"{amount(reader.share, 'share')} of {seconds(reader.compared_s)} compared; "
        f"{reader.matched} of {reader.transitions} transitions"
    )


def reasons(counted: Sequence[tuple[str, int]]) -> str:
    """Return what happened how often."""
    return ", ".join(f"{name} ({n:,} times)" for name, n in counted)
