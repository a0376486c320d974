"""Child processes: how they tell a test that they have begun, and how it sees their end."""

import os
import select

__all__ = ["Pipe", "Sightings"]

PATIENCE_S = 30


class Pipe:
    """A named pipe between the test and children, which open it by its path."""

    def __init__(self, path):
        os.mkfifo(path)
        self.path = str(path)
        self._descriptor = os.open(path, os.O_RDWR)  # nobody's open blocks, and nobody's end is one

    def read_lines(self, count):
        """Wait for so many lines, from any number of children."""
        data = b""
        while data.count(b"\n") < count:
            ready, _, _ = select.select([self._descriptor], [], [], PATIENCE_S)
            assert ready, f"only {data!r} was written"
            data += os.read(self._descriptor, 4_096)
        return data.decode().split()

    def write(self, text):
        os.write(self._descriptor, text.encode())

    def close(self):
        os.close(self._descriptor)


class Sightings:
    """Processes that were seen alive."""

    def __init__(self):
        self._descriptors = []

    def add(self, pid):
        self._descriptors.append(os.pidfd_open(int(pid)))

    @property
    def are_alive(self):
        """How many of them live; a zombie does not."""
        return sum(not select.select([one], [], [], 0)[0] for one in self._descriptors)

    def have_ended(self):
        """Wait until none lives."""
        return all(select.select([one], [], [], PATIENCE_S)[0] for one in self._descriptors)

    def close(self):
        for one in self._descriptors:
            os.close(one)
