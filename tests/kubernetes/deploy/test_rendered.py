"""kustomize and Helm make the same objects, and the API server takes them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.faults.cluster.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.cluster
DEPLOY = Path(__file__).parents[3] / "deploy"

type Object = dict[str, Any]


def _name(each: Object) -> tuple[str, str, str]:
    meta = each["metadata"]
    return each["kind"], meta.get("namespace", ""), meta["name"]


def _comparable(objects: list[Object]) -> dict[tuple[str, str, str], Object]:
    """Return *objects* by name, without what Helm alone reads, lists of named things in one order."""
    found = {}
    for each in copy.deepcopy(objects):
        notes = each["metadata"].get("annotations", {})
        kept = {key: value for key, value in notes.items() if not key.startswith("helm.sh/")}
        each["metadata"] = {**each["metadata"], "annotations": kept}
        if each["kind"] == "Deployment":
            for container in each["spec"]["template"]["spec"]["containers"]:
                container["env"].sort(key=lambda variable: variable["name"])
        assert _name(each) not in found, f"{_name(each)} twice"
        found[_name(each)] = each
    return found


def test_the_first_try_and_the_chart_make_the_same_objects(
    kustomized: Callable[[Path], list[Object]], templated: Callable[..., list[Object]]
) -> None:
    """Object by object; the leaderboard and the namespaces are the try's own."""
    ours = [
        each
        for each in kustomized(DEPLOY / "try")
        if each["kind"] != "Namespace"
        and each["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") != "leaderboard"
    ]
    words = ["--set", "targets={leaderboard}"]
    words += ["--set", "rights={probes,after-a-deploy,pods-kill,pods-inside}"]
    for file in sorted((DEPLOY / "try" / "experiments").iterdir()):
        words += ["--set-file", f"experiments.{file.name.replace('.', chr(92) + '.')}={file}"]
    by_kustomize, by_helm = _comparable(ours), _comparable(templated(*words))
    assert by_kustomize.keys() == by_helm.keys()
    for name, each in by_kustomize.items():
        assert each == by_helm[name], name


def test_every_family_is_the_same_role_either_way(
    kustomized: Callable[[Path], list[Object]], templated: Callable[..., list[Object]], tmp_path: Path
) -> None:
    """Where it holds, too: in the targets, in the agent's own namespace, in `default`, or everywhere."""
    components = [str(DEPLOY / "rights" / name) for name in FAMILIES]
    for folder in ("targets", "own", "default", "everywhere"):
        where = {"targets": "shop", "own": "gameday"}.get(folder)
        chosen = [
            path for path, family in zip(components, FAMILIES.values(), strict=True) if family.where == folder
        ]
        (tmp_path / folder).mkdir()
        written = {
            "kind": "Kustomization",
            "components": [_relative(path, tmp_path / folder) for path in chosen],
        }
        written |= {"namespace": where} if where else {}
        (tmp_path / folder / "kustomization.yaml").write_text(json.dumps(written))
    ours = [each for folder in tmp_path.iterdir() for each in kustomized(folder)]
    words = ("--set", "targets={shop}", "--set", f"rights={{{','.join(FAMILIES)}}}")
    theirs = [each for each in templated(*words) if "Role" in each["kind"]]
    assert _comparable(ours) == _comparable(theirs)


def _relative(path: str, folder: Path) -> str:
    """Return *path* as kustomize wants it."""
    return "../" * len(folder.parts[1:]) + path.lstrip("/")


def test_two_releases_beside_each_other_share_nothing(templated: Callable[..., list[Object]]) -> None:
    """Another name and another namespace: no object of the one is an object of the other."""
    one = templated("--set", "targets={shop}")
    other = templated("--set", "targets={shop}", release="second", namespace="elsewhere")
    assert not {_name(each) for each in one} & {_name(each) for each in other}
    assert len(one) == len(other)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--set", "rights={pods-kil}"), 'there is no family "pods-kil"'),
        (("--set", "target={shop}"), "target"),
        (("--set", "targets={team-*}"), "pattern"),
    ],
)
def test_a_value_that_means_nothing_is_refused(
    templated: Callable[..., list[Object]], words: tuple[str, ...], says: str
) -> None:
    """A misspelt family, an unknown key, a pattern where a namespace belongs: each named."""
    with pytest.raises(AssertionError) as refused:
        templated(*words)
    assert says in str(refused.value)


def test_the_agent_passes_the_strictest_pod_security_standard(
    cluster: Any, namespace: str, templated: Callable[..., list[Object]]
) -> None:
    """A namespace that enforces `restricted` admits its pod, tried without keeping it."""
    label = "pod-security.kubernetes.io/enforce=restricted"
    cluster.kubectl("label", "namespace", namespace, label)
    (deployment,) = [each for each in templated(namespace=namespace) if each["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]
    spec = {
        key: value
        for key, value in pod["spec"].items()
        if key not in ("serviceAccountName", "priorityClassName")
    }
    meta = {"name": "tried", "namespace": namespace}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    said = cluster.kubectl("create", "--dry-run=server", "-f", "-", "-o", "name", stdin=json.dumps(body))
    assert said.strip() == "pod/tried"
