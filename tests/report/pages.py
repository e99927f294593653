"""Reads a page as a browser would: its tags, attributes and words, and whether anything on it acts."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """A page's tags, attributes and text; fails on tags that do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that opens."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that is empty."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        """Check that the tag opened last is the one that closes."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note text under every open tag."""
        for tag in self.open:
            self.words.setdefault(tag, []).append(data)

    def text(self, tag: str = "body") -> str:
        """Return all text inside *tag*, on one line."""
        return " ".join(" ".join(self.words.get(tag, [])).split())


def assert_harmless(page: Page) -> None:
    """Nothing on the page runs, loads, or leads away."""
    assert not {"script", "iframe", "object", "embed", "img", "link", "form", "base", "a"} & set(page.tags)
    names = {name for name, _ in page.attributes}
    assert not [name for name in names if name.startswith("on")]
    assert not {"src", "href", "xlink:href", "srcset", "action", "background", "poster"} & names
    styles = page.text("style") + " ".join(v for n, v in page.attributes if n == "style")
    assert "@import" not in styles
    assert set(re.findall(r"url\((.)", styles)) <= {"#"}
