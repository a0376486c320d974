"""A cron text, read: which seconds, minutes, hours, days and months it names."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from instrumentation.errors import InvalidConfig

__all__ = ["Crontab", "parse_crontab"]


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()  # of low, low + 1, …


_MONTHS: Final = "jan feb mar apr may jun jul aug sep oct nov dec"
_WEEKDAYS: Final = "sun mon tue wed thu fri sat"

_SECOND: Final = _Field("second", 0, 59)
_MINUTE: Final = _Field("minute", 0, 59)
_HOUR: Final = _Field("hour", 0, 23)
_DAY: Final = _Field("day", 1, 31)
_MONTH: Final = _Field("month", 1, 12, (*_MONTHS.split(),))
_WEEKDAY: Final = _Field("weekday", 0, 6, (*_WEEKDAYS.split(),))
_PLACE: Final = _Field("weekday", 1, 5)
_WEEK: Final = 7  # days, and as a weekday Sunday once more

_NICKNAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIVE: Final = 5
_SIX: Final = 6
_ITEM: Final = re.compile(r"(?:\*|([0-9A-Za-z]+)(?:-([0-9A-Za-z]+))?)(?:/([0-9]+))?")
_PLACED: Final = re.compile(r"([0-9A-Za-z]+)#([0-9]+)|([0-9]+|[A-Za-z]{3})[lL]")


class Crontab(NamedTuple):
    """What a cron text names, in ascending order; weekdays count from Sunday, which is 0.

    ``places`` are weekdays of a month: (1, 2) is its second Monday, (5, -1) its last Friday.
    ``either`` is True where a day matches that one of the two fields for days names, else both
    must name it.
    """

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    places: tuple[tuple[int, int], ...]
    has_last_day: bool
    either: bool


def parse_crontab(text: str) -> Crontab:
    """Read five fields (minute, hour, day, month, weekday), six with seconds first, or a nickname.

    Raises:
        InvalidConfig: it cannot be read; the message names the field.
    """
    try:
        return _parse_fields(_split(text))
    except InvalidConfig as refusal:
        raise InvalidConfig(f'cron "{text}": {refusal}') from None


def _split(text: str) -> list[str]:
    if text.strip().startswith("@"):
        try:
            return ["0", *_NICKNAMES[text.strip().lower()].split()]
        except KeyError:
            raise InvalidConfig(f"it is unknown; write one of {', '.join(_NICKNAMES)}") from None
    fields = text.split()
    if len(fields) == _FIVE:
        return ["0", *fields]
    if len(fields) != _SIX:
        raise InvalidConfig(
            f"{len(fields)} fields are not five (minute hour day month weekday), or six with "
            "seconds first"
        )
    return fields


def _parse_fields(fields: list[str]) -> Crontab:
    second, minute, hour, day, month, weekday = fields
    days = day.split(",")
    weekdays = weekday.split(",")
    placed = {item: found for item in weekdays if (found := _PLACED.fullmatch(item))}
    return Crontab(
        seconds=_parse_items(second.split(","), _SECOND),
        minutes=_parse_items(minute.split(","), _MINUTE),
        hours=_parse_items(hour.split(","), _HOUR),
        days=_parse_items([item for item in days if item not in {"L", "l"}], _DAY),
        months=_parse_items(month.split(","), _MONTH),
        weekdays=_parse_items([item for item in weekdays if item not in placed], _WEEKDAY),
        places=tuple(sorted({_place(found) for found in placed.values()})),
        has_last_day=not {"L", "l"}.isdisjoint(days),
        either=not day.startswith("*") and not weekday.startswith("*"),
    )


def _place(found: re.Match[str]) -> tuple[int, int]:
    weekday, place, last = found.groups()
    if last:
        return _parse_value(last, _WEEKDAY) % _WEEK, -1
    return _parse_value(weekday, _WEEKDAY) % _WEEK, _parse_value(place, _PLACE)


def _parse_items(items: list[str], field: _Field) -> tuple[int, ...]:
    found = {value for item in items for value in _parse_item(item, field)}
    if field is _WEEKDAY:
        found = {value % _WEEK for value in found}
    return tuple(sorted(found))


def _parse_item(item: str, field: _Field) -> range:
    found = _ITEM.fullmatch(item)
    if not found:
        raise InvalidConfig(
            f"{field.name}: {item!r} cannot be read; write *, a number, a range such as "
            f"{field.low}-{field.low + 2}, a step such as */2, or a list of them"
        )
    first, last, step = found.groups()
    low = _parse_value(first, field) if first else field.low
    high = field.high if step or not first else low  # a/n goes on to the end
    if last:
        high = _parse_value(last, field)
        if field is _WEEKDAY and high == 0 and low:
            high = _WEEK  # fri-sun
    if low > high and last:
        raise InvalidConfig(f"{field.name}: {item} runs backwards; write it as two ranges")
    return range(low, max(low, high) + 1, _parse_step(step, field) if step else 1)


def _parse_value(text: str, field: _Field) -> int:
    if text.lower() in field.names:
        return field.low + field.names.index(text.lower())
    if not text.isdecimal():
        names = f", or {field.names[0]} to {field.names[-1]}" if field.names else ""
        raise InvalidConfig(
            f"{field.name}: {text!r} is unknown; write {field.low} to {_highest(field)}{names}"
        )
    return _in_range(text, field.low, _highest(field), f"{field.name}:")


def _parse_step(text: str, field: _Field) -> int:
    return _in_range(text, 1, field.high - field.low + 1, f"{field.name}: the step")


def _in_range(text: str, low: int, high: int, name: str) -> int:
    digits = text.lstrip("0") or "0"  # thousands of them Python would not read
    if len(digits) > len(str(high)) or not low <= int(digits) <= high:
        raise InvalidConfig(f"{name} {text} is out of range: it must be from {low} to {high}")
    return int(digits)


def _highest(field: _Field) -> int:
    return _WEEK if field is _WEEKDAY else field.high
