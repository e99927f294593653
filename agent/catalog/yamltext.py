"""YAML as nodes, without the parts of it that experiments do without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ruamel.yaml import YAML
from ruamel.yaml import events as ev
from ruamel.yaml.error import MarkedYAMLError

from agent.catalog.document import DEPTH_MAX, NODES_MAX, Items, Node, Pairs, Scalar
from agent.catalog.problem import Place, Unreadable
from agent.catalog.scalars import plain

if TYPE_CHECKING:
    from collections.abc import Iterator


def parse(text: str) -> Node:
    """Return the one document in *text*.

    Raises:
        Unreadable: The text is not YAML, or has tags, merge keys, directives, or a second document.
    """
    try:
        return _Composer(YAML(typ="safe", pure=True).parse(text)).document()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = Place(line=mark.line + 1, column=mark.column + 1) if mark else None
        says = ", ".join(filter(None, (error.context, error.problem)))
        raise Unreadable(f"is not YAML: {says}", at=at) from None
    except Unreadable:
        raise
    except Exception as error:  # noqa: BLE001 - the parser fails in many ways on what is no YAML at all
        says = (str(error).splitlines() or [type(error).__name__])[0]
        raise Unreadable(f"is not YAML: {says}") from None


class _Composer:
    """Nodes from a stream of parser events; each anchor is known once its node is complete."""

    def __init__(self, events: Iterator[ev.Event]) -> None:
        self._events = events
        self._anchors: dict[str, Node] = {}
        self._seen = 0

    def document(self) -> Node:
        self._next()  # the start of the stream
        start = self._next()
        if isinstance(start, ev.StreamEndEvent):
            raise Unreadable("is empty", "gameday validate --schema describes an experiment")
        if getattr(start, "version", None) or getattr(start, "tags", None):
            raise Unreadable("starts with a % directive", "take it out", at=_place(start))
        root = self._node(self._next(), 0)
        self._next()  # the end of the document
        after = self._next()
        if not isinstance(after, ev.StreamEndEvent):
            raise Unreadable("holds a second document", "one file is one experiment", at=_place(after))
        return root

    def _next(self) -> ev.Event:
        self._seen += 1
        if self._seen > 3 * NODES_MAX:
            raise Unreadable(f"holds more than {NODES_MAX} values")
        return next(self._events)

    def _node(self, event: ev.Event, depth: int) -> Node:
        at = _place(event)
        if depth > DEPTH_MAX:
            raise Unreadable(f"is nested deeper than {DEPTH_MAX} levels", at=at)
        if isinstance(event, ev.AliasEvent):
            return self._aliased(event.anchor, at)
        assert isinstance(event, ev.NodeEvent)
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise Unreadable(f"has a tag ({tag})", "write plain YAML", at=at)
        node = self._plain(event, at, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _plain(self, event: ev.Event, at: Place, depth: int) -> Node:
        if isinstance(event, ev.ScalarEvent):
            value, doubt = plain(event.value) if event.implicit[0] else (event.value, "")
            return Scalar(value=value, at=at, doubt=doubt)
        if isinstance(event, ev.SequenceStartEvent):
            return Items(items=tuple(self._until(ev.SequenceEndEvent, depth)), at=at)
        nodes = self._until(ev.MappingEndEvent, depth)
        return Pairs(pairs=tuple(zip(nodes, nodes, strict=True)), at=at)

    def _until(self, end: type[ev.Event], depth: int) -> Iterator[Node]:
        while not isinstance(event := self._next(), end):
            yield self._node(event, depth + 1)

    def _aliased(self, anchor: str, at: Place) -> Node:
        if anchor not in self._anchors:
            raise Unreadable(f"*{anchor} refers to itself or to nothing", "write the value out", at=at)
        return self._anchors[anchor]


def _place(event: ev.Event) -> Place:
    mark = event.start_mark
    return Place(line=mark.line + 1, column=mark.column + 1) if mark else Place(line=1, column=1)
