"""What goes out to a Job and what comes back from one, without a cluster."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.catalog.experiment import Allowance, Experiment, Fault
from agent.clients.jobs import Work, is_over, job
from agent.jobs import parcel
from agent.jobs.order import BYTES_MAX, KEY, Order, environ_for, parse
from agent.model import Call, Injection, Refused
from agent.safety.copies import ENTRY, copies
from agent.safety.gates import fits_a_job

if TYPE_CHECKING:
    from collections.abc import Mapping

OUTSIDE = {"kubeconfig": "/home/me/config", "context": "prod", "server": "https://prod:6443"}
INSIDE = {"kubeconfig": None, "context": None, "server": "https://10.96.0.1:443"}


def experiment(definition: Mapping[str, Any]) -> Experiment:
    """Return an experiment with *definition* and nothing else of note."""
    return Experiment(path=Path("x.yaml"), title="x", definition=definition, allowance=Allowance(timeout_s=1))


def order(**changes: Any) -> Order:
    """Return an order of one run."""
    values = {"run": "r", "path": "x.yaml", "definition": {}, "leashed": False, "because": "", "environ": {}}
    return Order(**{**values, **changes})


def test_of_the_environment_only_what_is_named_or_means_the_same_there_goes_out() -> None:
    """Neither this process's own secrets nor its folders."""
    asked = experiment(
        {
            "configuration": {"url": {"type": "env", "key": "SHOP_URL", "default": "x"}, "n": 3},
            "secrets": {"shop": {"token": {"type": "env", "key": "SHOP_TOKEN"}}},
        }
    )
    environ = {"SHOP_URL": "http://shop", "SHOP_TOKEN": "s3cret", "AWS_SECRET_ACCESS_KEY": "no", "HOME": "/r"}
    environ |= {
        "GAMEDAY_NAMESPACES": "shop",
        "GAMEDAY_HOME": "/var",
        "GAMEDAY_STORE": "postgresql://u:p@db/x",
    }
    assert environ_for(asked, environ) == {
        "GAMEDAY_NAMESPACES": "shop",
        "SHOP_TOKEN": "s3cret",
        "SHOP_URL": "http://shop",
    }


def test_an_order_comes_out_of_its_secret_as_it_went_in() -> None:
    """Everything, and owned by the Job."""
    owner = {"kind": "Job", "name": "j", "uid": "u"}
    made = order(definition={"title": "ä"}, environ={"A": "b"})
    secret = made.secret("j", owner)
    assert secret["metadata"]["ownerReferences"] == [owner]
    assert parse(base64.b64decode(secret["data"][KEY]).decode()) == made


def test_an_experiment_that_no_secret_holds_is_refused() -> None:
    """With both sizes."""
    with pytest.raises(Refused, match=str(BYTES_MAX)):
        order(definition={"title": "x" * BYTES_MAX}).secret("j", {})


class Shelf:
    """Objects by path, as an API server keeps them; of the API it has what a parcel needs."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def post(self, path: str, body: Any) -> Any:
        """Keep *body*."""
        self.kept[f"{path}/{body['metadata']['name']}"] = body
        return body

    def get(self, path: str) -> Any:
        """Return what is kept at *path*."""
        return self.kept[path]


def test_a_parcel_comes_back_whole_however_many_parts_it_has(tmp_path: Path) -> None:
    """Only the files that are meant, and each part within what an object may hold."""
    there, here, shelf = tmp_path / "there", tmp_path / "here", Shelf()
    there.mkdir()
    here.mkdir()
    noise = os.urandom(3 * parcel.PART_BYTES)
    (there / "record.json").write_bytes(noise)
    (there / "output.log").write_text("said")
    (there / "traffic.samples").write_text("stays there")
    parts = parcel.send(shelf, "ns", "j", {}, parcel.packed(there))
    assert parts > 1
    assert all(len(each["binaryData"][parcel.KEY]) < 1 << 20 for each in shelf.kept.values())
    parcel.unpack(parcel.fetch(shelf, "ns", "j", parts), here)
    assert sorted(each.name for each in here.iterdir()) == ["output.log", "record.json"]
    assert (here / "record.json").read_bytes() == noise


def test_half_a_parcel_is_said_to_be_lost(tmp_path: Path) -> None:
    """Not taken for a shorter one."""
    (tmp_path / "record.json").write_bytes(os.urandom(10_000))
    with pytest.raises(parcel.ParcelLost):
        parcel.unpack(parcel.packed(tmp_path)[:5_000], tmp_path)


def entry(**changes: Any) -> dict[str, str]:
    """Return the annotation that copies one injection."""
    call = Call(func="agent.faults.inside.streams:remove", arguments={"place": INSIDE, "namespace": "shop"})
    check = Call(func="agent.faults.inside.streams:landed", arguments={"table": "t"})
    values = {"undo": call, "landed_check": check, "gone_check": call, **changes}
    made = Injection(
        id="1",
        run="r",
        fault="pods.partition",
        victims=("shop/a",),
        max_duration_s=5.0,
        intended_at=1.0,
        **values,
    )
    return {ENTRY + "1": json.dumps(asdict(made)), "gameday/beat": "3"}


def test_a_copy_of_a_ledger_entry_is_undone_from_where_it_is_read() -> None:
    """Inside the cluster there is no kubeconfig; out here the same cluster has one."""
    found = copies(entry(), run="r", place=OUTSIDE)
    assert [each.id for each in found.injections] == ["1"]
    assert found.injections[0].undo.arguments == {"place": OUTSIDE, "namespace": "shop"}
    assert found.injections[0].landed_check.arguments == {"table": "t"}
    assert found.strange == ()


@pytest.mark.parametrize(
    ("annotations", "run"),
    [
        (entry(undo=Call(func="os:system", arguments={"command": "true"})), "r"),
        (entry(gone_check=Call(func="agent.faults_of_mine:f")), "r"),
        (entry(), "another"),
        ({ENTRY + "1": "no JSON"}, "r"),
        ({ENTRY + "1": "[]"}, "r"),
        ({ENTRY + "1": "{}"}, "r"),
    ],
)
def test_what_the_agent_never_wrote_is_not_called(annotations: dict[str, str], run: str) -> None:
    """Who may change a Job must not get to run code in whoever follows it."""
    found = copies(annotations, run=run, place=OUTSIDE)
    assert found.injections == ()
    assert [each.startswith(ENTRY + "1: ") for each in found.strange] == [True]


@pytest.mark.parametrize(
    ("func", "fits"),
    [
        ("agent.faults.pods:kill", True),
        ("agent.faults.pod_networks:partition", True),
        ("agent.faults.networkpolicies:isolate", True),
        ("agent.faults.processes:kill", False),
        ("agent.faults.links:delay", False),
        ("agent.faults.packets:drop", False),
    ],
)
def test_only_faults_that_end_without_their_process_fit_a_job(func: str, *, fits: bool) -> None:
    """The others are named, with what to do instead."""
    why = fits_a_job([Fault(name="it", call=Call(func=func), where="method[0]")])()
    assert (why is None) == fits
    if why is not None:
        assert func in why
        assert "GAMEDAY_EXECUTOR=process" in why


def test_the_pod_of_a_job_has_next_to_nothing() -> None:
    """What the Pod Security Standard "restricted" asks for, no second try, and a hard end."""
    made = job(
        Work(name="j", namespace="n", image="i", command=["-m", "x"], deadline_s=9.2, grace_s=5, keep_s=60)
    )
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (made["spec"]["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    assert made["spec"]["activeDeadlineSeconds"] == 10


@pytest.mark.parametrize(
    ("conditions", "over"),
    [
        (None, False),
        ([{"type": "Suspended", "status": "True"}], False),
        ([{"type": "Failed", "status": "False"}], False),
        ([{"type": "Failed", "status": "True"}], True),
        ([{"type": "Complete", "status": "True"}], True),
    ],
)
def test_a_job_is_over_when_it_says_so(conditions: Any, *, over: bool) -> None:
    """Suspended is not over."""
    assert is_over({"status": {"conditions": conditions}}) == over
