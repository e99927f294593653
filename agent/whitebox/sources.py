"""All the sources of one exercise: read beside it, filed, and held against what was seen."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from agent.breakers.boxes.comparison import compare, unread
from agent.whitebox import open_reader
from agent.whitebox.reader import Watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from agent.breakers.boxes.comparison import Comparison
    from agent.breakers.boxes.whitebox import Traps
    from agent.breakers.view import View


@dataclass(frozen=True, slots=True)
class _Source:
    kind: str
    url: str
    link: str
    traps: Traps
    watch: Watch


class Sources:
    """A context manager: reads while it is entered.  Whatever fails in a source is a sample of it.

    Raises:
        UsageError: One of *specs* is wrong; nothing was read.
    """

    def __init__(self, specs: Iterable[str], *, links: Sequence[str]) -> None:
        self._sources = []
        for spec in specs:
            address, reader, traps = open_reader(spec, links=links)
            watch = Watch(reader, every_s=address.every_s)
            self._sources.append(_Source(address.kind, address.shown, address.link, traps, watch))
        self._running = ExitStack()

    def __enter__(self) -> Self:
        for each in self._sources:
            self._running.enter_context(each.watch)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def compared(self, views: Mapping[str, View]) -> list[Comparison]:
        """Return each source beside the view of its link, or of the first one.

        Links that share one machine have one view, whose name has all of theirs with blanks in between.
        """
        return [self._compared(each, views) for each in self._sources]

    @staticmethod
    def _compared(each: _Source, views: Mapping[str, View]) -> Comparison:
        link = next((name for name in views if each.link in name.split()), next(iter(views)))
        about = {"kind": each.kind, "url": each.url, "link": link}
        try:
            return compare(views[link], each.watch.samples, traps=each.traps, **about)
        except Exception as error:  # noqa: BLE001  # minutes of an exercise must not be lost by this
            return unread(f"{type(error).__name__}: {error}", traps=each.traps, **about)

    def save(self, path: Path) -> None:
        """File every sample, so that the comparison can be made again."""
        told = [
            {
                "kind": each.kind,
                "url": each.url,
                "samples": [
                    {
                        "asked": sample.asked,
                        "read": sample.read,
                        "state": sample.state,
                        "event": sample.event,
                        "why": sample.why,
                        "details": dict(sample.details),
                    }
                    for sample in each.watch.samples
                ],
            }
            for each in self._sources
        ]
        path.write_text(json.dumps(told, default=str))

    def __bool__(self) -> bool:
        return bool(self._sources)


def check(specs: Iterable[str], *, links: Sequence[str]) -> None:
    """Refuse what is wrong in *specs*, and read nothing.

    Raises:
        UsageError: One is wrong.
    """
    for spec in specs:
        _, reader, _ = open_reader(spec, links=links)
        reader.close()


def listed(specs: str | Iterable[str]) -> tuple[str, ...]:
    """Return *specs* one by one: a list, or a text with blanks between them (within one, %20)."""
    return tuple(specs.split()) if isinstance(specs, str) else tuple(specs)


def summary(found: Iterable[dict[str, Any]]) -> list[str]:
    """Say in a line for each source how far it agrees."""
    return [_line(each) for each in found]


def _line(each: dict[str, Any]) -> str:
    agreement, name = each["agreement"], f"{each['kind']} at {each['url']}"
    errors = ", ".join(f"{n} x {why}" for why, n in each["errors"].items())
    if agreement["share"] is None:
        return f"{name}: nothing to compare ({errors or 'no sample'})"
    said = (
        f"{name}: agrees in {agreement['share']:.1%} of {agreement['compared_s']:.0f} s, "
        f"tells {agreement['matched']} of {agreement['transitions']} transitions"
    )
    return said + (f" ({errors})" if errors else "")
