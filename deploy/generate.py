"""Writes what is made from the table of rights: Roles for kustomize and the chart, tables of the docs.

``python deploy/generate.py`` is ``make deploy``.  A test holds the files against :func:`files`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from agent.faults.cluster import families as kubernetes_families
from agent.faults.cluster import rights as kubernetes_rights
from agent.faults.cluster.families import FAMILIES, Where, rules
from agent.faults.cluster.standby_jobs import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.faults.cluster.families import Family

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
MADE = "# Made by `make deploy` from agent/faults/cluster/families.py.\n"
COMPONENT = f"""\
{MADE}apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
resources: [rights.yaml]
"""
GROUP = "rbac.authorization.k8s.io"


def main() -> None:
    """Write every file anew, and take away Roles of families that are no more."""
    made = dict(files())
    for stale in (HERE / "rights").glob("*/*.yaml"):
        if stale not in made:
            stale.unlink()
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def files() -> Iterator[tuple[Path, str]]:
    """Yield each file that is made, and what has to stand in it."""
    for name, family in FAMILIES.items():
        yield HERE / "rights" / name / "kustomization.yaml", COMPONENT
        yield HERE / "rights" / name / "rights.yaml", _role(name, family)
    yield HERE / "chart" / "rights.yaml", _for_the_chart()
    restorers = kubernetes_rights.table(kubernetes_rights.RESTORER_RIGHTS, of="restorer")
    page, text = _between("rights", kubernetes_rights.table(), DOCS / "kubernetes.md")
    yield _between("restorer-rights", restorers, page, text)
    yield _between("families", kubernetes_families.table(), DOCS / "in-the-cluster.md")


def _role(name: str, family: Family) -> str:
    everywhere = family.where is Where.EVERYWHERE
    role, binding = ("ClusterRole", "ClusterRoleBinding") if everywhere else ("Role", "RoleBinding")
    namespace = "\n  namespace: default" if family.where is Where.DEFAULT else ""
    lines = "\n".join(f"  - {json.dumps(rule)}" for rule in rules(family.rights))
    account = ACCOUNT if family.restorer else "gameday"
    return f"""\
{MADE}# Lets the agent {family.says}.
apiVersion: {GROUP}/v1
kind: {role}
metadata:
  name: gameday-{name}{namespace}
  labels: {{app.kubernetes.io/name: gameday}}
rules:
{lines}
---
apiVersion: {GROUP}/v1
kind: {binding}
metadata:
  name: gameday-{name}{namespace}
  labels: {{app.kubernetes.io/name: gameday}}
roleRef: {{apiGroup: {GROUP}, kind: {role}, name: gameday-{name}}}
subjects: [{{kind: ServiceAccount, name: {account}, namespace: gameday}}]
"""


def _for_the_chart() -> str:
    """Return every family as the chart's templates read it."""
    lines = [MADE.rstrip()]
    for name, family in FAMILIES.items():
        lines += [f"{name}:", f"  where: {family.where}"]
        lines += [f"  account: {ACCOUNT}"] if family.restorer else []
        lines += ["  rules:"]
        lines += [f"    - {json.dumps(rule)}" for rule in rules(family.rights)]
    return "\n".join(lines) + "\n"


def _between(mark: str, table: str, page: Path, text: str | None = None) -> tuple[Path, str]:
    """Return *page*, or its *text* if that is given, with *table* between its marks."""
    found = page.read_text(encoding="utf-8") if text is None else text
    before, opening, rest = found.partition(f"<!-- {mark} -->\n")
    _, closing, after = rest.partition(f"\n<!-- /{mark} -->")
    assert opening and closing, f"{page} has no place for the table of {mark}"  # noqa: PT018  # one fact
    return page, f"{before}{opening}{table}{closing}{after}"


if __name__ == "__main__":
    main()
