"""The whole recording in one picture: faults, inferred states, the breaker's own word, both streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.report.breaker import bands, words
from agent.report.scales import width_px
from agent.report.shapes import Row, Scene, text
from agent.report.words import brief

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.report.breaker.read import Answer, Stream
    from agent.report.breaker.states import Reader
    from agent.report.scales import Scale
    from agent.report.shapes import Shape

A_DAY_S = 86_400.0
MOST_LINKS = 8
"""So many links have a band in a picture; each has one of its own further down."""
REPLICA_MOST = 11
"""So many bold letters and digits fit before a band, however wide."""


def zero_of(answer: Answer, started_at: float) -> float:
    """Return the moment from which pictures count: the start of the run where it is near, else their own."""
    low = answer.span[0] if answer.span else started_at
    return started_at if 0 <= low - started_at < A_DAY_S else low


def raster(answer: Answer, width: float, started_at: float) -> Scene | None:
    """Return both streams over time under the states; None where nothing has a time."""
    if answer.span is None:
        return None
    time = bands.clock(*answer.span, width)
    rows = head_rows(answer, answer.judged, time)
    top = 4.0 + sum(row.height for row in rows) + 4
    rows.append(bands.lanes_row(answer.raster, time, top))
    floor = top + rows[-1].height
    axis = bands.axis_row(time, zero_of(answer, started_at), floor)
    under = bands.shades(answer.faults, time, 4.0, floor)
    return Scene(
        width=width,
        height=round(floor + axis.height),
        shapes=(*under, *(shape for row in rows for shape in row.shapes), *axis.shapes),
        says=words.course(answer),
    )


def head_rows(answer: Answer, streams: Sequence[Stream], time: Scale) -> list[Row]:
    """Draw what was played, and the states of *streams* under it."""
    rows = [bands.faults_row(answer.faults, time, 4.0)]
    rows.append(bands.phases_row(answer.other_phases, time, 4.0 + rows[0].height))
    return rows + state_rows(answer, streams, time, 4.0 + sum(row.height for row in rows))


def state_rows(answer: Answer, streams: Sequence[Stream], time: Scale, top: float) -> list[Row]:
    """Draw the inferred states, and under them what each reader saw the breaker say of itself."""
    rows: list[Row] = []
    for stream in streams[:MOST_LINKS]:
        link = brief(stream.link, 12) if len(streams) > 1 and stream.link else "Inferred"
        for each in stream.with_states:
            at = top + sum(row.height for row in rows)
            rows.append(_inferred_row(answer, each, words.replica(each, REPLICA_MOST) or link, time, at))
    for reader in answer.readers:
        at = top + sum(row.height for row in rows)
        rows.append(_reader_row(answer, reader, time, at))
    return rows


def _inferred_row(answer: Answer, stream: Stream, name: str, time: Scale, top: float) -> Row:
    found = stream.stretches(*(answer.span or (time.low, time.high)))
    row = bands.states_row(name, found, stream.steps, time, top)
    untold = [] if found else [_not_told(answer, stream, time, top)]
    covered = bands.unseen(answer.untold, time, top)
    return Row(height=row.height, shapes=[*row.shapes, *untold, *covered])


def _not_told(answer: Answer, stream: Stream, time: Scale, top: float) -> Shape:
    """Say in place of states why there are none, as long as the room allows."""
    said = "no states are told"
    machine = f"{said}: {words.MACHINES.get(answer.machine, 'nothing was seen')}"
    why = brief(stream.says, 200) if stream.source else machine
    fits = width_px(why) < time.last - time.first - 8
    return text(time.first + 4, top + 13, why if fits else said, "row-note")


def _reader_row(answer: Answer, reader: Reader, time: Scale, top: float) -> Row:
    """Draw what a source told, and mark where a finding says that this is not so."""
    found = reader.stretches(*(answer.span or (time.low, time.high)))
    row = bands.states_row(brief(reader.kind, 12), found, reader.steps(), time, top)
    marks: list[Shape] = []
    for finding in answer.findings:
        if (finding.bug, finding.evidence) in reader.disagreements and (
            span := finding.span or finding.window
        ):
            marks += bands.quarrel(*span, time, top, f"disagreement: {finding.title}")
    return Row(height=row.height + (6.0 if reader.disagreements else 0.0), shapes=[*row.shapes, *marks])


def strip(answer: Answer, stream: Stream, width: float) -> Scene | None:
    """Return the states of one key alone, on the time of the whole."""
    if answer.span is None:
        return None
    time = bands.clock(*answer.span, width)
    band = bands.states_row("", stream.stretches(*answer.span), stream.steps, time, 2.0)
    under = bands.shades(answer.faults, time, 0.0, band.height)
    states = ", ".join(words.state(each) for each in stream.sequence[:40])
    return Scene(
        width=width,
        height=band.height,
        shapes=(*under, *band.shapes),
        says=f"{brief(words.path(stream), 80)}: {states or 'no state was inferred'}",
    )
