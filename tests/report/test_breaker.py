"""The breaker's part of every form of a report, by parsing it."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from agent.model import Verdict
from agent.report import from_json, html, json_text, junit, markdown
from agent.report.breaker import words
from agent.report.breaker.gauges import bounds, gauge
from agent.report.breaker.page import MOST_PICTURES, part
from agent.report.breaker.read import Property, answer_of

if TYPE_CHECKING:
    from agent.model import RunRecord

READER = MarkdownIt("commonmark", {"html": True}).enable(["table"])
PAGE_LIMIT = 2_000_000


def measured(**changes: Any) -> Property:
    """Return a property that passes, with *changes*."""
    given: dict[str, Any] = {
        "name": "leak_share",
        "unit": "share",
        "estimate": 0.01,
        "low": 0.0,
        "high": 0.02,
    }
    given |= {"high": 0.02, "n": 300, "status": "pass", "why": "3 of 300 calls", "limit": 0.05}
    return Property(**(given | changes))


def drawn(scene: Any, look: str) -> list[Any]:
    """Return the shapes of a picture with one look."""
    return [shape for shape in scene.shapes if look in str(shape.attributes.get("class", "")).split()]


# the page


def test_every_extreme_makes_a_whole_harmless_page(pages: Any, extreme: RunRecord) -> None:
    """Tags close in order, nothing runs, and the page stays below two megabytes."""
    text = html(extreme)
    page = pages.Page(text)
    pages.assert_harmless(page)
    assert len(text) < PAGE_LIMIT
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_every_picture_says_in_words_what_it_shows(pages: Any, extreme: RunRecord) -> None:
    """Each picture that is not mere ornament has a title and a description that is not empty."""
    text = html(extreme)
    page = pages.Page(text)
    named = [value for name, value in page.attributes if name == "aria-labelledby"]
    ids = {value for name, value in page.attributes if name == "id"}
    assert all(set(value.split()) <= ids for value in named)
    said = re.findall(r"<(?:title|desc) id=\"[^\"]+\">(.*?)</(?:title|desc)>", text, re.DOTALL)
    assert len(said) == 2 * page.attributes.count(("role", "img"))
    assert all(each.strip() for each in said)


def test_the_plain_answer_comes_before_everything_else(pages: Any, stories: dict[str, RunRecord]) -> None:
    """Then the picture, the findings and the properties, in this order."""
    told = stories["breaker"].breaker or {}
    text = pages.Page(html(stories["breaker"])).text("main")
    places = [text.index(told["answer"]), text.index("Half-open stampede", text.index("1 finding"))]
    places += [text.index(" Properties "), text.index("Mapped by id")]
    assert places == sorted(places)


def test_a_finding_is_shown_with_what_it_points_at(pages: Any, stories: dict[str, RunRecord]) -> None:
    """Its sentence, its advice, its picture and each of its calls in figures."""
    record = stories["breaker"]
    (finding,) = (record.breaker or {})["findings"]
    page = pages.Page(html(record))
    shown = page.text("article")
    assert finding["evidence"] in shown
    assert finding["advice"] in shown
    calls = finding["evidence_calls"]
    assert all(f"{call['begun_at'] - record.started_at:.3f} s" in shown for call in calls)
    assert ("id", "finding-1-cut-wide") in page.attributes


def test_the_evidence_shows_each_call_in_question_once(stories: dict[str, RunRecord]) -> None:
    """One bar a call, one dark tick where it arrived, in both of its lanes."""
    record = stories["breaker"]
    found = part(record.breaker, record.started_at)
    assert found is not None
    card = found.findings[0]
    n = len((record.breaker or {})["findings"][0]["evidence_calls"])
    assert card.wide is not None
    assert len(drawn(card.wide, "asked")) == n
    assert sum(str(each.attributes["d"]).count("M") for each in drawn(card.wide, "chosen")) == 2 * n


def test_states_differ_by_more_than_colour(stories: dict[str, RunRecord]) -> None:
    """Closed, half-open and open have heights of their own, and half-open a pattern."""
    found = part(stories["breaker"].breaker, 0.0)
    assert found is not None
    heights = {look: {s.attributes["height"] for s in drawn(found.wide, look)} for look in words.STATES}
    assert [len(each) for each in heights.values()] == [1, 1, 1]
    assert len(set.union(*heights.values())) == 3
    assert len(drawn(found.wide, "half_open-pattern")) == len(drawn(found.wide, "half_open"))


def test_a_bracket_is_as_wide_as_it_is(stories: dict[str, RunRecord]) -> None:
    """One for each transition, on the scale of time of the picture, and never less than a pixel."""
    record = stories["breaker"]
    answer = answer_of(record.breaker)
    found = part(record.breaker, record.started_at)
    assert answer
    assert answer.judged
    assert answer.span
    assert found
    scale = (1040.0 - 92.0 - 14.0) / (answer.span[1] - answer.span[0])
    widths = [float(each.attributes["width"]) for each in drawn(found.wide, "bracket")]
    assert widths == pytest.approx(
        [max(1.0, (step.before - step.after) * scale) for step in answer.judged[0].steps], abs=0.21
    )


def test_states_follow_each_other_without_a_gap(stories: dict[str, RunRecord]) -> None:
    """Each begins where the one before ends, from the first moment to the last."""
    answer = answer_of(stories["breaker"].breaker)
    assert answer
    assert answer.judged
    assert answer.span
    found = answer.judged[0].stretches(*answer.span)
    assert [each.state for each in found] == list(answer.judged[0].sequence)
    assert [each.until for each in found[:-1]] == [each.since for each in found[1:]]
    assert (found[0].since, found[-1].until) == answer.span


def test_beyond_a_few_keys_the_rest_is_folded_away(
    pages: Any, answers: Any, stories: dict[str, RunRecord]
) -> None:
    """Four are open, eight are behind one line that says how many there are."""
    page = pages.Page(html(stories["breaker"].with_(breaker=answers.many_streams())))
    assert "8 more paths" in page.text("summary")
    assert [f"shard-{n}" in page.text("section") for n in range(12)] == [True] * 12


def test_of_many_findings_all_are_told_and_some_are_drawn(
    answers: Any, stories: dict[str, RunRecord]
) -> None:
    """Text costs little; pictures have a bound."""
    found = part(answers.many_findings(), stories["breaker"].started_at)
    assert found is not None
    assert len(found.findings) == 40
    assert sum(card.wide is not None for card in found.findings) == MOST_PICTURES


def test_a_million_calls_say_that_not_each_is_drawn(
    pages: Any, answers: Any, stories: dict[str, RunRecord]
) -> None:
    """The tip of a lane says how many of how many."""
    page = pages.Page(html(stories["breaker"].with_(breaker=answers.million())))
    assert re.search(r"5,\d\d\d drawn, one in 1\d\d", page.text("title"))


def test_expectations_stand_beside_what_was_measured(pages: Any, stories: dict[str, RunRecord]) -> None:
    """Each with its status as a sign and a word."""
    told = (stories["breaker"].breaker or {}) | {
        "expectations": [{"property": "half_open_budget", "expected": {"max": 3}, "status": "fail"}]
    }
    text = pages.Page(html(stories["breaker"].with_(breaker=told))).text("main")
    assert re.search(r"half-open budget at most 3 \d+ \(at least \d+\) fail", text)


def test_the_breakers_own_word_is_a_band_of_its_own(answers: Any, stories: dict[str, RunRecord]) -> None:
    """One for each reader; what could not be read is dotted, a disagreement is marked where it is."""
    record = stories["breaker"].with_(breaker=answers.whitebox())
    found = part(record.breaker, record.started_at)
    assert found
    assert found.wide
    titles = [shape.text for shape in found.wide.shapes if shape.attributes.get("class") == "row-title"]
    assert titles[:4] == ["Fault", "Inferred", "resilience4j", "prometheus"]
    assert len(drawn(found.wide, "untold-pattern")) == 2
    told = (record.breaker or {})["whitebox"][1]["disagreements"]
    tips = [mark.tip for mark in drawn(found.wide, "quarrel")]
    assert tips == [f"disagreement: {each['title']}" for each in told]
    assert [row.sign.word for row in found.readers] == ["agrees", f"{len(told)} disagreements"]
    assert "resilience4j" in markdown(record)


def test_each_replica_has_a_band_of_its_own(answers: Any, stories: dict[str, RunRecord]) -> None:
    """On the page, in the memo, and in the words for those who cannot see the picture."""
    told = answers.replicas()
    record = stories["breaker"].with_(breaker=told)
    answer = answer_of(told)
    assert answer is not None
    names = [each.source for each in answer.judged[0].sources]
    assert names == ["10.0.0.1", "10.0.0.2", "checkout-6d5f7c9b8-x2x7p"]
    text, page = markdown(record), html(record)
    for name in ("10.0.0.1", "10.0.0.2", "c9b8-x2x7p"):
        assert re.search(rf"(?m)^\S*{re.escape(name)} +\N{{BOX DRAWINGS LIGHT HORIZONTAL}}", text)
        assert f"{name}</text>" in page
    assert all(f"Inferred states of {name}" in words.course(answer) for name in names)
    assert "replica 10.0.0.1" in text
    found = part(told, 0.0)
    assert found is not None
    assert found.untold
    assert [each.name for each in found.streams[:2]] == ["replica 10.0.0.1", "replica 10.0.0.2"]


def test_each_link_has_a_band_and_findings_say_where(
    pages: Any, answers: Any, stories: dict[str, RunRecord]
) -> None:
    """Two links are two bands; a finding on one of them shows that one alone."""
    record = stories["breaker"].with_(breaker=answers.several_links())
    found = part(record.breaker, record.started_at)
    assert found
    assert found.wide
    titles = [shape.text for shape in found.wide.shapes if shape.attributes.get("class") == "row-title"]
    assert titles[:3] == ["Fault", "shard-1", "shard-2"]
    (card,) = [each for each in found.findings if each.bug == "half-open-stampede"]
    assert card.where == "shard-2"
    assert [row.name for row in found.streams] == [
        "link shard-1",
        "link shard-2",
        "eu (link shard-1)",
        "us (link shard-2)",
    ]
    assert "on shard-2" in pages.Page(html(record)).text("article")
    assert "half-open-stampede on shard-2" in junit([record])


def test_what_cannot_be_told_is_not_drawn_as_a_state(answers: Any, stories: dict[str, RunRecord]) -> None:
    """The states under a fault that hides who was let through are covered, and other phases have a row."""
    record = stories["breaker"].with_(breaker=answers.played())
    found = part(record.breaker, record.started_at)
    assert found
    assert found.untold
    (cover,), (fault,), (phase,) = (
        drawn(found.wide, look) for look in ("untold-pattern", "fault-bar", "phase")
    )
    assert [cover.attributes[name] for name in ("x", "width")] == [
        fault.attributes[name] for name in ("x", "width")
    ]
    assert phase.tip == "pause: 6.00 s; nobody calls"
    inferred = re.search(r"^inferred +(.*)$", markdown(record), re.MULTILINE)
    assert inferred
    assert re.fullmatch("\N{BOX DRAWINGS LIGHT HORIZONTAL}+[?]{17,20}[^?]+", inferred[1])


def test_a_rate_that_was_taken_back_has_no_states_and_says_why(
    answers: Any, stories: dict[str, RunRecord]
) -> None:
    """Its seconds are covered, with the reason, and the phase says how many calls there were."""
    record = stories["breaker"].with_(breaker=answers.taken_back())
    found = part(record.breaker, record.started_at)
    assert found
    (cover,), (phase,) = (drawn(found.wide, look) for look in ("untold-pattern", "phase"))
    told = [each.tip for each in drawn(found.wide, "untold")]
    assert cover.attributes["width"] == phase.attributes["width"]
    assert told == ["raise: 9 of 40 calls did not come out well"]
    assert phase.tip == "raise: 4.00 s at 80 calls a second; more calls"


def test_of_another_machine_no_states_are_claimed(
    pages: Any, answers: Any, stories: dict[str, RunRecord]
) -> None:
    """The page says what it is instead."""
    page = pages.Page(html(stories["breaker"].with_(breaker=answers.another_machine())))
    text = page.text("section")
    assert "Kind of machine: adaptive throttling, which never keeps back everything (a share of calls" in text
    assert "no states are told: adaptive throttling" in text


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(data=st.data())
def test_whatever_an_answer_holds_every_form_comes_out_harmless(
    pages: Any, answers: Any, stories: dict[str, RunRecord], data: st.DataObject
) -> None:
    """No crash, no markup of others, no torn table, readable XML."""
    told = data.draw(answers.anything)
    record = stories["held"].with_(breaker=told)
    pages.assert_harmless(pages.Page(html(record)))
    tokens = [t.type for token in READER.parse(markdown(record)) for t in [token, *(token.children or [])]]
    assert not {"html_inline", "html_block", "link_open", "image"} & set(tokens)
    ET.fromstring(junit([record]).encode())  # noqa: S314  our own text
    json.loads(json_text(record))


# the small pictures


def test_a_limit_is_where_it_belongs_on_the_scale() -> None:
    """Right of the bar when it passes, and what lies beyond it is shaded to the end of the scale."""
    scene = gauge(measured())
    assert scene is not None
    (bar,), (line,), (beyond,) = (drawn(scene, look) for look in ("gauge-bar", "gauge-limit", "gauge-beyond"))
    right = float(bar.attributes["x"]) + float(bar.attributes["width"])
    at = float(re.findall(r"M([\d.]+)", str(line.attributes["d"]))[0])
    assert right < at == float(beyond.attributes["x"])


def test_what_nothing_bounds_has_an_arrow() -> None:
    """A lower bound alone runs to the end of the scale."""
    scene = gauge(
        measured(name="failures_to_open", unit="calls", low=60.0, high=None, estimate=None, limit=None)
    )
    assert scene is not None
    assert len(drawn(scene, "gauge-open")) == 1
    assert "at least 60" in scene.says


def test_each_observation_is_a_bracket() -> None:
    """Two waits are two brackets; the words say how many."""
    scene = gauge(
        measured(
            name="time_to_half_open_s", unit="s", estimate=1.0, each=((0.9, 1.1), (0.95, 1.2)), limit=None
        )
    )
    assert scene is not None
    assert len(drawn(scene, "gauge-each")) == 2
    assert "2 observations" in scene.says


def test_a_crowd_is_a_dot_each() -> None:
    """Filled if let in, hollow if kept back, more than fit as a number."""
    scene = gauge(
        measured(name="half_open_budget", unit="calls", each=((3.0, 5.0), (90.0, 90.0)), limit=10.0)
    )
    assert scene is not None
    let_in = [str(each.attributes["d"]).count("h0") for each in drawn(scene, "in")]
    kept = [str(each.attributes["d"]).count("M") for each in drawn(scene, "out")]
    assert let_in[1:] == [3]
    assert kept == [2]
    assert any(each.text == f"+{90 - let_in[0]}" for each in scene.shapes)
    assert "3 of 5 let in" in scene.says


numbers = st.none() | st.floats(-1e11, 1e11)


@given(
    low=numbers,
    high=numbers,
    estimate=numbers,
    limit=numbers,
    unit=st.sampled_from(["s", "ms", "share", "calls"]),
)
def test_a_scale_holds_everything_that_is_drawn_on_it(
    low: float | None, high: float | None, estimate: float | None, limit: float | None, unit: str
) -> None:
    """Whatever the figures, no mark is pushed to an end where it is not."""
    each = measured(low=low, high=high, estimate=estimate, limit=limit, unit=unit)
    least, most = bounds(each, None)
    values = [value for value in (low, high, estimate, limit) if value is not None]
    slack = 1e-9 + 1e-6 * max([abs(value) for value in values], default=0.0)
    assert all(least - slack <= value <= most + slack for value in values)


# the other forms


def test_the_memo_has_the_answer_the_evidence_and_the_properties(stories: dict[str, RunRecord]) -> None:
    """In a table of equal rows, and in a picture of lines of equal length."""
    text = markdown(stories["breaker"])
    start = text.index("## The circuit breaker")
    section = text[start : text.index("\n## ", start + 1)]
    for block in re.findall(r"```text\n(.*?)\n```", section, re.DOTALL):
        assert {len(line) for line in block.splitlines()[:-2]} == {76}
    table = section[section.index("| Property | Estimate") :].split("\n\n")[0].splitlines()
    assert len(table) == 2 + len((stories["breaker"].breaker or {})["properties"])
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert "19 calls" in section or "calls were let through before the first trial had ended" in section


@pytest.mark.parametrize("held", [True, False])
def test_a_suite_fails_where_the_run_does(stories: dict[str, RunRecord], held: bool) -> None:
    """A case for each finding and property; in a run that held nothing is a failure, and each is said."""
    verdict = Verdict.HELD if held else Verdict.DEVIATED
    record = stories["breaker"].with_(verdict=verdict)
    cases = list(ET.fromstring(junit([record]).encode()).iter("testcase"))[1:]  # noqa: S314  our own text
    told = record.breaker or {}
    assert len(cases) == len(told["findings"]) + len(told["properties"])
    status = {name: str(each["status"]) for name, each in told["properties"].items()}
    status |= {each["bug"]: "fail" for each in told["findings"]}
    tags = {"pass": [], "fail": ["skipped"] if held else ["failure"], "inconclusive": ["skipped"]}
    for case in cases:
        outcome = [each.tag for each in case if each.tag != "system-out"]
        assert outcome == tags[status[case.get("name", "")]]
    assert held == (not [case for case in cases if case.find("failure") is not None])


def test_an_inconclusive_property_says_what_it_would_take(stories: dict[str, RunRecord]) -> None:
    """The message of the skipped case is the property's own reason."""
    told = (stories["breaker"].breaker or {}) | {
        "properties": {"leak_share": {"status": "inconclusive", "why": "about 60 without a leak would tell"}}
    }
    root = ET.fromstring(junit([stories["breaker"].with_(breaker=told)]).encode())  # noqa: S314  our own text
    assert [each.get("message") for each in root.iter("skipped")] == ["about 60 without a leak would tell"]


def test_the_answer_comes_back_from_json_and_makes_the_same_page(stories: dict[str, RunRecord]) -> None:
    """A stored run is shown again as it was."""
    assert html(from_json(json_text(stories["breaker"]))) == html(stories["breaker"])
