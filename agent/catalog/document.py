"""A tree of nodes as plain data that knows where each value stands, within limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.catalog.problem import Finding, Place, Unreadable, Where

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NODES_MAX = 20_000
"""An experiment has a few hundred values; aliases may not unfold into more than this."""
DEPTH_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A text, number, truth value or null; ``doubt`` says why its value depends on the reader."""

    value: Any
    at: Place
    doubt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """A list."""

    items: Sequence[Node]
    at: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """A mapping as written: in order, with keys that may be doubled or no text."""

    pairs: Sequence[tuple[Node, Node]]
    at: Place


type Node = Scalar | Items | Pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file as plain data, where each value stands in it, and what is wrong with its form."""

    value: Any
    places: Mapping[Where, Place]
    findings: tuple[Finding, ...]

    def place(self, where: Where) -> Place:
        """Return where the value at *where* stands, or the nearest one around it."""
        while where and where not in self.places:
            where = where[:-1]
        return self.places.get(where, Place(line=1, column=1))


def unfold(root: Node) -> Document:
    """Return *root* as plain data; aliased nodes become copies.

    Raises:
        Unreadable: There are more than ``NODES_MAX`` values or ``DEPTH_MAX`` levels.
    """
    unfolding = _Unfolding()
    value = unfolding.value(root, ())
    return Document(value=value, places=unfolding.places, findings=tuple(unfolding.findings))


@dataclass(slots=True)
class _Unfolding:
    places: dict[Where, Place] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    nodes: int = 0

    def value(self, node: Node, where: Where) -> Any:
        self.nodes += 1
        if self.nodes > NODES_MAX:
            raise Unreadable(
                f"unfolds into more than {NODES_MAX} values", "write it without aliases", at=node.at
            )
        if len(where) > DEPTH_MAX:
            raise Unreadable(f"is nested deeper than {DEPTH_MAX} levels", at=node.at)
        self.places.setdefault(where, node.at)
        match node:
            case Scalar():
                _check_text(node)
                if node.doubt:
                    self.findings.append(Finding(where=where, says=node.doubt, instead="put it in quotes"))
                return node.value
            case Items():
                return [self.value(item, (*where, i)) for i, item in enumerate(node.items)]
            case Pairs():
                return self._mapping(node, where)

    def _mapping(self, node: Pairs, where: Where) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key, item in node.pairs:
            name = self._key(key, where)
            if name is None:
                continue
            inner = (*where, name)
            if name in mapping:
                first = self.places[inner].line
                says = f"the key {name} stands here twice, first on line {first}"
                self.findings.append(Finding(where=inner, says=says, instead="keep one of them", at=key.at))
                continue
            self.places[inner] = key.at
            mapping[name] = self.value(item, inner)
        return mapping

    def _key(self, key: Node, where: Where) -> str | None:
        """Return the key's text, or note that it has none."""
        if isinstance(key, Scalar):
            _check_text(key)
        if isinstance(key, Scalar) and isinstance(key.value, str) and not key.doubt:
            return key.value
        says = key.doubt if isinstance(key, Scalar) and key.doubt else "a key is not a text"
        self.findings.append(Finding(where=where, says=says, instead="put the key in quotes", at=key.at))
        return None


def _check_text(node: Scalar) -> None:
    """Refuse a text that is no Unicode: an escape can write half of a surrogate pair."""
    if isinstance(node.value, str) and any("\ud800" <= character <= "\udfff" for character in node.value):
        raise Unreadable("has a text with half a character in it, a lone surrogate", at=node.at)
