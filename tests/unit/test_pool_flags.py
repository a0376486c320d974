"""What the flags of a process pool may say."""

import pytest

from instrumentation import InvalidConfig
from workermanager.cli.pool import command
from workermanager.cli.pool_request import PoolRequest, read_settings, read_tasks
from workermanager.processes.halting import Halt, parse_halt
from workermanager.processes.sizes import parse_size

DEFAULTS = command.make_context("pool", []).params


def request(**flags):
    return PoolRequest(**{**DEFAULTS, **flags})


def test_every_flag_is_a_field_and_the_other_way_round():
    assert {*DEFAULTS} == {*PoolRequest._fields}


def test_without_flags_a_pool_has_two_threads_and_no_limits():
    settings = read_settings(request())
    assert (settings.slots, settings.timeout_ns, settings.retries) == (2, None, 0)
    assert (settings.grace_ns, settings.max_output) == (5 * 10**9, 256 * 10**6)
    assert settings.halt is None


def test_flags_are_read():
    settings = read_settings(
        request(max_threads="7", timeout="1m30s", retries="3", grace="0", max_output="1k")
    )
    assert (settings.slots, settings.timeout_ns, settings.retries) == (7, 90 * 10**9, 3)
    assert (settings.grace_ns, settings.max_output) == (0, 1000)


def test_auto_is_at_least_one():
    assert read_settings(request(max_threads="auto")).slots >= 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"max_threads": "0"}, "--max-threads '0': wanted a whole number from 1 on, or auto"),
        ({"max_threads": "-1"}, "--max-threads '-1'"),
        ({"max_threads": "²"}, "--max-threads '²'"),
        ({"max_threads": "1e3"}, "--max-threads '1e3'"),
        ({"max_threads": "9999999999"}, "--max-threads '9999999999'"),
        ({"retries": "-1"}, "--retries '-1': wanted a whole number from 0 on"),
        ({"timeout": "0"}, "--timeout 0"),
        ({"timeout": "soon"}, "--timeout"),
        ({"grace": "-1s"}, "--grace"),
        ({"max_output": "much"}, "--max-output 'much'"),
        ({"halt": "later,fail=1"}, "--halt 'later,fail=1'"),
        ({"halt": "now,fail=1", "keep_going": True}, "--keep-going and --halt"),
        ({"resume": True}, "--resume goes with --journal FILE"),
        ({"rerun_failed": True, "journal": "j"}, "--rerun-failed goes with --resume"),
    ],
)
def test_what_cannot_be_is_refused_by_the_name_of_the_flag(flags, said):
    with pytest.raises(InvalidConfig) as refusal:
        read_settings(request(**flags))
    assert said in str(refusal.value)


@pytest.mark.parametrize("flags", [{}, {"tasks": "[]", "infile": "x.json"}])
def test_tasks_come_from_one_place(flags):
    with pytest.raises(InvalidConfig, match="tasks"):
        read_tasks(request(**flags))


def test_a_python_file_without_a_name_in_it_is_no_file_of_tasks(tmp_path):
    (tmp_path / "flow.py").write_text('"""A workflow."""')
    with pytest.raises(InvalidConfig, match=r"flow\.py': wanted module:name or path/file\.py:name"):
        read_tasks(request(infile=str(tmp_path / "flow.py")))


@pytest.mark.parametrize(
    ("text", "halt"),
    [
        ("now,fail=1", Halt(is_now=True, fail=1)),
        ("soon,fail=12", Halt(is_now=False, fail=12)),
        ("soon,fail=10%", Halt(is_now=False, fail=10, is_percent=True)),
        ("now,fail=100%", Halt(is_now=True, fail=100, is_percent=True)),
    ],
)
def test_when_to_halt_is_read(text, halt):
    assert parse_halt(text, "--halt") == halt


@pytest.mark.parametrize(
    "text", ["", "now", "fail=1", "now,fail=0", "now,fail=101%", "now,fail=-1"]
)
def test_when_to_halt_is_refused_if_it_says_nothing(text):
    with pytest.raises(InvalidConfig, match="--halt"):
        parse_halt(text, "--halt")


def test_a_halt_is_reached_by_number_or_by_share():
    assert not Halt(is_now=True, fail=3).is_reached(2, 2)
    assert Halt(is_now=True, fail=3).is_reached(3, 1000)
    share = Halt(is_now=True, fail=10, is_percent=True)
    assert not share.is_reached(2, 21)
    assert share.is_reached(2, 20)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("4096B", 4096),
        ("256MB", 256 * 10**6),
        ("1 GiB", 1 << 30),
        ("3k", 3000),
        ("3KiB", 3072),
        ("2t", 2 * 10**12),
    ],
)
def test_sizes_are_read(text, size):
    assert parse_size(text, "--max-output") == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "1.5GB", "1XB", "1iB", "1" * 19])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InvalidConfig, match="--max-output"):
        parse_size(text, "--max-output")
