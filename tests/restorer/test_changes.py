"""What a change does to an object, and how it is known again: pure, on objects as the server tells them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.restorer.changes import Scaled, Stands
from agent.restorer.node_changes import Cordoned, Tainted
from agent.restorer.orders import Order, change_from_json
from agent.restorer.watch import Silence

MARK, RUN = "gameday-0123456789ab", "20261124-120000-abcdef"
SCALED = Scaled(namespace="shop", deployment="gateway", uid="u1", mark=MARK, before=3, after=1)
CORDONED = Cordoned(node="w1", uid="u1", mark=MARK, run=RUN)
TAINTED = Tainted(node="w1", uid="u1", mark=MARK, run=RUN, effect="NoSchedule")
NAMES = st.text("abc", min_size=1, max_size=3)
TAINTS = st.lists(
    st.fixed_dictionaries({"key": NAMES, "effect": st.sampled_from(["NoSchedule", "NoExecute"])}), max_size=4
)


def _object(spec: dict[str, Any], *managers: tuple[str, str]) -> dict[str, Any]:
    """Return an object whose fields of ``spec`` were set by *managers*, pairs of field and name."""
    fields = [
        {"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {f"f:{field}": {}}}}
        for field, manager in managers
    ]
    return {"metadata": {"uid": "u1", "resourceVersion": "7", "managedFields": fields}, "spec": spec}


def _merged(target: Any, patch: Any) -> Any:
    """Return *target* with *patch* merged into it, as RFC 7386 says."""
    if not isinstance(patch, dict):
        return patch
    whole = copy.deepcopy(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            whole.pop(key, None)
        else:
            whole[key] = _merged(whole.get(key), value)
    return whole


def test_a_number_is_ours_only_while_our_mark_owns_it() -> None:
    """The same number set by somebody else is theirs, and what was put back is done with."""
    assert SCALED.stands(_object({"replicas": 1}, ("replicas", MARK))) is Stands.IN
    assert SCALED.stands(_object({"replicas": 1}, ("replicas", "kubectl"))) is Stands.TAKEN
    assert SCALED.stands(_object({"replicas": 5}, ("replicas", "kubectl"))) is Stands.TAKEN
    assert SCALED.stands(_object({"replicas": 3}, ("replicas", MARK + "-back"))) is Stands.BACK
    assert SCALED.stands(_object({"replicas": 1}, ("replicas", "gameday-another"))) is Stands.TAKEN
    assert "5 replicas, set by kubectl" in SCALED.now(_object({"replicas": 5}, ("replicas", "kubectl")))


def test_a_number_that_moved_before_the_change_is_not_overwritten() -> None:
    """It would be put back to a number that nobody wants any more."""
    assert SCALED.unfit(_object({"replicas": 3})) is None
    assert "4 replicas by now" in str(SCALED.unfit(_object({"replicas": 4})))


def test_a_number_that_is_another_faults_is_not_built_upon() -> None:
    """It would be put back to that fault's number, and that fault would leave it so."""
    assert "comes first" in str(SCALED.unfit(_object({"replicas": 3}, ("replicas", "gameday-another"))))
    assert SCALED.unfit(_object({"replicas": 3}, ("replicas", "gameday-another-back"))) is None
    assert SCALED.unfit(_object({"replicas": 3}, ("replicas", "kubectl"))) is None


def test_a_cordon_is_ours_only_while_our_mark_owns_it() -> None:
    """Uncordoned, or cordoned anew, by an operator: theirs, and only our label goes."""
    fresh = _object({})
    broken = _merged(fresh, CORDONED.put(fresh))
    mine = _merged(broken, _object({"unschedulable": True}, ("unschedulable", MARK)))
    theirs = _merged(broken, _object({"unschedulable": True}, ("unschedulable", "kubectl-cordon")))
    freed = _merged(broken, {"spec": {"unschedulable": None}})
    assert CORDONED.stands(mine) is Stands.IN
    for each in (theirs, freed):
        assert CORDONED.stands(each) is Stands.TAKEN
        rest = CORDONED.rest(each)
        assert rest is not None
        after = _merged(each, rest)
        assert (after["spec"], after["metadata"]["labels"]) == (each["spec"], {})
        assert CORDONED.stands(after) is Stands.BACK
    assert "cordoned by kubectl-cordon" in CORDONED.now(theirs)
    assert CORDONED.now(freed) == "not cordoned any more"


def test_a_node_under_another_run_is_left_to_it() -> None:
    """One fault at a node at a time; its label says whose."""
    broken = _merged(_object({}), CORDONED.put(_object({})))
    for change in (CORDONED, TAINTED):
        assert RUN in str(change.unfit(_merged(broken, {"spec": {"unschedulable": None}})))
        assert change.unfit(_object({})) is None


@given(others=TAINTS)
def test_a_taint_comes_and_goes_and_the_others_stay(others: list[dict[str, Any]]) -> None:
    """Whatever other taints there are, also ones of the same effect."""
    fresh = _object({"taints": others} if others else {})
    broken = _merged(fresh, TAINTED.put(fresh))
    assert TAINTED.stands(broken) is Stands.IN
    assert broken["spec"]["taints"][:-1] == others
    after = _merged(broken, TAINTED.back(broken))
    assert TAINTED.stands(after) is Stands.BACK
    assert after["spec"] == fresh["spec"]
    assert after["metadata"]["labels"] == after["metadata"]["annotations"] == {}


def test_a_taint_of_another_injection_is_not_ours() -> None:
    """The key is every injection's, the value only this one's."""
    other = _object(
        {"taints": [{"key": "gameday/tainted", "value": "gameday-another", "effect": "NoSchedule"}]}
    )
    assert TAINTED.stands(other) is Stands.BACK
    assert TAINTED.back(other)["spec"]["taints"] == other["spec"]["taints"]


@pytest.mark.parametrize("change", [SCALED, CORDONED, TAINTED])
def test_every_write_is_on_condition_of_the_very_object_as_it_was_read(change: Any) -> None:
    """Its uid and its version stand in what is sent."""
    found = _object({"replicas": 3})
    for body in (change.put(found), change.back(found)):
        assert {"uid": "u1", "resourceVersion": "7"}.items() <= body["metadata"].items()


def test_an_order_survives_being_written_down() -> None:
    """As JSON and back; what is no order of ours is refused."""
    order = Order(
        namespace="gameday", mark=MARK, lease_s=10.0, hard_end_s=70.0, changes=(SCALED, CORDONED, TAINTED)
    )
    assert Order.from_json(order.to_json()) == order
    for wrong in ({"kind": "deleted"}, {"kind": "scaled", "path": "/api/v1/secrets"}):
        with pytest.raises(ValueError, match=r"known|no kind"):
            change_from_json(wrong)
    with pytest.raises(ValueError, match="not an order"):
        Order.from_json({"changes": []})


@given(skew_s=st.floats(-86400, 86400), every_s=st.floats(0.5, 9.5), turns=st.integers(1, 30))
def test_a_lease_that_is_renewed_never_lapses_whatever_the_clocks_say(
    skew_s: float, every_s: float, turns: int
) -> None:
    """Its time is never compared with ours, only seen to change."""
    silence = Silence(lease_s=10.0, hard_end_s=1e6, began=0.0, heard=0.0)
    for turn in range(turns):
        now = turn * every_s
        silence.saw(str(now + skew_s), now)
        assert silence.due(now) is None
    last = (turns - 1) * every_s
    silence.saw(str(last + skew_s), last + 10.5)
    assert "nobody had renewed its lease for 10.5 s" in str(silence.due(last + 10.5))


def test_a_fault_has_a_hard_end_whatever_renews() -> None:
    """Renewed every second, and over all the same."""
    silence = Silence(lease_s=10.0, hard_end_s=60.0, began=0.0, heard=0.0)
    for second in range(61):
        silence.saw(str(second), float(second))
        assert silence.due(float(second)) is None
    silence.saw("61", 61.0)
    assert silence.due(61.0) == "it had lasted for 61.0 s"
