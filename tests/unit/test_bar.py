"""The progress of a process pool, with the time as an argument."""

import io

from workermanager.cli.bar import Bar
from workermanager.processes.task import Status, TaskResult

SECOND = 1_000_000_000


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.ns = 0

    def __call__(self):
        return self.ns


def end(bar, status=Status.OK):
    bar.ended(0, TaskResult("it", status, 0))


def test_the_time_that_is_left_goes_by_the_pace_of_this_run():
    clock = Clock()
    bar = Bar(100, 40, io.StringIO(), clock)
    clock.ns = 10 * SECOND
    for _ in range(20):
        end(bar)
    line = bar.line(clock.ns)
    assert "60/100" in line
    assert "2.0/s" in line
    assert "20s left" in line
    assert line.startswith("━" * 18)


def test_what_is_not_ok_is_counted():
    bar = Bar(3, 0, io.StringIO(), Clock())
    for status in (Status.OK, Status.FAILED, Status.SKIPPED):
        end(bar, status)
    assert "2 not ok" in bar.line(SECOND)


def test_the_last_line_says_how_long_it_took():
    clock = Clock()
    stream = io.StringIO()
    bar = Bar(1, 0, stream, clock)
    clock.ns = 3 * SECOND
    end(bar)
    bar.close()
    assert stream.getvalue().endswith("1/1  0 not ok  0.3/s  in 3s\n")


def test_without_a_terminal_there_is_a_line_every_ten_seconds():
    clock = Clock()
    stream = io.StringIO()
    bar = Bar(100, 0, stream, clock)
    for _ in range(25):
        clock.ns += SECOND
        end(bar)
    assert stream.getvalue().count("\n") == 2
    assert "\r" not in stream.getvalue()


def test_on_a_terminal_the_line_is_written_over_and_left_at_the_end():
    clock = Clock()
    stream = Terminal()
    bar = Bar(2, 0, stream, clock)
    for _ in range(2):
        clock.ns += SECOND
        end(bar)
    assert stream.getvalue().count("\r") == 2
    assert "\n" not in stream.getvalue()
    bar.close()
    assert stream.getvalue().endswith("\x1b[K\n")


def test_no_tasks_are_all_done():
    assert "0/0" in Bar(0, 0, io.StringIO(), Clock()).line(SECOND)


def test_a_stream_that_nobody_reads_ends_nothing():
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    bar = Bar(1, 0, Gone(), Clock())
    end(bar)
    bar.close()
