"""Secrets out of everything that is shown or kept."""

from __future__ import annotations

import json
import re
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.catalog.redact import PART_LENGTH_MIN, REDACTED, looks_secret, redact, secret_values

secrets = st.sets(
    st.text(min_size=PART_LENGTH_MIN, max_size=12).filter(lambda s: s not in REDACTED), max_size=4
)
keys = st.text(max_size=4) | st.sampled_from(["password", "apiKey", "Authorization", "name", "secrets"])


def json_with(given_secrets: set[str]) -> st.SearchStrategy[object]:
    """Return JSON values that have the secrets in many of their texts and keys."""
    hidden = st.sampled_from(sorted(given_secrets)) if given_secrets else st.just("")
    text = (
        st.text(max_size=6)
        | hidden
        | st.builds(lambda a, b, c: a + b + c, st.text(max_size=4), hidden, st.text(max_size=4))
    )
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys | text, inner, max_size=4),
        max_leaves=12,
    )


def texts(value: object) -> list[str]:
    """Return every text in *value*, keys included."""
    if isinstance(value, dict):
        return [t for k, v in value.items() for t in (k, *texts(v))]
    if isinstance(value, list):
        return [t for v in value for t in texts(v)]
    return [value] if isinstance(value, str) else []


@given(data=st.data(), given_secrets=secrets)
def test_no_secret_is_left_in_any_text(data: st.DataObject, given_secrets: set[str]) -> None:
    """After redaction no text, key or value, has a secret in it."""
    value = data.draw(json_with(given_secrets))
    for text in texts(redact(value, given_secrets)):
        for piece in text.split(REDACTED):
            assert not any(secret in piece for secret in given_secrets)


@given(value=json_with(set()))
def test_what_is_no_secret_stays(value: object) -> None:
    """Without secrets, and without keys or texts that look secret, nothing changes."""
    if not any(looks_secret(text) or re.search(r"(?i)://|bearer|basic|=", text) for text in texts(value)):
        assert redact(value, set()) == value


@given(value=json_with({"hunter2"}))
def test_redacting_twice_changes_nothing(value: object) -> None:
    """Redaction is idempotent."""
    once = redact(value, {"hunter2"})
    assert redact(once, {"hunter2"}) == once


@given(secret=st.text(min_size=PART_LENGTH_MIN, max_size=12).filter(lambda s: s not in REDACTED))
def test_a_secret_is_hidden_as_it_looks_in_a_url_and_in_json(secret: str) -> None:
    """Escaping does not save a secret."""
    for escaped in (quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]):
        assert redact(f"<{escaped}>", {secret}) == f"<{REDACTED}>"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"password": "x"}, {"password": REDACTED}),
        (
            {"headers": {"X-Api-Key": "k", "Authorization": "b", "accept": "*"}},
            {"headers": {"X-Api-Key": REDACTED, "Authorization": REDACTED, "accept": "*"}},
        ),
        (
            {"authToken": 5, "empty": {"token": ""}, "no": {"token": None}},
            {"authToken": REDACTED, "empty": {"token": ""}, "no": {"token": None}},
        ),
        ({"credentials": {"user": "a", "id": [1]}}, {"credentials": {"user": REDACTED, "id": [REDACTED]}}),
        ({"secrets": {"board": {"admin": "x"}}}, {"secrets": {"board": {"admin": REDACTED}}}),
        (
            {"secrets": {"b": {"a": {"type": "env", "key": "ADMIN"}}}},
            {"secrets": {"b": {"a": {"type": "env", "key": "ADMIN"}}}},
        ),
        ({"provider": {"secrets": ["board"]}}, {"provider": {"secrets": ["board"]}}),
        (
            {"token": {"type": "env", "key": "T", "default": "d"}},
            {"token": {"type": "env", "key": "T", "default": REDACTED}},
        ),
        (
            {"key": "player-1", "tokens_per_s": 5, "max_tokens": 2},
            {"key": "player-1", "tokens_per_s": 5, "max_tokens": 2},
        ),
        ("redis://user:pw@host:1/0", f"redis://user:{REDACTED}@host:1/0"),
        ("redis://:pw@host", f"redis://:{REDACTED}@host"),
        ("curl -H 'Authorization: Bearer abc.def' x", f"curl -H 'Authorization: Bearer {REDACTED}' x"),
        ("http://h/x?token=abc&page=2", f"http://h/x?token={REDACTED}&page=2"),
        (("a", "hunter2"), ["a", REDACTED]),
        ({"hunter2": "in a key"}, {REDACTED: "in a key"}),
        ([4711, 47110, True, "4711 times", "42"], [REDACTED, 47110, True, f"{REDACTED} times", REDACTED]),
        ("a42b", "a42b"),
    ],
)
def test_secrets_are_found_where_they_hide(value: object, expected: object) -> None:
    """Keys, headers, addresses, numbers and texts are searched; what is no secret stays."""
    assert redact(value, {"hunter2", "4711", "42"}) == expected


def test_the_secrets_of_a_definition_are_known() -> None:
    """Secrets of the file, of the environment, and behind keys that look secret are collected."""
    definition = {
        "configuration": {"api_token": {"type": "env", "key": "TOKEN", "default": "none-yet"}, "port": 80},
        "secrets": {"board": {"admin": "inline", "pin": 4711, "root": {"type": "env", "key": "ROOT"}}},
        "method": [
            {"provider": {"secrets": ["board"], "headers": {"Authorization": "${admin}", "Cookie": "c=1"}}}
        ],
    }
    assert secret_values(definition, {"TOKEN": "t", "ROOT": "r"}) == {
        "t",
        "none-yet",
        "inline",
        "4711",
        "r",
        "c=1",
    }
