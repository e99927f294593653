"""What faults inside a pod decide without touching one: amounts, limits, volumes, doses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clients.quantities import amount
from agent.faults.cluster.container_kills import not_alone
from agent.faults.inside.dose import TOLD_TO, dose, merged
from agent.faults.inside.resources import Share, limit_of, not_its_own
from agent.injector.fills import mounted_root
from agent.model import UsageError


@pytest.mark.parametrize(
    ("text", "number"),
    [("200m", 0.2), ("1", 1), ("1.5", 1.5), ("64Mi", 64 << 20), ("1e3", 1000), ("2G", 2e9)],
)
def test_quantities_are_read_as_kubernetes_writes_them(text: str, number: float) -> None:
    """Decimal and binary suffixes, and exponents."""
    assert amount(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "Mi", "1Xi", "1 Gi", "ten", "1mi"])
def test_what_is_no_quantity_is_an_error(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="no quantity"):
        amount(text)


def _limited(*limits: dict[str, str]) -> dict[str, Any]:
    return {"containers": [{"resources": {"limits": each}} for each in limits]}


def test_a_pod_has_a_limit_only_where_all_of_its_containers_have_one() -> None:
    """As the kubelet does it: the sum, or none at all."""
    assert limit_of(_limited({"cpu": "200m"}, {"cpu": "1"}), "cpu") == pytest.approx(1.2)
    assert limit_of(_limited({"cpu": "200m"}, {}), "cpu") is None
    assert limit_of({"containers": [{}]}, "memory") is None


@pytest.mark.parametrize(
    "given_",
    [
        {},
        {"cpu_fraction": 0.5, "cores": 1.0},
        {"memory_fraction": 1.5},
        {"cores": 0.0},
        {"memory_bytes": -1},
    ],
)
def test_a_share_that_makes_no_sense_is_refused(given_: dict[str, Any]) -> None:
    """Nothing, twice the same, more than all, or less than something."""
    fields = dict.fromkeys(("cpu_fraction", "cores", "memory_fraction", "memory_bytes"))
    with pytest.raises(UsageError):
        Share(**{**fields, **given_}).check()


def test_only_volumes_with_a_file_system_of_their_own_may_be_filled() -> None:
    """The node's disk is everybody's."""
    assert not_its_own({"emptyDir": {"medium": "Memory"}}) is None
    assert not_its_own({"persistentVolumeClaim": {"claimName": "data"}}) is None
    assert "node's disk" in str(not_its_own({"emptyDir": {}}))
    assert not_its_own({"configMap": {"name": "x"}}) is not None


def test_the_root_of_a_mount_tells_a_folder_from_a_file_system() -> None:
    """The last mount at a place is the one that is seen."""
    lines = "36 35 98:0 /var/lib/x /v rw - ext4 /dev/root rw\n37 35 0:50 / /v rw - tmpfs tmpfs rw\n"
    assert mounted_root(lines, "/v") == "/"
    assert mounted_root(lines.splitlines()[0], "/v") == "/var/lib/x"
    assert mounted_root(lines, "/nowhere") is None


def test_processes_that_are_not_the_containers_alone_are_never_hit() -> None:
    """Process 1 of a pod with hostPID is the node's own."""
    assert not_alone({"hostPID": True}) is not None
    assert not_alone({"shareProcessNamespace": True}) is not None
    assert not_alone({}) is None


@given(counts=st.dictionaries(st.text(min_size=1, max_size=5), st.integers(0, 1000), min_size=1, max_size=4))
def test_counts_of_several_pods_add_up(counts: dict[str, int]) -> None:
    """And what is the same everywhere is told once."""
    said = {pod: {"measured": {"held": count, "by": "proxy"}} for pod, count in counts.items()}
    assert merged(said) == {"held": sum(counts.values()), "by": "proxy"}


def test_a_dose_is_missed_where_all_pods_missed_it_or_one_ended_early() -> None:
    """One of two pods without traffic is no miss; a lease that lapsed is; a victim that went away is told."""
    fine = {"why": TOLD_TO, "says": "", "measured": {"held": 1}}
    idle = {"why": TOLD_TO, "says": "met no traffic", "measured": {"held": 0}}
    early = {"why": "no beat came", "says": "", "measured": {"held": 1}}
    assert dose({"a": fine, "b": idle}, {}).holds
    assert dose({"a": idle}, {}).says == "met no traffic"
    assert "a: no beat came" in dose({"a": early, "b": fine}, {}).says
    assert dose({"a": early, "b": fine}, {"gone": ["shop/a"]}).holds
    assert "went away" in dose({"a": early}, {"gone": ["shop/a"]}).says
    assert dose({"a": early}, {"gone": ["shop/a"], "followed": ["shop/c"]}).holds
