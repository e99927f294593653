"""When a schedule is due: five cron fields that every scheduler reads the same way."""

from __future__ import annotations

import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from agent.catalog.problem import nearest

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * sun",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_PART = re.compile(
    r"(?P<first>\*|[a-z]+|\d{1,2})(?:-(?P<last>[a-z]+|\d{1,2}))?(?:/(?P<step>\d{1,2}))?", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One of the five fields: its bounds, and the names its numbers may have."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()


FIELDS = (
    Field(name="minute", least=0, most=59),
    Field(name="hour", least=0, most=23),
    Field(name="day of month", least=1, most=31),
    Field(name="month", least=1, most=12, names=MONTHS),
    Field(name="day of week", least=0, most=6, names=WEEKDAYS),
)


def check_cron(text: str) -> str:
    """Return *text* if it is five cron fields without a trap.

    Raises:
        ValueError: It is not, or it means one thing to cron and another to APScheduler: numeric
            weekdays (off by a day), steps over weekdays, names with steps, a day of month together
            with a day of week ("or" against "and").
    """
    if text in _MACROS:
        raise ValueError(f"{text} is not one of the five fields; write {_MACROS[text]}")
    parts = text.split()
    if len(parts) != len(FIELDS):
        raise ValueError(f"needs five fields (minute hour day month weekday) and has {len(parts)}")
    sets = [_values(field, part) for field, part in zip(FIELDS, parts, strict=True)]
    if parts[2] != "*" and parts[4] != "*":
        raise ValueError("names a day of month and a day of week; cron reads that as or, others as and")
    if not any(day <= _DAYS_IN_MONTH[month - 1] for day in sets[2] for month in sets[3]):
        raise ValueError("names a day that never comes")
    return text


def _values(field: Field, text: str) -> set[int]:
    """Return the numbers that *text* selects in *field*."""
    return set().union(*(_part(field, part) for part in text.split(",")))


def _part(field: Field, part: str) -> range:
    match = _PART.fullmatch(part)
    if match is None:
        raise ValueError(
            f"{field.name}: {part!r} is not *, a value, or a range, with /step after * or a range"
        )
    first, last, step = match["first"], match["last"], match["step"]
    if first == "*" and last is not None:
        raise ValueError(f"{field.name}: {part!r} is a range without a start")
    if step is not None:
        _check_step(field, first, last, int(step))
    if first == "*":
        return range(field.least, field.most + 1, int(step or 1))
    low = _number(field, first)
    high = low if last is None else _number(field, last)
    if low > high:
        raise ValueError(f"{field.name}: {part!r} runs backwards; write two ranges")
    if step is not None and int(step) > high - low:
        raise ValueError(f"{field.name}: {part!r} has a step larger than its range")
    return range(low, high + 1, int(step or 1))


def _check_step(field: Field, first: str, last: str | None, step: int) -> None:
    if field.names == WEEKDAYS:
        raise ValueError(
            f"{field.name}: steps start on Sunday in cron and on Monday elsewhere; list the days"
        )
    if first != "*" and last is None:
        raise ValueError(f"{field.name}: a step needs * or a range before it")
    if first.isalpha():
        raise ValueError(f"{field.name}: a step needs numbers, not names")
    if not 1 <= step <= field.most - field.least:
        raise ValueError(f"{field.name}: the step {step} is not within 1 and {field.most - field.least}")


def _number(field: Field, word: str) -> int:
    if word in field.names:
        return field.names.index(word) + field.least
    if field.names == WEEKDAYS:
        hint = "numbers are a day off in some schedulers" if word.isdigit() else nearest(word, WEEKDAYS)
        raise ValueError(f"{field.name}: {word} is not mon, tue, wed, thu, fri, sat or sun ({hint})")
    if not word.isdigit():
        hint = f" ({nearest(word, field.names)})" if field.names else ""
        raise ValueError(f"{field.name}: {word} is not a number{hint}")
    if not field.least <= int(word) <= field.most:
        raise ValueError(f"{field.name}: {word} is not within {field.least} and {field.most}")
    return int(word)


def check_timezone(text: str) -> str:
    """Return *text* if it names an IANA time zone.

    Raises:
        ValueError: It does not; the nearest name is given.
    """
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{text!r} is no time zone; {_near_zone(text)}") from None
    return text


def _near_zone(text: str) -> str:
    close = nearest(text, available_timezones())
    return close if close.startswith("did you") else "write one such as Europe/Berlin"
