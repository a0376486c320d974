"""A task's program for the tests that kill the pool: it notes that it runs, and is alone in it.

``locking.py FILE [GATE]`` appends a line to FILE, and does not end by itself if GATE is there.
While it runs, FILE is locked: the system lets go of that when the process ends, however it does.
"""

import fcntl
import os
import signal
import sys

LONGEST_S = 50  # whoever is forgotten ends by itself


def main(path, gate=None):
    signal.alarm(LONGEST_S)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.write(file, b"together\n")
    else:
        os.write(file, b"ran\n")
    if gate and os.path.exists(gate):  # noqa: PTH110 - pathlib takes longer to import than all else
        signal.pause()


main(*sys.argv[1:])
