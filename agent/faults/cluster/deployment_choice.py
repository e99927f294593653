"""Which Deployments may be hit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent import settings as settings_of
from agent.model import NoTargets
from agent.safety.kubernetes_guard import (
    ENABLED,
    EXEMPT,
    check_selector,
    is_enabled,
    is_exempt,
    namespace_labels,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.clients.kubernetes import Api, Object
    from agent.safety.targets import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One Deployment as one answer of the API server showed it; *wanted* is its number of replicas."""

    namespace: str
    name: str
    uid: str
    wanted: int
    found: Object

    @property
    def full_name(self) -> str:
        """What an operator calls it."""
        return f"Deployment {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The victims, and how many Deployments match."""

    victims: tuple[Deployment, ...]
    population: int

    @property
    def names(self) -> list[str]:
        """What an operator calls the victims."""
        return [each.full_name for each in self.victims]


def choose_deployments(api: Api, namespace: str, selector: str, choice: Choice) -> Chosen:
    """Return the victims among the Deployments of *namespace* that match *selector* and may be hit.

    Raises:
        UsageError: The selector is empty.
        Refused: The namespace may not be touched.
        NoTargets: Too few match, or nothing of it may be hit; says why.
    """
    check_selector(selector)
    labels = namespace_labels(api, namespace)
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    matching = list(api.items(path, selector=selector))
    opt_in = settings_of.current().opt_in
    reasons = {each["metadata"]["name"]: why_not(each, labels, opt_in=opt_in) for each in matching}
    may = {each["metadata"]["name"]: each for each in matching if reasons[each["metadata"]["name"]] is None}
    if not may:
        said = "; ".join(f"{name} is {why}" for name, why in reasons.items()) or "no Deployment matches"
        raise NoTargets(f"{selector} in namespace {namespace}: {said}; nothing was touched")
    names = choice.of(list(may))
    return Chosen(victims=tuple(_deployment(may[name]) for name in names), population=len(matching))


def why_not(found: Object, namespace: Mapping[str, str], *, opt_in: bool) -> str | None:
    """Return why a Deployment may not be hit, None when it may; *namespace* are its namespace's labels."""
    meta = found["metadata"]
    pods = found["spec"]["template"].get("metadata") or {}
    labels = [meta.get("labels") or {}, pods.get("labels") or {}, namespace]
    if is_exempt(labels):
        return f"labelled {EXEMPT}=true, or its pods are"
    if not is_enabled(labels, opt_in=opt_in):
        return f"without the label {ENABLED}=true that GAMEDAY_OPT_IN asks for"
    return "being deleted" if "deletionTimestamp" in meta else None


def _deployment(found: Object) -> Deployment:
    meta = found["metadata"]
    return Deployment(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        wanted=found["spec"].get("replicas", 1),
        found=found,
    )
