"""Faker's providers whose values depend on more than the seed, and what to use instead."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from instrumentation.errors import InvalidConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from faker import Faker

__all__ = ["refuse_unstable"]

_CLOCK: Final = "its values depend on the clock"
_HASHES: Final = "the order of a set depends on the process"
_PAST: Final = "use ctx.now - timedelta(seconds=ctx.random.randrange(86_400))"
_BIRTHDAY: Final = "ctx.faker.date_time_between(date(1950, 1, 1), date(2005, 12, 31)).date()"
_PATTERNS: Final = 'use ctx.faker.date("%p", end_datetime=date(2005, 12, 31)), or %d %A %m %B %Y'

# Whatever their arguments are: the names, the reason, and what to use instead.
_UNSTABLE: Final = (
    ("past_date past_datetime", _CLOCK, _PAST),
    ("date_this_century date_this_decade date_this_month date_this_year", _CLOCK, _PAST),
    ("date_time_this_century date_time_this_decade", _CLOCK, _PAST),
    ("date_time_this_month date_time_this_year", _CLOCK, _PAST),
    ("future_date future_datetime", _CLOCK, _PAST.replace("-", "+")),
    ("time_delta", _CLOCK, "use timedelta(seconds=ctx.random.randrange(86_400))"),
    ("am_pm day_of_month day_of_week month month_name year", _CLOCK, _PATTERNS),
    ("date_of_birth passport_dob", _CLOCK, f"use {_BIRTHDAY}"),
    ("profile simple_profile", _CLOCK, f"use ctx.faker.name(), ctx.faker.job(), {_BIRTHDAY}"),
    ("passport_dates", _CLOCK, "use ctx.now and ctx.random"),
    ("passport_full", _CLOCK, "use ctx.faker.passport_owner(), ctx.faker.passport_number()"),
    ("passport_gender", "it draws from the process's random", 'use ctx.random.choice("FMX")'),
    ("credit_card_full", _CLOCK, "use ctx.faker.credit_card_number()"),
    ("zip", _CLOCK, "use ctx.faker.tar()"),
    ("pyset pyiterable", _HASHES, "use ctx.faker.pylist(value_types=[str, int])"),
)
_NEVER: Final = {n: f"{why}; {instead}" for names, why, instead in _UNSTABLE for n in names.split()}

# Unstable unless some arguments are given: the parameters as far as they matter, in order.
_DEPENDENT: Final = {
    "start end": "credit_card_expire",
    "start_date end_date": "date_between date_time_between time_series",
    "date_start date_end": "date_between_dates",
    "datetime_start datetime_end": "date_time_between_dates",
    "end_datetime start_datetime": "unix_time",
    "tzinfo end_datetime start_datetime": "date_time_ad",
    "tzinfo end_datetime": "date_time iso8601",
    "pattern end_datetime": "date time",
    "end_datetime": "date_object time_object",
    "nb_elements variable_nb_elements value_types allowed_types": "pydict pylist pytuple xml",
    "count value_types allowed_types": "pystruct",
    "object_type": "pyobject",
    "uncompressed_size num_files min_file_size compression": "tar",
    "size image_format": "image",
}
_PARAMETERS: Final = {
    n: given.split() for given, names in _DEPENDENT.items() for n in names.split()
}
_SCALARS: Final = (None, bool, float, int, str)
_STAMPED: Final = ("gz", "gzip", "pdf")  # formats that hold the time they were written at

# These place what is before 1970 by the machine's offset from UTC as it is today.
_FIRST_YEAR: Final = 1970
_LOCAL: Final = ["date_between", "date_between_dates", "date_time_between_dates", "time_series"]


def refuse_unstable(faker: Faker) -> None:
    """Make the unstable providers of a generator refuse, each with a line that helps."""
    generators: tuple[Any, ...] = tuple(getattr(faker, "factories", (faker,)))
    for generator in generators:
        providers = vars(generator)
        for name in providers.keys() & (_NEVER.keys() | _PARAMETERS.keys()):
            generator.set_formatter(name, _guarded(name, providers[name]))
        generator.unique = _NoUnique()
    if faker not in generators:  # a proxy, whose ``unique`` is a property that gives this one
        vars(faker)["_unique_proxy"] = _NoUnique()


def _guarded(name: str, make: Callable[..., Any]) -> Callable[..., Any]:
    """The provider, called only where its values depend on the seed alone."""
    parameters = _PARAMETERS.get(name, [])

    @wraps(make)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        given = dict(zip(parameters, args, strict=False)) | kwargs
        refusal = _NEVER.get(name) or _refusal(name, {key: given.get(key) for key in parameters})
        if refusal:
            raise InvalidConfig(f"ctx.faker.{name}: {refusal}")
        return make(*args, **kwargs)

    return guarded


def _refusal(name: str, given: Mapping[str, Any]) -> str:
    """Why these arguments leave a provider unstable, and what to use; empty if they do not."""
    ends = {key: end for key, end in given.items() if "start" in key or "end" in key}
    if ends:
        return _refusal_of_ends(name, ends)
    if "value_types" in given and not (given["value_types"] or given["allowed_types"]):
        return f"some of {_CLOCK}; say which types: {name}(value_types=[str, int])"
    if given.get("object_type") not in _SCALARS:
        return f"{_CLOCK} and {_HASHES}; use ctx.faker.pylist(value_types=[str, int])"
    for key in given.keys() & {"compression", "image_format"}:
        if str(given[key]).lower() in _STAMPED:
            return f"{_CLOCK} with {key}={given[key]!r}; use another {key}"
    return ""


def _refusal_of_ends(name: str, ends: Mapping[str, Any]) -> str:
    """The same for a provider that picks a moment between two ends."""
    if not all(isinstance(end, date) for end in ends.values()):
        examples = {key: f"date({1980 if 'start' in key else 2005}, 1, 1)" for key in ends}
        what = "both ends as dates" if len(ends) > 1 else "its end as a date"
        form = ", ".join(f"{key}={example}" for key, example in examples.items())
        return f"{_CLOCK}; give {what}: {name}({form})"
    if name in _LOCAL and any(_is_before_1970(end) for end in ends.values()):
        return f"before 1970 its values depend on the machine's time zone; use {_BIRTHDAY}"
    return ""


def _is_before_1970(end: date) -> bool:
    years = [end.year]  # the end's own, because some providers drop its time of day and offset
    if isinstance(end, datetime) and end.tzinfo is not None and end.year == _FIRST_YEAR:
        years.append(end.astimezone(UTC).year)
    return min(years) < _FIRST_YEAR


class _NoUnique:
    """What ``unique`` is instead: whatever is asked of it refuses."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what copy, pickle and inspect look for
            raise AttributeError(name)
        return self()

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise InvalidConfig(
            "ctx.faker.unique depends on the order of execs; use ctx.unique(ctx.faker.email())"
        )
