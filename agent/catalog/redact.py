"""Secrets out of everything that is shown or kept: journal, timeline, report, log."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from agent.catalog.outline import mapping

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

REDACTED = "[redacted]"
PART_LENGTH_MIN = 4
"""A shorter secret is only redacted where it is the whole value: "1" is in every number."""
_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+")
_SECRET_WORDS = frozenset(
    {
        "apikey",
        "authorization",
        "authentication",
        "cookie",
        "credential",
        "credentials",
        "passphrase",
        "passwd",
        "password",
        "pwd",
        "secret",
        "secrets",
        "token",
    }
)
_SECRET_KEYS = frozenset({("api", "key"), ("access", "key"), ("private", "key"), ("auth", "key")})
_IN_TEXT = re.compile(
    r"(?P<before>://[^/\s:@]*:)[^/\s@]+(?=@)"  # the password of an address
    r"|(?P<scheme>\b(?:bearer|basic)\s+)[\w.~+/=-]{4,}"  # an authorization header
    r"|(?P<name>[?&;](?:access_token|api_?key|auth|password|secret|sig|signature|token)=)[^&;\s\"']+",
    re.IGNORECASE,
)


def redact(value: Any, secrets: Collection[str]) -> Any:
    """Return *value* with every secret replaced by ``[redacted]``, at any depth.

    Args:
        value: JSON-ready data; anything else in it is left as it is.
        secrets: The values to hide, see :func:`secret_values`.  Each is also hidden as it looks
            inside a URL and inside a JSON text.

    What stands under a key that looks secret (``password``, ``authorization``, ``apiKey``, …) is
    hidden whatever it is, and so are passwords in addresses and authorization headers in texts.
    """
    return _Redaction(frozenset(secrets)).of(value)


def looks_secret(key: str) -> bool:
    """Return whether what stands under *key* is a secret by the look of it."""
    words = [word.lower() for word in _WORDS.findall(key)]
    pairs = pairwise(words)
    return not _SECRET_WORDS.isdisjoint(words) or not _SECRET_KEYS.isdisjoint(pairs)


def secret_values(definition: Mapping[str, Any], environ: Mapping[str, str]) -> frozenset[str]:
    """Return the secrets that *definition* holds or takes from *environ*.

    Those are the values of its ``secrets`` and of every key anywhere that looks secret.
    """
    found = {text for value in _secret_places(definition) for text in _texts(value, environ)}
    return frozenset(text for text in found if text and not text.startswith("${"))


def _secret_places(value: Any, *, top: bool = True) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if (top and key == "secrets") or (looks_secret(key) and not _names_groups(key, inner)):
                yield inner
            else:
                yield from _secret_places(inner, top=False)
    elif isinstance(value, list):
        for inner in value:
            yield from _secret_places(inner, top=False)


def _names_groups(key: str, value: Any) -> bool:
    """Return whether this is a provider's list of groups, which are names and no secrets."""
    return key == "secrets" and isinstance(value, list)


def _texts(value: Any, environ: Mapping[str, str]) -> Iterator[str]:
    if _is_lookup(value):
        yield environ.get(str(value.get("key")), "")
        value = value.get("default")
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner, environ)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _is_lookup(value: Any) -> bool:
    return mapping(value).get("type") in ("env", "vault")


class _Redaction:
    """One set of secrets, compiled; the longest is looked for first."""

    def __init__(self, secrets: frozenset[str]) -> None:
        self._whole = secrets - {""}
        self._parts = _pattern(self._whole)

    def of(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self._key(key): self._under(key, inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(inner) for inner in value]
        if isinstance(value, str):
            return self._text(value)
        return REDACTED if self._is_secret(value) else value

    def _key(self, key: Any) -> Any:
        return self._text(key) if isinstance(key, str) else key

    def _under(self, key: Any, value: Any) -> Any:
        if isinstance(key, str) and looks_secret(key) and not _names_groups(key, value):
            return self._all(value)
        return self.of(value)

    def _all(self, value: Any) -> Any:
        """Hide every value in *value*, but not where a secret comes from."""
        if _is_lookup(value):
            return {k: self._all(v) if k == "default" else self.of(v) for k, v in value.items()}
        if isinstance(value, dict):
            return {self._key(key): self._all(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._all(inner) for inner in value]
        return value if value is None or isinstance(value, bool) or value == "" else REDACTED

    def _is_secret(self, value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and str(value) in self._whole

    def _text(self, text: str) -> str:
        if text in self._whole:
            return REDACTED
        pieces = self._parts.split(text) if self._parts else [text]
        return REDACTED.join(_IN_TEXT.sub(_kept, piece) for piece in pieces)


def _kept(match: re.Match[str]) -> str:
    return f"{match['before'] or match['scheme'] or match['name']}{REDACTED}"


@lru_cache(maxsize=32)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str] | None:
    forms = {form for secret in secrets if len(secret) >= PART_LENGTH_MIN for form in _forms(secret)}
    ordered = sorted(forms, key=lambda form: (-len(form), form))
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def _forms(secret: str) -> Iterator[str]:
    """Yield *secret* as it looks by itself, in a URL, in JSON, and in a Python message."""
    yield secret
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
