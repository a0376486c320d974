import json
import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from inspect import signature
from pathlib import Path

import pytest
from faker import Faker
from provider_values import SEEDS, calls

from instrumentation.errors import InvalidConfig
from instrumentation.unstable import _NEVER, _PARAMETERS, refuse_unstable

CONDITIONS = {
    "the same": {},
    "another hash seed": {"PYTHONHASHSEED": "1"},
    "another time zone": {"TZ": "Asia/Tokyo"},
    "7 seconds later": {"shift": "7"},
    "400 days later": {"shift": str(400 * 86_400)},
    "in the other order, in a thread": {"order": "reversed"},
}
NOT_SHOWN = {
    "time_delta": "from now to now: always 0",
    "future_date(early)": "an end before now: always an error",
    "xml": "needs xmltodict",
}
START, END = date(1980, 1, 1), date(2005, 12, 31)


def digests_under(condition):
    """The digest of what each call gives, from a process of its own."""
    set_to = CONDITIONS[condition]
    script = Path(__file__).with_name("provider_values.py")
    command = [sys.executable, str(script), set_to.get("shift", "0"), set_to.get("order", "")]
    environment = {
        **os.environ,
        "PYTHONHASHSEED": set_to.get("PYTHONHASHSEED", "0"),
        "TZ": set_to.get("TZ", "UTC"),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def unstable_under():
    """For each call the conditions under which its values differ."""
    first = digests_under("the same")
    others = {condition: digests_under(condition) for condition in CONDITIONS}
    return {
        name: [condition for condition in others if others[condition][name] != first[name]]
        for name in first
    }


@pytest.fixture(scope="module")
def generator():
    faker = Faker("en_US", use_weighting=False)
    refuse_unstable(faker)
    return faker.factories[0]


@pytest.fixture(scope="module")
def refusals(generator):
    """For each call the lines with which it refuses, one for each seed that it refuses with."""
    return {name: refusals_of(generator, call) for name, call in calls(generator).items()}


def refusals_of(generator, call):
    lines = []
    for seed in SEEDS:
        generator.seed_instance(seed)
        try:
            call()
        except InvalidConfig as refusal:
            lines.append(str(refusal))
        except Exception:  # noqa: BLE001 - one may need a library that is not installed
            continue
    return lines


def test_what_is_not_refused_gives_the_same_values_in_any_process(unstable_under, refusals):
    assert len(unstable_under) > 250
    assert {
        name: under for name, under in unstable_under.items() if under and not refusals[name]
    } == {}


def test_what_is_refused_is_really_unstable(unstable_under, refusals):
    stable = {name for name, under in unstable_under.items() if not under}
    assert {name for name in stable - NOT_SHOWN.keys() if refusals[name]} == set()


def test_a_provider_refuses_for_itself_and_with_every_seed(refusals):
    for name, lines in refusals.items():
        assert len(lines) in {0, len(SEEDS)}, name
        provider = re.escape(name.partition("(")[0])
        assert all(re.match(rf"ctx\.faker\.{provider}\b[^\n]+; [^\n]+$", line) for line in lines), (
            name
        )


def test_the_parameters_are_those_of_the_installed_version():
    generator = Faker("en_US").factories[0]
    for name, parameters in _PARAMETERS.items():
        assert list(signature(getattr(generator, name)).parameters)[: len(parameters)] == parameters
    assert not _NEVER.keys() & _PARAMETERS.keys()
    assert all(hasattr(generator, name) for name in _NEVER)


@pytest.mark.parametrize(
    ("name", "args", "line"),
    [
        (
            "date_between",
            (),
            (
                "ctx.faker.date_between: its values depend on the clock; give both ends as dates:"
                " date_between(start_date=date(1980, 1, 1), end_date=date(2005, 1, 1))"
            ),
        ),
        (
            "date_time",
            (),
            (
                "ctx.faker.date_time: its values depend on the clock; give its end as a date:"
                " date_time(end_datetime=date(2005, 1, 1))"
            ),
        ),
        (
            "date_between",
            (date(1960, 1, 1), END),
            (
                "ctx.faker.date_between: before 1970 its values depend on the machine's time zone;"
                " use ctx.faker.date_time_between(date(1950, 1, 1), date(2005, 12, 31)).date()"
            ),
        ),
        (
            "past_datetime",
            (),
            (
                "ctx.faker.past_datetime: its values depend on the clock;"
                " use ctx.now - timedelta(seconds=ctx.random.randrange(86_400))"
            ),
        ),
        (
            "pylist",
            (),
            (
                "ctx.faker.pylist: some of its values depend on the clock;"
                " say which types: pylist(value_types=[str, int])"
            ),
        ),
        (
            "tar",
            (4096, 1, 4096, "gz"),
            (
                "ctx.faker.tar: its values depend on the clock with compression='gz';"
                " use another compression"
            ),
        ),
    ],
)
def test_a_refusal_says_why_and_what_to_use(generator, name, args, line):
    with pytest.raises(InvalidConfig) as refused:
        getattr(generator, name)(*args)
    assert str(refused.value) == line


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("date_between", (START, END), {}),
        ("date_between", (START,), {"end_date": END}),
        ("date_between_dates", (), {"date_start": START, "date_end": END}),
        ("date_time_between", (date(1900, 1, 1), END), {}),
        ("date_time_between_dates", (datetime(1970, 1, 1, tzinfo=UTC), END, UTC), {}),
        ("time_series", (START, END), {}),
        ("date_time", (None, END), {}),
        ("date_time_ad", (UTC, END, START), {}),
        ("unix_time", (END, START), {}),
        ("date", ("%Y", END), {}),
        ("credit_card_expire", (START, END, "%Y"), {}),
        ("pylist", (3, False, [str, int]), {}),
        ("pystruct", (), {"allowed_types": [int]}),
        ("pyobject", (int,), {}),
    ],
)
def test_a_provider_with_what_makes_it_stable_is_called(generator, name, args, kwargs):
    generator.seed_instance(1)
    original = Faker("en_US", use_weighting=False).factories[0]
    original.seed_instance(1)
    given, expected = (getattr(g, name)(*args, **kwargs) for g in (generator, original))
    if name == "time_series":
        given, expected = list(given), list(expected)
    assert given == expected


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("date_between", (START,)),
        ("date_between", (START, "today")),
        ("date_between", (timedelta(-1), END)),
        ("date_between", (-1, END)),
        ("unix_time", (END, "-1y")),
        (
            "date_time_between_dates",
            (datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), END),
        ),
        ("date_between", (datetime(1969, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2))), END)),
        ("pylist", (3, False, [set])),
        ("pyobject", (list,)),
        ("parse", ("{{date_time}}",)),
        ("pystr_format", ("{{passport_gender}}",)),
    ],
)
def test_what_still_depends_on_more_than_the_seed_is_refused(generator, name, args):
    generator.seed_instance(1)
    with pytest.raises(InvalidConfig):
        getattr(generator, name)(*args)


@pytest.mark.parametrize("bare", [True, False])
@pytest.mark.parametrize("use", [lambda u: u.email(), lambda u: u.clear(), lambda u: u()])
def test_unique_refuses(bare, use):
    faker = Faker("en_US")
    faker = faker.factories[0] if bare else faker
    refuse_unstable(faker)
    with pytest.raises(InvalidConfig, match=r"use ctx\.unique\(ctx\.faker\.email\(\)\)$"):
        use(faker.unique)


def test_a_proxy_refuses_as_its_generator_does():
    faker = Faker("en_US")
    refuse_unstable(faker)
    with pytest.raises(InvalidConfig, match="clock"):
        faker.date_time()
    assert faker.email()


def test_a_generator_without_those_providers_is_left_alone():
    class Empty:
        pass

    refuse_unstable(Empty())
