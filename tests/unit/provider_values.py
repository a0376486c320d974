"""What every provider of Faker gives, on standard output: ``provider_values.py SHIFT [reversed]``.

The clock stands still, SHIFT seconds after a fixed moment; as a process of its own, because it
sets the clock before Faker is imported. ``reversed``: in the other order, and in a thread.
"""

import datetime  # noqa: ICN001 - what is replaced in it is what others import
import inspect
import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from hashlib import blake2b
from typing import Any

SEEDS = range(8)
SLOW = {"binary", "tar", "zip"}  # a file is the same or not with the first seed
STARTS = {"start_date", "date_start", "datetime_start", "start_datetime", "start"}
ENDS = {"end_date", "date_end", "datetime_end", "end_datetime", "end"}
SPANS = {"recent": (1980, 2040), "early": (1900, 1960)}
OTHERS = {"value_types": [str, int], "object_type": set, "compression": "gz"}
MOMENT = 1_700_000_000


def stop_the_clock(shift: int) -> None:
    moment = MOMENT + shift

    class Kind(type):  # a plain date has to stay an instance of what replaces its type
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, cls.__mro__[1])

    class Date(datetime.date, metaclass=Kind):
        @classmethod
        def today(cls) -> datetime.date:
            return cls.fromtimestamp(moment)

    class Moment(datetime.datetime, metaclass=Kind):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return cls.fromtimestamp(moment, tz)

        @classmethod
        def utcnow(cls) -> datetime.datetime:
            return cls.fromtimestamp(moment, datetime.UTC).replace(tzinfo=None)

        today = now

    datetime.date = Date  # type: ignore[misc]
    datetime.datetime = Moment  # type: ignore[misc]
    time.time = lambda: float(moment)
    time.time_ns = lambda: moment * 10**9


def calls(generator: Any) -> dict[str, Callable[[], Any]]:
    """Every provider without arguments, and again with dates or types where it takes them."""
    found: dict[str, Callable[[], Any]] = {}
    for name, provider in sorted(vars(generator).items()):
        if name.startswith("_") or not callable(provider):
            continue
        parameters = inspect.signature(provider).parameters
        if not any(map(is_required, parameters.values())):
            found[name] = provider
        for label, given in forms(parameters):
            found[f"{name}({label})"] = partial(provider, **given)
    return found


def is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in {
        parameter.VAR_POSITIONAL,
        parameter.VAR_KEYWORD,
    }


def forms(parameters: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    names = set(parameters)
    if names & (STARTS | ENDS):
        for label, (first, last) in SPANS.items():
            starts = dict.fromkeys(names & STARTS, datetime.date(first, 1, 1))
            yield label, starts | dict.fromkeys(names & ENDS, datetime.date(last, 1, 1))
    for name in names & OTHERS.keys():
        yield name, {name: OTHERS[name]}


def shown(call: Callable[[], Any]) -> str:
    try:
        value = call()
        return repr(list(value)) if isinstance(value, Iterator) else repr(value)
    except Exception as error:  # noqa: BLE001 - what it raises is its value here
        return f"{type(error).__name__}: {error}"


def print_values(order: int) -> None:
    from faker import Faker

    generator = Faker("en_US", use_weighting=False).factories[0]
    digests = {}
    for name, call in list(calls(generator).items())[::order]:
        digest = blake2b(digest_size=8)
        for seed in SEEDS[:1] if name.partition("(")[0] in SLOW else SEEDS:
            generator.seed_instance(seed)
            digest.update(shown(call).encode())
        digests[name] = digest.hexdigest()
    print(json.dumps(digests))


def main() -> None:
    stop_the_clock(int(sys.argv[1]))
    if "reversed" not in sys.argv:
        print_values(1)
        return
    thread = threading.Thread(target=print_values, args=[-1])
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
