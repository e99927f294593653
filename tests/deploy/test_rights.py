"""What is made from the table of rights stands in the files that are shipped, and every row is in them."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.faults.cluster.families import FAMILIES, Where, rules
from agent.faults.cluster.rights import RESTORER_RIGHTS, RIGHTS

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="module")
def generate() -> Any:
    """The script behind ``make deploy``."""
    found = importlib.util.spec_from_file_location("generate", DEPLOY / "generate.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_every_row_of_the_table_is_granted_by_exactly_one_family() -> None:
    """A fault whose rights nobody ships could not be used; one in two families could not be switched off."""
    for restorer, table in ((False, RIGHTS), (True, RESTORER_RIGHTS)):
        families = [family for family in FAMILIES.values() if family.restorer is restorer]
        assert Counter(row for family in families for row in family.rows) == Counter(table.keys())


def test_the_files_are_what_the_table_says(generate: Any) -> None:
    """`make deploy` would change nothing, and no Role of a family that is no more is left."""
    made = dict(generate.files())
    assert {path: path.read_text() for path in made} == made
    shipped = {path for path in (DEPLOY / "rights").rglob("*") if path.is_file()}
    assert shipped == {path for path in made if DEPLOY / "rights" in path.parents}


@given(st.sets(st.sampled_from(sorted({right for rights in RIGHTS.values() for right in rights}))))
def test_a_role_grants_its_rights_and_nothing_else(rights: set[Any]) -> None:
    """Putting together what has the same group and verbs neither loses nor adds one."""
    granted = [
        (group, resource, verb)
        for rule in rules(rights)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    wanted = {
        (right.group, "/".join(filter(None, (right.resource, right.subresource))), right.verb)
        for right in rights
    }
    assert (set(granted), len(granted)) == (wanted, len(wanted))


def test_only_what_is_in_no_namespace_is_granted_everywhere() -> None:
    """A family for the whole cluster holds nothing that a Role in a namespace could hold."""
    for name, family in FAMILIES.items():
        everywhere = {right.everywhere for right in family.rights}
        assert everywhere == {family.where is Where.EVERYWHERE}, name


def test_no_family_grants_all_of_anything() -> None:
    """No wildcard, no secret that is read, no way to get more rights than these.

    The Secret of a run's Job is written blindly, and deleted by its name.
    """
    for name, family in FAMILIES.items():
        for right in family.rights:
            assert "*" not in right.rule, name
            assert right.resource != "secrets" or right.verb in {"create", "delete"}, name
            assert right.resource not in {"roles", "rolebindings", "clusterroles"}, name
            assert right.verb not in {"bind", "escalate", "impersonate", "deletecollection"}, name
