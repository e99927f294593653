"""The Markdown form, read by a Markdown reader."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from agent.report import markdown
from agent.report.marks import plain
from agent.report.memo import COLUMNS

if TYPE_CHECKING:
    from agent.model import RunRecord

READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def inside(text: str) -> list[str]:
    """Return the kinds of all tokens in *text*."""
    tokens = READER.parse(text)
    return [t.type for token in tokens for t in [token, *(token.children or [])]]


def test_the_verdict_and_its_reason_come_first(story: RunRecord) -> None:
    """The first heading is the verdict, or NOT RECOVERED on top of it."""
    first, *_ = [t.content for t in READER.parse(markdown(story)) if t.type == "inline"]
    assert ("NOT RECOVERED" in first) == (not story.recovered)
    assert story.recovered is False or (story.verdict or "NO VERDICT") in first


def test_hostile_text_stays_text(stories: dict[str, RunRecord]) -> None:
    """No tag, link, image or mention comes out of foreign text, and no table is torn."""
    text = markdown(stories["hostile"])
    assert not {"html_inline", "html_block", "link_open", "image"} & set(inside(text))
    assert not re.search(r"(?<!`)@[a-z]", re.sub(r"(`+).*?\1", "", text))
    columns = {}
    for line in text.splitlines():
        if line.startswith("|"):
            cells = len(re.findall(r"(?<!\\)\|", line))
            assert columns.setdefault("open", cells) == cells
        else:
            columns.clear()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_record_can_be_written(any_record: st.SearchStrategy[RunRecord], data: st.DataObject) -> None:
    """Whatever is missing or odd, a memo comes out that can be encoded and holds no markup of others."""
    text = markdown(data.draw(any_record))
    text.encode()
    assert not {"html_inline", "html_block", "link_open", "image"} & set(inside(text))


def test_the_picture_has_one_cell_per_column(stories: dict[str, RunRecord]) -> None:
    """All lines of the picture share one time axis, and the fault is where it was."""
    lines = re.search(r"```text\n(.*?)\n```", markdown(stories["deviated"]), re.DOTALL)
    assert lines is not None
    cells = [re.split(r" {2,}", line)[1] for line in lines[1].splitlines()[:-1]]
    assert [len(row) for row in cells] == [COLUMNS] * 6
    assert (cells[0].index("█"), cells[0].rindex("█")) == (18, 33)


@pytest.mark.parametrize(
    "hostile",
    [
        "- item",
        "+ item",
        "1. item",
        "12) item",
        "---",
        "===",
        "![x](javascript:1)",
        "[x](y)",
        "<b>x</b>",
        "# x",
    ],
)
def test_foreign_text_begins_nothing(hostile: str) -> None:
    """No list, heading, rule, link or image, also at the beginning of a line."""
    for text in (plain(hostile), f"said before\n{plain(hostile)}"):
        assert {token.type for token in READER.parse(text)} == {"paragraph_open", "inline", "paragraph_close"}
        assert set(inside(text)) <= {"paragraph_open", "inline", "paragraph_close", "text", "softbreak"}


def test_ordinary_words_are_left_as_they_are() -> None:
    """A reader of the source sees no escapes in a sentence with dashes and brackets."""
    assert plain("half-open (3 times seen), at most 5 %!") == "half-open (3 times seen), at most 5 %!"
