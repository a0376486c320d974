"""The design that most tools have: a thread sleeps until something is due and submits it."""

import threading
import time


def run_clock_thread(due_ns, start):
    """Call ``start(n, due)`` for each moment (of time.monotonic_ns), in a thread of its own.

    Gives how late that thread came to each of them, in nanoseconds.
    """
    late = []

    def serve():
        for n, due in enumerate(due_ns):
            while (ahead := due - time.monotonic_ns()) > 0:
                time.sleep(ahead / 1e9)
            late.append(time.monotonic_ns() - due)
            start(n, due)

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    return late
