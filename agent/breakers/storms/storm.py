"""What a short trigger leaves behind: is it over with the trigger, does a queue drain, or does it stay?

Source: Bronson et al., Metastable Failures in Distributed Systems, HotOS 2021: a *trigger* puts the system
into a bad state, and a *sustaining effect* keeps it there although the trigger is gone, until the load is
lowered.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.breakers.storms.goodput import Load, Measured, amplification, goodput, windows

if TYPE_CHECKING:
    from collections.abc import Sequence


LOWERED_MIN_RPS = 8.0


class Outcome(StrEnum):
    """What became of the goodput at the same load once the trigger was gone."""

    RECOVERED = "recovered"
    SLOW_DRAIN = "slow-drain"
    METASTABLE = "metastable"
    OVERLOADED = "overloaded"
    DOWN = "down"
    TRIPPED = "tripped-by-itself"
    INCONCLUSIVE = "inconclusive"


SURVIVES = (Outcome.RECOVERED, Outcome.SLOW_DRAIN)
FAILS = (Outcome.METASTABLE, Outcome.OVERLOADED, Outcome.DOWN, Outcome.TRIPPED)


class Name(StrEnum):
    """The phases of a storm, in order; the last two only where the goodput does not come back."""

    BASELINE = "baseline"
    TRIGGER = "trigger"
    WATCH = "watch"
    LOWERED = "lowered"
    RESTORED = "restored"


PURPOSES = {
    Name.BASELINE: "learns the goodput and the requests per call while nothing is wrong",
    Name.TRIGGER: "the short trouble, at a load that is held",
    Name.WATCH: "the trouble is gone and the load is the same: whether the goodput comes back by itself",
    Name.LOWERED: "the load is low: whether the goodput comes back then",
    Name.RESTORED: "the load is what it was: whether that alone brings it down again",
}
"""What each phase is for, in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One phase: monotonic s, and the rate that was offered."""

    name: Name
    began: float
    ended: float
    rate_rps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What counts as good, and for how long.  Times are seconds.

    ``good_share`` of the calls have to come out well, for ``settle_s`` on end; a recovery within
    ``prompt_s`` is none to speak of.  Requests per call that are ``sustaining`` times those of the
    baseline, or fewer by as much, keep an outage going.
    """

    good_share: float = 0.9
    settle_s: float = 3.0
    prompt_s: float = 5.0
    sustaining: float = 1.2
    kept_back: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long the phases last, in seconds; watch and lowered end as soon as the goodput is back."""

    baseline_s: float = 10.0
    trigger_s: float = 3.0
    watch_s: float = 20.0
    lowered_max_s: float = 40.0
    restored_s: float = 6.0

    @property
    def longest_s(self) -> float:
        """The longest that one load takes."""
        return self.baseline_s + self.trigger_s + self.watch_s + self.lowered_max_s + self.restored_s

    def usual_s(self, rules: Rules) -> float:
        """What a load takes at which the goodput comes back promptly."""
        return self.baseline_s + self.trigger_s + rules.prompt_s / 2 + rules.settle_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Back:
    """When the goodput was back, seconds after the beginning: not before *low*, and by *high*."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What became of one trigger at one load, in a word and in a sentence."""

    outcome: Outcome
    says: str
    back: Back | None = None


def back(load: Load, since: float, until: float, rules: Rules) -> Back | None:
    """Return when the goodput was back for good after *since*; None while it is not surely so."""
    seen = windows(load, since, until)
    bad = [window for window in seen if window.share.high < rules.good_share]
    well_since = bad[-1].until if bad else since
    if until - well_since < rules.settle_s or goodput(load, well_since, until).low < rules.good_share:
        return None
    return Back(low=bad[-1].since - since, high=bad[-1].until - since) if bad else Back(low=0.0, high=0.0)


def is_bad(load: Load, since: float, until: float, rules: Rules) -> bool:
    """Whether some whole window between the two moments was surely not good."""
    return any(window.share.high < rules.good_share for window in windows(load, since, until))


def lowered_rps(rate_rps: float) -> float:
    """Return the load that is low enough to see a recovery under, and high enough to see it soon."""
    return min(rate_rps / 2, max(rate_rps / 10, LOWERED_MIN_RPS))


def judge(load: Load, phases: Sequence[Phase], rules: Rules) -> Judged:
    """Tell what the phases show; each step asks only what the ones before left open."""
    found = {phase.name: phase for phase in phases}
    baseline, watch = found[Name.BASELINE], found.get(Name.WATCH)
    if trouble := _baseline(load, baseline, rules):
        return trouble
    if watch is None:
        return _unclear("There was no trigger")
    trigger = found[Name.TRIGGER]
    if not is_bad(load, trigger.began, watch.ended, rules):
        share = goodput(load, trigger.began, trigger.ended)
        return _unclear(
            f"The trigger did no harm: {_percent(share)} of the calls came out well under it, so there was "
            "nothing to come back from; make it longer or stronger"
        )
    if came := back(load, watch.began, watch.ended, rules):
        return _came_back(load, baseline, watch, came, rules)
    return _stayed(load, found, rules)


def _baseline(load: Load, phase: Phase, rules: Rules) -> Judged | None:
    """Say what is wrong before anything was done, None if nothing is."""
    bad = [each for each in windows(load, phase.began, phase.ended) if each.share.high < rules.good_share]
    if bad:
        took = amplification(load, bad[0].since, bad[-1].until).estimate
        how = (
            "calls were kept back meanwhile, as by a breaker that opens"
            if took < rules.kept_back
            else f"{took:.1f} requests per call reached the dependency meanwhile"
        )
        return Judged(
            outcome=Outcome.TRIPPED,
            says=f"It trips by itself at {phase.rate_rps:g} rps, with nothing wrong: "
            f"{bad[0].since - phase.began:.0f} s into the baseline only {_percent(bad[0].share)} of the "
            f"calls came out well, and {how}",
        )
    share = goodput(load, phase.began, phase.ended)
    if share.low < rules.good_share:
        return _unclear(f"The baseline is not known to be good: {_percent(share)} of the calls came out well")
    return None


def _came_back(load: Load, baseline: Phase, watch: Phase, came: Back, rules: Rules) -> Judged:
    when = f"{came.low:.1f} to {came.high:.1f} s" if came.high else "at once"
    took = _during(load, baseline, watch.began, watch.began + max(1.0, came.high))
    if came.high <= rules.prompt_s:
        says = f"The goodput is back {when} after the trigger is gone, at the same load; {took}"
        return Judged(outcome=Outcome.RECOVERED, says=says, back=came)
    kept = amplification(load, watch.began, watch.began + came.high).high < rules.kept_back
    why = "calls are kept back for so long" if kept else "what had queued up drains"
    says = f"The goodput is back by itself, but only {when} after the trigger is gone: {why}; {took}"
    return Judged(outcome=Outcome.SLOW_DRAIN, says=says, back=came)


def _stayed(load: Load, found: dict[Name, Phase], rules: Rules) -> Judged:
    """Tell what is known of a goodput that did not come back by itself."""
    watch = found[Name.WATCH]
    lasted = watch.ended - watch.began
    share = goodput(load, _tail(watch), watch.ended)
    if share.high >= rules.good_share:
        return _unclear(
            f"After {lasted:.0f} s the goodput is neither back nor surely lost: {_percent(share)}"
        )
    stays = f"{lasted:.0f} s after the trigger is gone the goodput is still {_percent(share)}"
    if Name.LOWERED not in found:
        return _unclear(f"{stays}; the load was not lowered to see why")
    return _with_less(load, found, stays, rules)


def _with_less(load: Load, found: dict[Name, Phase], stays: str, rules: Rules) -> Judged:
    """Tell what keeps it down, from what happened when the load was lowered and restored."""
    lowered, restored = found[Name.LOWERED], found.get(Name.RESTORED)
    low = f"{lowered.rate_rps:g} rps for {lowered.ended - lowered.began:.0f} s"
    if restored is None:  # it is restored as soon as it was seen to be back, by the calls until then
        return Judged(outcome=Outcome.DOWN, says=f"{stays}, and {low} did not bring it back either")
    if is_bad(load, restored.began, restored.ended, rules):
        says = (
            f"{stays}; {low} bring it back, and {restored.rate_rps:g} rps bring it down again by themselves"
        )
        return Judged(outcome=Outcome.OVERLOADED, says=says)
    if (again := goodput(load, restored.began, restored.ended)).low < rules.good_share:
        return _unclear(f"{stays}; with the load restored it is {_percent(again)}, too few calls to tell")
    well = f"{low} bring it back, and it stays well when {restored.rate_rps:g} rps are restored"
    effect = sustaining(load, found[Name.BASELINE], found[Name.WATCH], rules)
    if effect is None:
        return _unclear(f"{stays}; {well}. Nothing seen keeps it down, so a queue may drain: watch longer")
    return Judged(outcome=Outcome.METASTABLE, says=f"{stays}; {well}. {effect}")


def sustaining(load: Load, baseline: Phase, watch: Phase, rules: Rules) -> str | None:
    """Say what keeps the outage going, as far as requests at the dependency show it; None if they do not."""
    before = amplification(load, baseline.began, baseline.ended)
    after = amplification(load, _tail(watch), watch.ended)
    told = f"{_ratio(after)} requests per call reach the dependency, {_ratio(before)} before the trigger"
    if after.low > rules.sustaining * before.estimate:
        return f"Retries sustain it: {told}"
    if after.high < rules.kept_back * before.estimate:
        return f"A breaker that stays open while calls come sustains it: {told}"
    return None


def _tail(watch: Phase) -> float:
    """Return from when on the end of the watch counts: its last third, 5 s at least."""
    return max(watch.began, watch.ended - max(5.0, (watch.ended - watch.began) / 3))


def _during(load: Load, baseline: Phase, since: float, until: float) -> str:
    before, after = amplification(load, baseline.began, baseline.ended), amplification(load, since, until)
    return f"{after.estimate:.1f} requests per call until then, {before.estimate:.1f} before the trigger"


def _unclear(says: str) -> Judged:
    return Judged(outcome=Outcome.INCONCLUSIVE, says=says)


def _percent(share: Measured) -> str:
    if not share.n:
        return "unknown (no calls)"
    return f"{100 * share.estimate:.0f} % ({100 * share.low:.0f} to {100 * share.high:.0f}, n = {share.n})"


def _ratio(ratio: Measured) -> str:
    return f"{ratio.estimate:.1f} ({ratio.low:.1f} to {ratio.high:.1f})"
