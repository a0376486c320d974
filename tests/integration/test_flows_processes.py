"""Stages in processes: what they return, how they die, and that none is left behind."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workermanager import SKIP, Context, Pipeline, PipelineFailed, TimedOut, WorkerManagerError

ROOT = Path(__file__).parents[2]


def square(item):
    return item * item if item != 3 else SKIP


def where(_item):
    return os.getpid()


def die(item):
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def fail(item):
    raise ValueError(f"bad {item}")


def hang(item):
    if item == 1:
        time.sleep(3_600)
    return item


class Unreadable(Exception):
    def __init__(self, one, two):
        super().__init__(one)


def fail_unreadably(item):
    raise Unreadable(1, 2)


def unsendable(item):
    return lambda: item


@pytest.fixture(autouse=True)
def _no_process_is_left_behind():
    yield
    assert multiprocessing.active_children() == []


def test_items_go_there_and_back():
    report_of = Pipeline(range(6), ordered=True).stage(square, workers=2, processes=True).start()
    assert list(report_of) == [0, 1, 4, 16, 25]
    assert report_of.report.filtered == 1


def test_every_worker_has_a_process_of_its_own():
    [pid] = {*Pipeline(range(3)).stage(where, processes=True)}
    assert pid != os.getpid()


def test_a_process_that_is_killed_is_an_error_that_names_it():
    with pytest.raises(PipelineFailed) as raised:
        Pipeline(range(5)).stage(die, processes=True).run()
    [error] = raised.value.exceptions
    assert isinstance(error, WorkerManagerError)
    assert str(error).startswith("stage 'die': process ")
    assert str(error).endswith(" was killed by SIGKILL in the middle of an item")


def test_a_process_that_leaves_is_an_error_too():
    with pytest.raises(PipelineFailed) as raised:
        Pipeline([3]).stage(os._exit, name="leave", processes=True).run()
    assert "left with 3 in the middle of an item" in str(raised.value.exceptions[0])


def test_after_a_killed_process_another_one_goes_on():
    rejected = []
    found = list(Pipeline(range(5)).stage(die, processes=True, dead_letters=rejected))
    assert found == [0, 1, 3, 4]
    assert [one.item for one in rejected] == [2]


def test_an_error_comes_back_with_its_traceback():
    rejected = []
    Pipeline([1]).stage(fail, processes=True, dead_letters=rejected).run()
    error = rejected[0].error
    assert (type(error), str(error)) == (ValueError, "bad 1")
    assert "in fail" in error.__notes__[0]


@pytest.mark.parametrize(
    ("fn", "told"),
    [(fail_unreadably, "cannot be sent back: Unreadable: 1"), (unsendable, "cannot be sent back")],
)
def test_what_cannot_be_sent_back_is_an_error_of_its_item(fn, told):
    rejected = []
    Pipeline([1]).stage(fn, processes=True, dead_letters=rejected).run()
    assert told in str(rejected[0].error)


def test_an_item_that_cannot_be_sent_is_an_error_of_that_item():
    rejected = []
    items = [1, lambda: 2, 4]
    found = list(Pipeline(items).stage(square, processes=True, dead_letters=rejected))
    assert found == [1, 16]
    assert [one.item for one in rejected] == [items[1]]


def test_a_process_that_takes_too_long_is_killed():
    rejected = []
    stage = {"processes": True, "timeout": 0.5, "dead_letters": rejected}
    assert list(Pipeline(range(3)).stage(hang, **stage)) == [0, 2]
    assert isinstance(rejected[0].error, TimedOut)
    assert not rejected[0].error.still_running


def test_an_item_may_be_given_a_month():
    assert list(Pipeline([2]).stage(square, processes=True, timeout="720h")) == [4]


def test_a_cancel_kills_what_computes():
    context = Context()
    flow = Pipeline([0, 1]).stage(hang, processes=True).start(context=context)
    results = iter(flow)
    assert next(results) == 0
    context.cancel("enough")
    with pytest.raises(BaseException, match="enough"):
        next(results)
    assert (flow.report.read, flow.report.delivered, flow.report.cancelled) == (2, 1, 1)


PROGRAM = """
from workermanager import Pipeline

def compute(item):
    print("computing", flush=True)
    while True:
        pass

if __name__ == "__main__":
    Pipeline([1]).stage(compute, processes=True).run()
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_computes_ends_with_the_program_that_started_it(tmp_path, how):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    command = [sys.executable, str(script)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    ) as program:
        try:
            assert program.stdout.readline() == b"computing\n"
            program.send_signal(how)
            assert program.stdout.read() == b""  # which it is once nobody is left to write
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
