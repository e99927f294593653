"""The record as one self-contained HTML page; nothing in it is fetched, and nothing in it runs."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.report import doses, tables
from agent.report.breaker.page import part
from agent.report.cards import cards, interval
from agent.report.figures import figures, last_moment
from agent.report.storm import storm_part
from agent.report.timeline import timeline
from agent.report.words import brief, cut, listing, milliseconds, percent, pretty, printable, seconds, utc

if TYPE_CHECKING:
    from jinja2 import Template

    from agent.model import RunRecord

WIDE_PX, NARROW_PX = 1040.0, 400.0
"""The picture is drawn twice, for a desk or paper and for a phone; the style sheet shows one of them."""
DEFINITION_LIMIT = 60_000
REASON_LIMIT = 2_000


def html(record: RunRecord) -> str:
    """Return *record* as an HTML page that makes no request and runs nothing."""
    told = figures(record)
    end = last_moment(record)
    return _template().render(
        record=record,
        title=brief(record.title, 200) or "Untitled experiment",
        word=tables.verdict_word(record),
        reason=cut(record.reason or "No reason was recorded.", REASON_LIMIT),
        still_in=[f"{brief(i.fault)} in {listing(i.victims)}" for i in record.injections if i.open][:20],
        bare=not (record.injections or record.activities or record.looks or record.marks or record.traffic),
        cards=cards(told),
        told=told,
        wide=timeline(record, WIDE_PX),
        narrow=timeline(record, NARROW_PX),
        breaker=part(record.breaker, record.started_at),
        storm=storm_part(record.storm),
        injections=doses.injection_rows(record),
        probes=tables.probe_rows(record),
        activities=tables.activity_rows(record),
        events=tables.event_rows(record),
        most_rows=tables.MOST_ROWS,
        owner=tables.owner(record),
        definition=cut(yaml_text(record.definition), DEFINITION_LIMIT),
        took=seconds(end - record.started_at) if record.ended_at is not None else "not ended",
    )


def yaml_text(definition: Any) -> str:
    """Return the experiment as YAML, or as JSON where YAML has no word for something in it."""
    from io import StringIO  # noqa: PLC0415

    from ruamel.yaml import YAML  # noqa: PLC0415  only pages show the experiment
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    if not definition:
        return ""
    out = StringIO()
    yaml = YAML()
    yaml.width = 100
    try:
        yaml.dump(_plain(definition), out)
    except (YAMLError, RecursionError, ValueError):
        return pretty(definition)
    return out.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _finalized(value: Any) -> Any:
    """Make every text of a template printable; markup made by the template itself stays as it is."""
    return printable(value) if type(value) is str else value


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  70 ms

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "utc": utc,
        "percent": percent,
        "milliseconds": milliseconds,
        "seconds": seconds,
        "interval": interval,
        "brief": brief,
    }
    return environment.get_template("page.html.j2")
