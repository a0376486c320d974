"""Results of tasks that nobody ran, and a file system that is soon full."""

import resource
from contextlib import contextmanager

from workermanager.processes.capture import Capture
from workermanager.processes.task import Status, TaskResult


def captured(data, limit=1 << 40):
    """A stream of which ``limit`` bytes are kept; the caller closes it if that is many."""
    capture = Capture(limit)
    for begin in range(0, len(data), 1 << 16):
        capture.take(data[begin : begin + (1 << 16)])
    return capture


def result(identifier="a", status=Status.OK, exit_code=0, **more):
    return TaskResult(identifier, status, exit_code, **more)


@contextmanager
def files_of_at_most(size):
    """No file of this process can grow beyond that, as if there were no more room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
