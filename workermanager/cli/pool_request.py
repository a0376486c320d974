"""What the command line asks of a process pool, and what is wrong with it."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, NamedTuple

from instrumentation.errors import InvalidConfig
from workermanager.durations import parse_duration
from workermanager.processes.pool import PoolSettings
from workermanager.processes.reading import read_file, read_text
from workermanager.processes.sizes import parse_size

if TYPE_CHECKING:
    from workermanager.processes.tasks import Tasks

__all__ = ["PoolRequest", "read_settings", "read_tasks"]


class PoolRequest(NamedTuple):
    """What the command line asks of a pool, as it stands there."""

    tasks: str | None
    infile: str | None
    outfile: str | None
    as_completed: bool
    results: str | None
    compat: bool
    dry_run: bool
    max_threads: str
    timeout: str | None
    retries: str
    grace: str
    max_output: str
    halt: str | None
    keep_going: bool
    journal: str | None
    resume: bool
    rerun_failed: bool
    bar: bool
    verbose: bool


def read_settings(request: PoolRequest) -> PoolSettings:
    """How the pool is to go about its tasks.

    Raises:
        InvalidConfig: a flag has a value that cannot be, or two exclude each other.
    """
    if request.keep_going and request.halt is not None:
        raise InvalidConfig("--keep-going and --halt: one of them")
    if request.rerun_failed and not request.resume:
        raise InvalidConfig("--rerun-failed goes with --resume")
    if request.resume and request.journal is None:
        raise InvalidConfig("--resume goes with --journal FILE")
    timeout_ns = None
    if request.timeout is not None:
        timeout_ns = parse_duration(request.timeout, "--timeout")
        if not timeout_ns:
            raise InvalidConfig("--timeout 0: wanted more than that")
    halt = None
    if request.halt is not None:
        from workermanager.processes.halting import parse_halt  # noqa: PLC0415 - few pools have one

        halt = parse_halt(request.halt, "--halt")
    return PoolSettings(
        slots=_read_slots(request.max_threads),
        timeout_ns=timeout_ns,
        retries=_read_count(request.retries, "--retries", 0),
        grace_ns=parse_duration(request.grace, "--grace"),
        max_output=parse_size(request.max_output, "--max-output"),
        halt=halt,
    )


def _read_slots(text: str) -> int:
    if text == "auto":
        return (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
    return _read_count(text, "--max-threads", 1, ", or auto")


def _read_count(text: str, name: str, least: int, also: str = "") -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else -1  # noqa: PLR2004 - 1e9
    if number < least:
        raise InvalidConfig(f"{name} {text!r}: wanted a whole number from {least} on{also}")
    return number


def read_tasks(request: PoolRequest) -> Tasks:
    """The tasks, wherever they are, all of them looked at.

    Raises:
        InvalidConfig: there are none to be found, or one of them cannot be.
    """
    if request.infile is not None:
        if request.tasks is not None and not request.compat:
            raise InvalidConfig("tasks are given both as TASKS_JSON and by --infile: one of them")
        is_file = os.path.lexists(request.infile)
        if request.infile.endswith(".py") or (":" in request.infile and not is_file):
            return _read_target(request.infile)
        return read_file(request.infile, is_lenient=request.compat)
    if request.tasks is None:
        raise InvalidConfig("no tasks: give TASKS_JSON, or --infile FILE (- is standard input)")
    return read_text(request.tasks, is_lenient=request.compat)


def _read_target(target: str) -> Tasks:
    """The tasks that the Python form of a workflow stands for: ``flow.py:name``."""
    from workermanager.cli.target import find_worker  # noqa: PLC0415 - what other pools do without
    from workermanager.processes.tasks import Tasks  # noqa: PLC0415
    from workermanager.processes.workflow import tasks_of  # noqa: PLC0415

    with redirect_stdout(sys.stderr):  # what it prints is no result
        flow = find_worker(target).instrumentation
    return Tasks.of(tasks_of(flow, target), target)
