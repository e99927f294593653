"""Which pods and namespaces may be hit: arithmetic and guard rails, without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clients.pods import Owned, Pod, pod_of
from agent.clients.workloads import Workload, selector_text
from agent.faults.cluster.pod_choice import Floor, Target, check_minimum, never, too_few, why_not
from agent.faults.cluster.pod_kills import budget_of
from agent.faults.cluster.rights import table
from agent.model import UsageError
from agent.safety.kubernetes_guard import check_selector, forbidden

if TYPE_CHECKING:
    from collections.abc import Mapping

COUNTS = st.integers(0, 50)
SHARES = st.none() | st.floats(0, 1)
FLOORS = st.builds(Floor, count=COUNTS, fraction=SHARES)
LABELS = st.fixed_dictionaries(
    {}, optional={"gameday/exempt": st.sampled_from(["true", "false"]), "gameday/enabled": st.just("true")}
)


def _pod(labels: Mapping[str, str], **changes: Any) -> Pod:
    whole: dict[str, Any] = {
        "namespace": "shop",
        "name": "gateway-1",
        "uid": "u1",
        "version": "7",
        "phase": "Running",
        "ready": True,
        "terminating": False,
        "restarts": 0,
        "owner": Owned(api="apps/v1", kind="ReplicaSet", name="gateway", uid="r1"),
        "labels": labels,
    }
    return Pod(**{**whole, **changes})


def _owner(*chain: Mapping[str, str]) -> Workload:
    return Workload(
        kind="Deployment", namespace="shop", name="gateway", uid="d1", selector="a=b", wanted=3, chain=chain
    )


@given(ready=COUNTS, wanted=COUNTS, floor=FLOORS)
def test_a_kill_that_is_let_through_leaves_the_minimum(ready: int, wanted: int, floor: Floor) -> None:
    """Absolute and share both hold after the kill of a ready pod."""
    if too_few("it", ready=ready, wanted=wanted, loses_ready=True, floor=floor) is None:
        assert ready - 1 >= floor.count
        assert floor.fraction is None or ready - 1 >= floor.fraction * wanted - 1e-6


@given(wanted=COUNTS, floor=FLOORS)
def test_never_means_that_even_with_all_ready_none_can_be_spared(wanted: int, floor: Floor) -> None:
    """What is refused at once is exactly what waiting could not change."""
    refused_with_all_ready = too_few("it", ready=wanted, wanted=wanted, loses_ready=True, floor=floor)
    assert (never("it", wanted, floor) is None) == (refused_with_all_ready is None)


@given(wanted=COUNTS, share=st.floats(0, 1))
def test_a_share_is_rounded_up(wanted: int, share: float) -> None:
    """Half of three replicas are two."""
    floor = Floor(count=0, fraction=share).of(wanted)
    assert share * wanted - 1e-6 <= floor < share * wanted + 1
    assert Floor(count=0, fraction=0.5).of(3) == 2


@given(pod=LABELS, deployment=LABELS, namespace=LABELS, opt_in=st.booleans())
def test_the_label_exempt_wins_wherever_it_stands(
    pod: Mapping[str, str], deployment: Mapping[str, str], namespace: Mapping[str, str], *, opt_in: bool
) -> None:
    """On the pod, on its owner or on the namespace; and opt-in asks for the other one in the same places."""
    target = Target(pod=_pod(pod), owner=_owner({}, deployment))
    why = why_not(target, namespace, unready=False, allow_bare=False, opt_in=opt_in)
    places = (pod, deployment, namespace)
    exempt = any(each.get("gameday/exempt") == "true" for each in places)
    welcome = not opt_in or any("gameday/enabled" in each for each in places)
    assert (why is None) == (not exempt and welcome)


@pytest.mark.parametrize(
    ("pod", "owner", "allowed", "says"),
    [
        (_pod({}, ready=False), _owner(), {"unready": True}, "not ready"),
        (_pod({}, owner=None), None, {"allow_bare": True}, "nothing known replaces"),
        (_pod({}, terminating=True), _owner(), None, "ending"),
        (_pod({}, phase="Succeeded"), _owner(), None, "ended"),
    ],
)
def test_what_is_not_asked_for_is_not_hit(
    pod: Pod, owner: Workload | None, allowed: dict[str, bool] | None, says: str
) -> None:
    """Unready and bare pods only when the experiment says so; ending and ended ones never."""
    strict = {"unready": False, "allow_bare": False, "opt_in": False}
    why = why_not(Target(pod=pod, owner=owner), {}, **strict)
    assert why is not None
    assert says in why
    generous = {**strict, "unready": True, "allow_bare": True}
    assert (why_not(Target(pod=pod, owner=owner), {}, **generous) is None) == (allowed is not None)


@pytest.mark.parametrize(
    ("namespace", "patterns", "may"),
    [
        ("shop", ("shop",), True),
        ("shop-eu", ("shop-*",), True),
        ("shop", (), False),
        ("bank", ("shop-*",), False),
        ("kube-system", ("*",), False),
        ("kube-system", ("kube-*",), False),
        ("kube-system", ("kube-system",), True),
        ("gameday", ("*",), False),
        ("gameday", ("*", "gameday"), True),
    ],
)
def test_only_named_namespaces_and_the_clusters_own_only_when_written_out(
    namespace: str, patterns: tuple[str, ...], may: bool
) -> None:
    """A wildcard never reaches kube-system or the namespace of the agent itself."""
    assert (forbidden(namespace, patterns, "gameday") is None) == may


def test_without_the_setting_the_refusal_says_what_to_set() -> None:
    """The sentence can be copied."""
    assert "GAMEDAY_NAMESPACES=shop" in str(forbidden("shop", (), None))


@pytest.mark.parametrize("selector", ["", "  ", ","])
def test_an_empty_selector_never_means_everything(selector: str) -> None:
    """It is a mistake of the user."""
    with pytest.raises(UsageError, match="would mean all"):
        check_selector(selector)


@pytest.mark.parametrize(("count", "share"), [(-1, None), (0, 1.5), (0, -0.1)])
def test_a_minimum_out_of_range_is_a_usage_error(count: int, share: float | None) -> None:
    """Before anything is read."""
    with pytest.raises(UsageError):
        check_minimum(count, share)


def test_a_selector_object_becomes_the_query_of_the_api() -> None:
    """All four operators and plain labels."""
    selector = {
        "matchLabels": {"app": "gateway"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "track", "operator": "NotIn", "values": ["canary"]},
            {"key": "x", "operator": "Exists"},
            {"key": "y", "operator": "DoesNotExist"},
        ],
    }
    assert selector_text(selector) == "app=gateway,tier in (a,b),track notin (canary),x,!y"
    assert selector_text({"app": "gateway"}) == "app=gateway"


def test_only_a_budget_is_told_as_a_budget() -> None:
    """Overload answers 429 as well, and names none."""
    cause = {
        "reason": "DisruptionBudget",
        "message": "The disruption budget g needs 2 healthy pods and has 2",
    }
    assert "budget g needs 2" in str(budget_of({"details": {"causes": [cause]}}))
    assert budget_of({"message": "too many requests", "details": {"retryAfterSeconds": 1}}) is None
    assert budget_of({}) is None


def test_a_pod_that_was_only_just_accepted_can_be_read() -> None:
    """Without conditions, statuses, labels or owners it is simply not ready and bare."""
    meta = {"namespace": "shop", "name": "p", "uid": "u", "resourceVersion": "1"}
    pod = pod_of({"metadata": meta, "status": {"phase": "Pending"}})
    assert (pod.ready, pod.terminating, pod.owner, pod.restarts) == (False, False, None, 0)


def test_the_table_of_rights_in_the_documentation_is_that_of_the_code() -> None:
    """The page shows what the doctor asks for."""
    page = (Path(__file__).parents[2] / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    shown = page.partition("<!-- rights -->\n")[2].partition("\n<!-- /rights -->")[0]
    assert shown == table()
