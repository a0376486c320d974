"""Jobs that do little, heed their context, or hang; and the end of a job pool's threads."""

import gc
import threading

from workermanager import Job

BEYOND = 10  # seconds in which anything that is going to happen has


def same(context, value):
    return value


def heed(context, _):
    context.sleep(60)


def plain(count):
    return [Job(number, same, number) for number in range(count)]


class Hanging:
    """A job that ignores its context until it is let go."""

    def __init__(self):
        self.let_go = threading.Event()
        self.begun = threading.Semaphore(0)

    def __call__(self, context, value):
        self.begun.release()
        assert self.let_go.wait(BEYOND)
        return value


def wait_for_threads():
    for thread in threading.enumerate():
        if thread.name.startswith("job-pool"):
            thread.join(BEYOND)
            assert not thread.is_alive()


def wait_for_no_thread():
    gc.collect()
    assert not [one for one in threading.enumerate() if one.name.startswith("job-pool")]
