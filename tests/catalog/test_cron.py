"""Five cron fields that every scheduler reads the same way."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.triggers.cron import CronTrigger
from hypothesis import given
from hypothesis import strategies as st

from agent.catalog.cron import FIELDS, MONTHS, WEEKDAYS, check_cron, check_timezone


@st.composite
def part(draw: st.DrawFn, index: int) -> str:
    """Return one part of a field in any of its forms."""
    field = FIELDS[index]
    low = draw(st.integers(field.least, field.most))
    high = draw(st.integers(low, field.most))
    names = {3: lambda n: MONTHS[n - 1], 4: lambda n: WEEKDAYS[n]}
    if index == 4 or (index == 3 and draw(st.booleans())):
        return draw(st.sampled_from([names[index](low), f"{names[index](low)}-{names[index](high)}"]))
    step = draw(st.integers(1, field.most - field.least))
    return draw(st.sampled_from([str(low), f"{low}-{high}", f"{low}-{high}/{step}", f"*/{step}"]))


@st.composite
def crons(draw: st.DrawFn) -> str:
    """Return five fields of which at most one of the two days is restricted."""
    fields = [draw(st.just("*") | st.lists(part(i), min_size=1, max_size=3).map(",".join)) for i in range(5)]
    fields[draw(st.sampled_from([2, 4]))] = "*"
    return " ".join(fields)


def classic(text: str, moment: datetime) -> bool:
    """Return whether cron is due at *moment*, with Sunday as 0, as cron(8) reads names and numbers."""
    now = (moment.minute, moment.hour, moment.day, moment.month, moment.isoweekday() % 7)
    names = {3: {n: i + 1 for i, n in enumerate(MONTHS)}, 4: {n: (i + 1) % 7 for i, n in enumerate(WEEKDAYS)}}
    for index, (value, field) in enumerate(zip(now, text.split(), strict=True)):
        if not any(value in _selected(piece, index, names.get(index, {})) for piece in field.split(",")):
            return False
    return True


def _selected(piece: str, index: int, names: dict[str, int]) -> list[int]:
    span, _, step = piece.partition("/")
    least, most = FIELDS[index].least, FIELDS[index].most
    if span == "*":
        return list(range(least, most + 1, int(step or 1)))
    low, _, high = span.partition("-")
    first, last = (int(names.get(bound, bound)) for bound in (low, high or low))
    if index == 4 and last < first:
        last += 7
    return [n % 7 if index == 4 else n for n in range(first, last + 1, int(step or 1))]


@given(text=crons(), minute=st.integers(0, 366 * 24 * 60), second=st.integers(0, 59))
def test_what_is_accepted_means_the_same_to_cron_and_to_the_scheduler(
    text: str, minute: int, second: int
) -> None:
    """The scheduler's next time is one at which cron is due, and cron is not due before it."""
    try:
        check_cron(text)
    except ValueError:
        return  # a day that never comes, such as 30 feb
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute, seconds=second)
    due = CronTrigger.from_crontab(text, timezone=UTC).get_next_fire_time(None, moment)
    assert due is not None
    assert classic(text, due)
    first = moment.replace(second=0) + timedelta(minutes=1 if second else 0)
    earlier = (first + timedelta(minutes=n) for n in range(200))
    assert not any(classic(text, m) for m in earlier if m < due)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 10 * * 1", "1 is not mon"),
        ("0 10 * * 0-4", "a day off"),
        ("0 10 * * mo", "mo is not mon"),
        ("0 10 * * */2", "start on Sunday in cron"),
        ("0 10 * * fri-mon", "runs backwards"),
        ("0 10 1 * mon", "cron reads that as or"),
        ("0 10 31 feb *", "never comes"),
        ("0 10 31 2,4,6 *", "never comes"),
        ("60 * * * *", "60 is not within 0 and 59"),
        ("* 24 * * *", "24 is not within 0 and 23"),
        ("* * 0 * *", "0 is not within 1 and 31"),
        ("* * * 13 *", "13 is not within 1 and 12"),
        ("* * * jann *", "jann is not a number (did you mean jan?)"),
        ("* * * jan-mar/2 *", "a step needs numbers"),
        ("5/10 * * * *", "a step needs * or a range"),
        ("*/0 * * * *", "the step 0"),
        ("*/60 * * * *", "the step 60"),
        ("*-5 * * * *", "without a start"),
        ("10-5 * * * *", "runs backwards"),
        (", * * * *", "is not *, a value"),
        ("-1 * * * *", "is not *, a value"),
        ("* * * *", "has 4"),
        ("* * * * * *", "has 6"),
        ("", "has 0"),
        ("@daily", "write 0 0 * * *"),
        ("\u0661 * * * *", "is not"),
    ],
)
def test_traps_are_refused(text: str, says: str) -> None:
    """What is wrong, or read differently somewhere, is refused with the reason."""
    with pytest.raises(ValueError, match=re.escape(says)):
        check_cron(text)


@given(text=st.text(alphabet="0159*/-,@ monfeb", max_size=20) | st.text(max_size=10))
def test_any_text_is_accepted_or_refused(text: str) -> None:
    """Whatever is written in a schedule, there is no other exception."""
    for check in (check_cron, check_timezone):
        with contextlib.suppress(ValueError):
            assert check(text) == text


@pytest.mark.parametrize(
    "text", ["", "Europe", "../../etc/passwd", "/etc/localtime", "Europe/Berln", "CEST+1", "\0"]
)
def test_what_is_no_time_zone_is_refused(text: str) -> None:
    """A zone is a name of the IANA database and nothing else."""
    with pytest.raises(ValueError, match=r"is no time zone; (did you mean|write one such as)"):
        check_timezone(text)


@pytest.mark.parametrize("text", ["UTC", "Europe/Berlin", "America/Argentina/Ushuaia"])
def test_time_zones_are_accepted(text: str) -> None:
    """Names of the IANA database are accepted."""
    assert check_timezone(text) == text
