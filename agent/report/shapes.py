"""The few SVG shapes a picture is made of, as data; a template writes them and escapes every text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

type Attributes = Mapping[str, str | float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One SVG element; *tip* becomes its ``<title>``, shown when the pointer rests on it."""

    tag: str
    attributes: Attributes
    text: str = ""
    tip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A picture: its size in CSS pixels, its shapes from back to front, and what it says in words."""

    width: float
    height: float
    shapes: tuple[Shape, ...]
    says: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A part of a picture: its height and its shapes, already at their places."""

    height: float
    shapes: Sequence[Shape] = field(default_factory=tuple)


def rect(x: float, y: float, to_x: float, height: float, look: str, *, tip: str = "") -> Shape:
    """Return a rectangle from *x* to *to_x*, at least one pixel wide so that nothing short is lost."""
    width = round(max(1.0, to_x - x), 1)
    box: Attributes = {"x": x, "y": round(y, 1), "width": width, "height": height, "class": look}
    return Shape(tag="rect", attributes=box, tip=tip)


def path(points: str, look: str, *, tip: str = "") -> Shape:
    """Return a path by its SVG commands."""
    return Shape(tag="path", attributes={"d": points, "class": look}, tip=tip)


def text(x: float, y: float, words: str, look: str, *, anchor: str = "start") -> Shape:
    """Return a line of text, *anchor* one of ``start``, ``middle``, ``end``."""
    place: Attributes = {"x": round(x, 1), "y": round(y, 1), "text-anchor": anchor, "class": look}
    return Shape(tag="text", attributes=place, text=words)


def upright(x: float, top: float, bottom: float, look: str, *, tip: str = "") -> Shape:
    """Return a vertical line."""
    return path(f"M{x} {round(top, 1)}V{round(bottom, 1)}", look, tip=tip)


def level(y: float, first: float, last: float, look: str) -> Shape:
    """Return a horizontal line."""
    return path(f"M{first} {round(y, 1)}H{last}", look)
