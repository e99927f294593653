"""The HTML page, by parsing it."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent import report
from agent.report import html
from agent.report.timeline import timeline

if TYPE_CHECKING:
    from agent.model import RunRecord

CSS = (Path(report.__file__).parent / "page.css").read_text("utf-8")


def test_every_story_makes_a_whole_harmless_page(pages: Any, story: RunRecord) -> None:
    """Tags close in order, no request can leave, and one heading opens the page."""
    page = pages.Page(html(story))
    pages.assert_harmless(page)
    assert page.tags.count("h1") == 1
    assert page.tags.index("h1") < (page.tags.index("h2") if "h2" in page.tags else 10**9)
    assert ("lang", "en") in page.attributes


def test_the_verdict_and_its_reason_are_on_top(pages: Any, story: RunRecord) -> None:
    """They stand in the header, and NOT RECOVERED stands before them."""
    page = pages.Page(html(story))
    header = page.text("header")
    assert (story.verdict or "NO VERDICT") in header
    assert header.startswith("NOT RECOVERED") == (not story.recovered)
    assert ("ABORTED" in header) == story.aborted
    assert ("LEASHED" in header) == story.leashed
    if story.reason.isascii() and story.reason.isprintable():
        assert " ".join(story.reason.split()) in header


def test_hostile_text_is_shown_as_it_is(pages: Any, stories: dict[str, RunRecord]) -> None:
    """Markup in a title is text on the page, templates are not evaluated, overrides are made visible."""
    text = html(stories["hostile"])
    text.encode()
    assert "<script>alert(1)</script>" in pages.Page(text).text("h1")
    assert "{{ 7*7 }}" in pages.Page(text).text("h1")
    assert not set("\u202e\x00\x1b") & set(text)


def test_a_huge_output_is_cut_and_says_so(stories: dict[str, RunRecord]) -> None:
    """Five million characters become a few thousand, with a note how many are missing."""
    text = html(stories["hostile"])
    assert len(text) < 200_000
    assert "4,996,000 more characters not shown" in text


def test_a_long_run_stays_a_small_page(stories: dict[str, RunRecord]) -> None:
    """Ten minutes at five looks a second fit in 300 KB."""
    assert len(stories["long"].looks) > 2900
    assert len(html(stories["long"])) < 300_000


def test_a_bare_run_has_no_empty_sections(pages: Any, stories: dict[str, RunRecord]) -> None:
    """A refused run is its verdict and its reason, not a row of empty tables."""
    page = pages.Page(html(stories["refused"]))
    assert "table" not in page.tags
    assert "Nothing more to show" in page.text()


def test_the_same_record_makes_the_same_page(stories: dict[str, RunRecord]) -> None:
    """Nothing but the record goes into a page: no clock, no random id."""
    assert html(stories["deviated"]) == html(stories["deviated"])


def test_ratios_carry_their_samples_and_interval(pages: Any, stories: dict[str, RunRecord]) -> None:
    """No percentage stands on top without n."""
    text = pages.Page(html(stories["held"])).text("main")
    assert re.search(r"Success during the fault [\d.]+ % 95 % interval \[[\d.]+ %, [\d.]+ %\], n = \d+", text)


def test_tables_have_headers_and_pictures_have_names(pages: Any, stories: dict[str, RunRecord]) -> None:
    """Each table cell has a header to be read with, each meaningful picture a title and a description."""
    page = pages.Page(html(stories["deviated"]))
    assert page.tags.count("thead") == page.tags.count("table")
    assert page.attributes.count(("role", "img")) == page.tags.count("desc") == 2
    hidden = page.attributes.count(("aria-hidden", "true"))
    assert page.tags.count("svg") == hidden + 2


def test_the_picture_says_in_words_what_it_shows(stories: dict[str, RunRecord]) -> None:
    """Fault and unsteady times are in the description."""
    scene = timeline(stories["deviated"], 1000)
    assert scene is not None
    assert "agent.faults.links.delay in shard-1 from +10.00 s to +18.00 s" in scene.says
    assert "latency-p95 was unsteady +10.60 s to +20.60 s" in scene.says


def test_states_differ_by_more_than_colour(stories: dict[str, RunRecord]) -> None:
    """Steady, unsteady and unknown differ in height and pattern, too."""
    scene = timeline(stories["deviated"], 1000)
    assert scene is not None
    rects = [s.attributes for s in scene.shapes if s.tag == "rect"]
    heights = {a["class"]: a["height"] for a in rects}
    assert len({heights["steady"], heights["unsteady"], heights["unknown"]}) == 3
    assert {"unsteady-pattern", "unknown-pattern"} <= set(heights)


def luminance(colour: str) -> float:
    """Return the relative luminance of ``#rrggbb``.  Source: WCAG 2.2."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21."""
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_curves_have_contrast(scheme: str) -> None:
    """Text reaches 4.5 and curves reach 3 against everything they stand on, in both colour schemes."""
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[0]))
    if scheme == "dark":
        found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[1]))
    texts = [(t, p) for t in ("ink", "muted", "good", "bad", "link") for p in ("paper", "wash")]
    texts += [("on", v) for v in ("held", "deviated", "inconclusive", "refused")]
    texts += [("on-alarm", "alarm"), ("ink", "plate"), ("muted", "grid"), ("ink", "rule")]
    curves = [(c, "paper") for c in ("blue", "vermillion", "green", "purple")]
    poor = {pair: contrast(found[pair[0]], found[pair[1]]) for pair in texts}
    assert {pair: c for pair, c in poor.items() if c < 4.5} == {}
    assert {pair for pair in curves if contrast(found[pair[0]], found[pair[1]]) < 3} == set()


def test_labels_of_marks_do_not_overlap(story: RunRecord) -> None:
    """On a desk and on a phone, no label covers another in its lane."""
    for width in (1040.0, 400.0):
        scene = timeline(story, width)
        names = [s for s in scene.shapes if "mark-name" in str(s.attributes["class"])] if scene else []
        for y in {s.attributes["y"] for s in names}:
            row = [s for s in names if s.attributes["y"] == y]
            edges = sorted(
                (x, x + size) if s.attributes["text-anchor"] == "start" else (x - size, x)
                for s in row
                for x, size in [(float(s.attributes["x"]), len(s.text) * 11 * 0.5)]
            )
            assert all(a[1] <= b[0] for a, b in pairwise(edges))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_record_makes_a_whole_harmless_page(
    pages: Any, any_record: st.SearchStrategy[RunRecord], data: st.DataObject
) -> None:
    """Whatever is missing, odd or hostile in a record, a page comes out and nothing on it runs."""
    text = html(data.draw(any_record))
    text.encode()
    pages.assert_harmless(pages.Page(text))
