"""The guard rails of every Kubernetes fault: which namespaces, and whose labels say no."""

from __future__ import annotations

from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from agent import settings as settings_of
from agent.clients.kubernetes import Forbidden, NotThere, own_namespace
from agent.model import NoTargets, Refused, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent.clients.kubernetes import Api

EXEMPT = "gameday/exempt"
"""Label on a pod, its owner or its namespace that keeps every fault away; its value is ``"true"``."""
ENABLED = "gameday/enabled"
"""The label that ``GAMEDAY_OPT_IN`` asks for, in the same three places."""
SYSTEM = "kube-"
CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
"""Labels of nodes that the cluster itself runs on."""


def forbidden(namespace: str, patterns: Sequence[str], own: str | None) -> str | None:
    """Return why *namespace* may not be touched, None when it may.

    A pattern with a wildcard never means the cluster's own namespaces (``kube-…``) nor *own*, the
    agent's: those have to be written out.
    """
    if not patterns:
        return (
            "GAMEDAY_NAMESPACES is not set, so no namespace may be touched; "
            f"set it to names or patterns, such as GAMEDAY_NAMESPACES={namespace}"
        )
    if namespace in patterns:
        return None
    if namespace.startswith(SYSTEM) or namespace == own:
        whose = "the agent's own" if namespace == own else "the cluster's own"
        return f"namespace {namespace} is {whose}, and GAMEDAY_NAMESPACES does not write it out"
    if any(fnmatchcase(namespace, pattern) for pattern in patterns):
        return None
    return f"namespace {namespace} is not in GAMEDAY_NAMESPACES ({', '.join(patterns)})"


def forbidden_node(node: str, labels: Mapping[str, str], patterns: Sequence[str]) -> str | None:
    """Return why *node* may not be touched, None when it may.

    A pattern with a wildcard never means a node of the control plane: that has to be written out.
    """
    if not patterns:
        return f"GAMEDAY_NODES is not set, so no node may be touched; set it, such as GAMEDAY_NODES={node}"
    if node in patterns:
        return None
    if any(role in labels for role in CONTROL_PLANE):
        return "of the control plane, and GAMEDAY_NODES does not write it out"
    if any(fnmatchcase(node, pattern) for pattern in patterns):
        return None
    return f"not in GAMEDAY_NODES ({', '.join(patterns)})"


def is_pattern(name: str) -> bool:
    """Whether *name* is a pattern rather than a namespace."""
    return any(each in name for each in "*?[")


def is_exempt(labels: Sequence[Mapping[str, str]]) -> bool:
    """Whether any of the *labels* of a target, its owners and its namespace says hands off."""
    return any(each.get(EXEMPT) == "true" for each in labels)


def is_enabled(labels: Sequence[Mapping[str, str]], *, opt_in: bool) -> bool:
    """Whether the opt-in mode is off, or any of the *labels* says welcome."""
    return not opt_in or any(each.get(ENABLED) == "true" for each in labels)


def check_selector(selector: str) -> None:
    """Refuse an empty label selector, which would mean everything.

    Raises:
        UsageError: There is nothing in it.
    """
    if not selector.strip(" ,"):
        raise UsageError('selector: say which pods, such as "app=gateway"; an empty one would mean all')


@contextmanager
def nothing_touched_yet() -> Iterator[None]:
    """Make a right that is missing in the block a refusal: it is about whom to hit, and nobody is hit yet.

    Raises:
        Refused: The API server said 403.
    """
    try:
        yield
    except Forbidden as error:
        raise Refused(f"a right is missing: {error}; nothing was touched") from error


def namespace_labels(api: Api, namespace: str) -> Mapping[str, str]:
    """Return the labels of *namespace* once the settings admit it.

    Raises:
        Refused: The settings do not admit it, or it is exempt.
        NoTargets: There is no such namespace.
    """
    if why := forbidden(namespace, settings_of.current().namespaces, own_namespace()):
        raise Refused(f"{why}; nothing was touched")
    try:
        found = api.get(f"/api/v1/namespaces/{namespace}")
    except NotThere:
        raise NoTargets(f"there is no namespace {namespace}; nothing was touched") from None
    labels: Mapping[str, str] = found["metadata"].get("labels") or {}
    if is_exempt([labels]):
        raise Refused(f"namespace {namespace} is labelled {EXEMPT}=true; nothing was touched")
    return labels
