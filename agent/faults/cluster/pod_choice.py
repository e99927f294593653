"""Which pods may be hit, and how many ready ones an owner has to keep."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent import settings as settings_of
from agent.clients import workloads
from agent.clients.pods import ALIVE, Pod, pods
from agent.model import NoTargets, Refused, UsageError
from agent.safety.kubernetes_guard import (
    ENABLED,
    EXEMPT,
    check_selector,
    is_enabled,
    is_exempt,
    namespace_labels,
    nothing_touched_yet,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.clients.kubernetes import Api
    from agent.clients.workloads import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A pod that may be hit, and what replaces it: None for a bare one."""

    pod: Pod
    owner: Workload | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The targets by full name, and how many pods match that have not ended and are not ending."""

    targets: Mapping[str, Target]
    population: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The fewest ready pods that a kill may leave an owner with."""

    count: int
    fraction: float | None

    def of(self, wanted: int) -> int:
        """Return the floor of an owner that wants *wanted* replicas; the higher of the two counts."""
        share = 0 if self.fraction is None else math.ceil(self.fraction * wanted - 1e-9)
        return max(self.count, share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spared:
    """An owner that is about to lose pods, and how many ready ones it has now."""

    owner: Workload
    ready: int


def check_minimum(min_ready: int, min_ready_fraction: float | None) -> Floor:
    """Return the floor that the two arguments of a fault ask for.

    Raises:
        UsageError: One is out of range.
    """
    if min_ready < 0:
        raise UsageError(f"min_ready: {min_ready} is below 0")
    if min_ready_fraction is not None and not 0 <= min_ready_fraction <= 1:
        raise UsageError(f"min_ready_fraction: {min_ready_fraction:g} is not between 0 and 1")
    return Floor(count=min_ready, fraction=min_ready_fraction)


@nothing_touched_yet()
def candidates(
    api: Api, namespace: str, selector: str, *, unready: bool = False, allow_bare: bool = False
) -> Candidates:
    """Return the pods of *namespace* that match *selector* and may be hit.

    Raises:
        UsageError: The selector is empty.
        Refused: The namespace may not be touched, or a right to look is missing.
        NoTargets: Nothing matches, or nothing of it may be hit; says why.
    """
    check_selector(selector)
    labels = namespace_labels(api, namespace)
    matching = [
        each for each in pods(api, namespace, selector=selector, fields=ALIVE) if not each.terminating
    ]
    owners = _owners(api, namespace, matching)
    opt_in = settings_of.current().opt_in
    targets: dict[str, Target] = {}
    reasons: dict[str, int] = {}
    for pod in matching:
        owner = owners.get(pod.owner.uid) if pod.owner else None
        target = Target(pod=pod, owner=owner)
        why = why_not(target, labels, unready=unready, allow_bare=allow_bare, opt_in=opt_in)
        if why is None:
            targets[pod.full_name] = target
        else:
            reasons[why] = reasons.get(why, 0) + 1
    if not targets:
        said = "; ".join(f"{count} {why}" for why, count in reasons.items()) or "no pod matches"
        raise NoTargets(f"{selector} in namespace {namespace}: {said}; nothing was touched")
    return Candidates(targets=targets, population=len(matching))


def why_not(
    target: Target, namespace: Mapping[str, str], *, unready: bool, allow_bare: bool, opt_in: bool
) -> str | None:
    """Return why *target* may not be hit, None when it may; *namespace* are the labels of its namespace."""
    pod, owner = target.pod, target.owner
    labels = [pod.labels, *(owner.chain if owner else ()), namespace]
    if is_exempt(labels):
        return f"labelled {EXEMPT}=true, or owned by what is"
    if not is_enabled(labels, opt_in=opt_in):
        return f"without the label {ENABLED}=true that GAMEDAY_OPT_IN asks for"
    if pod.terminating or pod.phase in ("Succeeded", "Failed"):
        return "ending or ended"
    if not unready and not pod.ready:
        return "not ready (unready: true allows that)"
    if owner is None and not allow_bare:
        return "that nothing known replaces (allow_bare: true allows that)"
    return None


@nothing_touched_yet()
def spared(api: Api, victims: Sequence[Target], floor: Floor) -> list[Spared]:
    """Return the owners of *victims* with their ready pods; refuse what can never be.

    Raises:
        Refused: An owner wants no more pods than it has to keep, or a right to look is missing.
    """
    owners = {victim.owner.uid: victim.owner for victim in victims if victim.owner}
    for owner in owners.values():
        if why := never(owner.full_name, owner.wanted, floor):
            raise Refused(f"{why}; nothing was killed")
    return [Spared(owner=owner, ready=len(workloads.ready_pods(api, owner))) for owner in owners.values()]


def never(name: str, wanted: int, floor: Floor) -> str | None:
    """Return why an owner can never spare a pod, None when it can once all are ready."""
    if wanted - 1 >= floor.of(wanted):
        return None
    return f"{name} wants {wanted} and has to keep {floor.of(wanted)} ready, so it can spare none (min_ready)"


def too_few(name: str, *, ready: int, wanted: int, loses_ready: bool, floor: Floor) -> str | None:
    """Return why an owner cannot spare a pod now, None when it can.

    *loses_ready* says whether the pod in question is one of the *ready* ones.
    """
    left = ready - loses_ready
    if left >= floor.of(wanted):
        return None
    return f"{name} would have {left} ready of {wanted}, and has to keep {floor.of(wanted)} (min_ready)"


def _owners(api: Api, namespace: str, matching: Sequence[Pod]) -> dict[str, Workload]:
    """Return the topmost owner of each direct owner's uid; each is read once."""
    direct = {pod.owner.uid: pod.owner for pod in matching if pod.owner}
    found = {uid: workloads.top(api, namespace, owner) for uid, owner in direct.items()}
    return {uid: owner for uid, owner in found.items() if owner is not None}
