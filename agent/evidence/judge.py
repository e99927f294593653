"""The verdict: a pure function of what happened and what was allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.evidence.spans import seconds, steady_after, unsteady_since
from agent.model import NoEvidence, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.model import Activity, Json, Look, Mark, RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What the experiment allows, in seconds."""

    unsteady_s_max: float
    recover_within_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How the run went beyond its record.

    ``before_met`` and ``after_met`` are Chaos Toolkit's own looks (None: never told); ``stopped``
    says why somebody ended the run early, other than the watch; ``refused`` is the door's sentence.
    """

    before_met: bool | None = None
    after_met: bool | None = None
    has_hypothesis: bool = True
    stopped: str | None = None
    refused: str | None = None
    engine_error: str | None = None


def judge(record: RunRecord, course: Course, allowed: Allowed) -> tuple[Verdict, str]:
    """Return the verdict and its one sentence, with the figures.

    The order of the questions is the meaning of the verdicts: a refusal outranks all; harm that was
    seen is never explained away by a later interruption of ours; and HELD is what is left when
    every reason against it has been asked.
    """
    for question in (_refused, _not_comparable, _deviated, _inconclusive):
        if answer := question(record, course, allowed):
            return answer
    return Verdict.HELD, _held(record)


def _refused(record: RunRecord, course: Course, _: Allowed) -> tuple[Verdict, str] | None:
    if course.refused and not any(injection.landed for injection in record.injections):
        return Verdict.REFUSED, course.refused
    return None


def _not_comparable(record: RunRecord, course: Course, _: Allowed) -> tuple[Verdict, str] | None:
    """Reasons that leave nothing to compare: no steady start, or no fault."""
    why = None
    if record.leashed:
        why = "On the leash: victims were named and nothing was touched."
    elif not any(injection.landed for injection in record.injections):
        why = _nothing_landed(record, course)
    elif course.before_met is False:
        why = "The steady state was not met before anything was touched."
    return (Verdict.INCONCLUSIVE, why) if why else None


def _nothing_landed(record: RunRecord, course: Course) -> str:
    if ended := _ended_before(record, course):
        return ended
    if course.before_met is False:
        unmet = next((a for a in record.activities if a.section == "before" and a.met is False), None)
        return "The steady state was not met before anything was touched" + _of(unmet) + "."
    if missed := next((i for i in record.injections if i.landed is False), None):
        return f"{missed.fault} did not land: {missed.missed or 'it could not be seen'}."
    if failed := _failed(record):
        return _how_it_failed(failed)
    if course.engine_error:
        return f"The experiment crashed before any fault landed: {_short(course.engine_error)}."
    return "No fault of this agent's was injected, so nothing could be checked to have landed."


def _ended_before(record: RunRecord, course: Course) -> str | None:
    if course.stopped:
        return f"{course.stopped} before any fault landed."
    if aborted := _abort(record):
        return f"Aborted by the watch before any fault landed: {aborted.says}{_last_error(record.looks)}."
    return None


def _deviated(record: RunRecord, course: Course, allowed: Allowed) -> tuple[Verdict, str] | None:
    begin, end = fault_window(record)
    unsteady = seconds(record.looks, steady=False, begin=begin, end=end)
    aborted = _abort(record)
    why = None
    if aborted and not _saw_nothing(record, aborted):
        why = f"Aborted by the watch: {aborted.says}{_first_unmet(record, begin, end)}."
    elif unsteady > allowed.unsteady_s_max:
        why = (
            f"Unsteady for {unsteady:.1f} s while the fault was in; "
            f"{allowed.unsteady_s_max:g} s were allowed{_first_unmet(record, begin, end)}."
        )
    elif course.after_met is False:
        why = f"The steady state was lost at Chaos Toolkit's second look{_second_look(record)}."
    elif not course.stopped and (late := _late(record, end, allowed)):
        why = late
    return (Verdict.DEVIATED, why) if why else None


def _saw_nothing(record: RunRecord, aborted: Mark) -> bool:
    """Whether the watch aborted only because it could not look: caution, and no harm that was seen."""
    before = [look for look in record.looks if look.at <= aborted.at]
    since = unsteady_since(before)
    return since is not None and all(look.steady is None for look in before if look.at >= since)


def _late(record: RunRecord, healed: float, allowed: Allowed) -> str | None:
    """Say that the state did not come back in time: seen at the limit or after it, not only before."""
    limit = healed + allowed.recover_within_s
    first = steady_after(record.looks, healed)
    if first and first.at <= limit:
        return None
    after = [look for look in record.looks if look.at >= healed]
    within = [look for look in after if look.at <= limit]
    if any(look.steady is False for look in (*within[-1:], *after[len(within) :])):
        return f"Still unsteady {allowed.recover_within_s:g} s after the fault was gone."
    return None


def _inconclusive(record: RunRecord, course: Course, allowed: Allowed) -> tuple[Verdict, str] | None:
    begin, end = fault_window(record)
    why = (
        _stopped(course)
        or _aborted_blind(record)
        or _dose_missed(record)
        or _activity_failed(record)
        or _not_gone(record)
        or _evidence(record, course, allowed, begin, end)
    )
    return (Verdict.INCONCLUSIVE, why) if why else None


def _stopped(course: Course) -> str | None:
    if course.stopped:
        return f"{course.stopped} while the fault was in."
    if course.engine_error:
        return f"The experiment crashed: {_short(course.engine_error)}."
    return course.refused


def _abort(record: RunRecord) -> Mark | None:
    return next((mark for mark in record.marks if mark.kind == "abort"), None)


def _aborted_blind(record: RunRecord) -> str | None:
    aborted = _abort(record)
    if aborted is None:
        return None
    return f"Aborted by the watch, which could not tell any more: {aborted.says}{_last_error(record.looks)}."


def _dose_missed(record: RunRecord) -> str | None:
    for injection in record.injections:
        if not injection.landed:
            return f"{injection.fault} did not land: {injection.missed or 'nobody checked'}."
        if injection.missed:
            return f"{injection.fault} missed its dose: {injection.missed}."
    return None


def _activity_failed(record: RunRecord) -> str | None:
    failed = _failed(record)
    return _how_it_failed(failed) if failed else None


def _how_it_failed(failed: Activity) -> str:
    """Say what an activity raised; one that had too little evidence has not failed."""
    why = _short(failed.error)
    _, had_too_little, said = why.partition(f"{NoEvidence.__name__}: ")
    if had_too_little:
        return f"{failed.kind} {failed.name} cannot tell: {said.rstrip('.')}."
    return f"{failed.kind} {failed.name} failed: {why}."


def _not_gone(record: RunRecord) -> str | None:
    left = [injection.fault for injection in record.injections if not injection.gone]
    return f"{', '.join(left)} is not known to be gone." if left else None


def _evidence(record: RunRecord, course: Course, allowed: Allowed, begin: float, end: float) -> str | None:
    if not course.has_hypothesis:
        return "There is no steady-state hypothesis, so nothing says whether it held."
    if course.before_met is None or course.after_met is None:
        return "One of Chaos Toolkit's own looks came to no answer."
    looks = [look for look in record.looks if begin <= look.at <= end]
    if not looks:
        return f"The watch had no look in the {end - begin:.1f} s while the fault was in."
    unknown = seconds(record.looks, steady=None, begin=begin, end=end)
    if unknown > allowed.unsteady_s_max:
        return f"For {unknown:.1f} of {end - begin:.1f} s the watch could not tell{_first_error(record)}."
    if steady_after(record.looks, end) is None:
        after = [look for look in record.looks if look.at >= end]
        return (
            f"No look was steady in the {allowed.recover_within_s:g} s after the fault was gone"
            f"{_last_error(after)}."
        )
    return None


def fault_window(record: RunRecord) -> tuple[float, float]:
    """Return from when to when any fault was in, seconds since the epoch."""
    landed = [i for i in record.injections if i.landed]
    begins = [i.applied_at or i.landed_at or i.intended_at for i in landed]
    last = record.ended_at if record.ended_at is not None else max(begins)
    return min(begins), max(i.healed_at or last for i in landed)


def _held(record: RunRecord) -> str:
    begin, end = fault_window(record)
    during = [look for look in record.looks if begin <= look.at <= end]
    unsteady = seconds(record.looks, steady=False, begin=begin, end=end)
    back = steady_after(record.looks, end)
    assert back is not None
    faults = " and ".join(dict.fromkeys(f"{i.fault} of {', '.join(i.victims)}" for i in record.injections))
    return (
        f"Steady before, {unsteady:.1f} s unsteady in the {end - begin:.1f} s of {faults} "
        f"(n = {len(during)} looks), and steady {max(0.0, back.ended_at - end):.1f} s after it was gone."
    )


def _failed(record: RunRecord) -> Activity | None:
    return next((a for a in record.activities if a.status == "failed"), None)


def _of(activity: Activity | None) -> str:
    if activity is None:
        return ""
    value = activity.output
    told = f"says: {value}" if isinstance(value, str) else f"was {_number(value)}"
    return f": {activity.name} {told}"


def _number(value: Json) -> Json:
    return f"{value:.4g}" if isinstance(value, float) else value


def _first_unmet(record: RunRecord, begin: float, end: float) -> str:
    for look in record.looks:
        for reading in look.readings:
            if begin <= look.at <= end and reading.met is False:
                value = _number(reading.value)
                return f" (first: {reading.probe} was {value} after {max(0.0, look.at - begin):.1f} s)"
    return ""


def _second_look(record: RunRecord) -> str:
    """Say what was not as it should be at the second look, and whether the fault was in."""
    looked = [each for each in record.activities if each.section == "after" and each.met is False]
    at = looked[0].started_at if looked else record.ended_at or 0.0
    still_in = any(each.healed_at is None or each.healed_at > at for each in record.injections)
    what = "".join(f": {each.name} was {_short(str(_number(each.output)))}" for each in looked[:1])
    return what + (", with the fault still in" if still_in else "")


def _first_error(record: RunRecord) -> str:
    return _why(r.error for look in record.looks for r in look.readings)


def _last_error(looks: Sequence[Look]) -> str:
    return _why(r.error for look in reversed(looks) for r in look.readings)


def _why(errors: Iterable[str | None]) -> str:
    first = next(filter(None, errors), None)
    return f": {_short(first).rstrip('.')}" if first else ""


def _short(text: str | None) -> str:
    line = (text or "no reason was given").strip().splitlines()[-1]
    return line if len(line) <= 300 else line[:300] + "…"
