"""The live view on a real pseudo-terminal: it fits, follows the terminal's size, and goes away."""

import codecs
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import pytest
from conftest import TARGETS

ENDLESS = ("--execs-per-tick", "20", "--tick-duration", "100ms")
CLEARED = "\x1b[2J\x1b[H"


class Terminal:
    """A pseudo-terminal of a size, and what a program prints on it."""

    def __init__(self, columns, rows):
        self._ours, self.theirs = pty.openpty()
        self.resize(columns, rows)

    def resize(self, columns, rows):
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(
            self.theirs if self.theirs is not None else self._ours, termios.TIOCSWINSZ, size
        )

    def give_away(self):
        """The program alone holds the terminal's other end, so that its end can be seen."""
        os.close(self.theirs)
        self.theirs = None

    def read_until(self, *wanted):
        """What comes until each of these texts came after the one before; all without any."""
        shown, decode = "", codecs.getincrementaldecoder("utf-8")("replace").decode
        with suppress(OSError):  # Linux says EIO when the last writer has closed
            while chunk := os.read(self._ours, 65_536):
                shown += decode(chunk)
                if wanted and has_in_order(shown, wanted):
                    return shown
        assert not wanted, shown
        return shown

    def close(self):
        os.close(self._ours)
        if self.theirs is not None:
            os.close(self.theirs)


def has_in_order(text, wanted):
    place = 0
    for part in wanted:
        place = text.find(part, place) + len(part)
        if place < len(part):
            return False
    return True


@pytest.fixture
def begin(tmp_path, environment):
    """Begins ``workermanager run`` of a target on a terminal of its own."""
    begun = []
    for name in ("COLUMNS", "LINES"):  # the terminal's own size counts
        environment.pop(name, None)

    def begin(columns, rows, target, *args, **settings):
        terminal = Terminal(columns, rows)
        process = subprocess.Popen(
            [sys.executable, "-m", "workermanager", "run", f"{TARGETS}:{target}", *args],
            **dict.fromkeys(("stdin", "stdout", "stderr"), terminal.theirs),
            cwd=tmp_path,
            env={**environment, "TERM": "xterm-256color", **settings},
        )
        terminal.give_away()
        begun.append((terminal, process))
        return terminal, process

    yield begin
    for terminal, process in begun:
        process.kill()
        process.wait()
        terminal.close()


def frames(shown):
    """Each redraw by itself, as plain text; in front of each the terminal goes up to its start."""
    parts = re.split(r"(?:\r?\x1b\[2K|\x1b\[1A|\x1b\[2J|\x1b\[H)+", shown)
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", part) for part in parts]


def widest(shown):
    return max(len(line) for frame in frames(shown) for line in frame.split("\n"))


def highest(shown):
    return max(frame.count("\n") + 1 for frame in frames(shown))


def test_it_fits_follows_the_terminals_size_and_goes_away(begin):
    terminal, process = begin(80, 24, "ok", *ENDLESS)
    wide = terminal.read_until("last 1s", "service", "rate")
    assert "█" in wide
    assert widest(wide) <= 80
    assert highest(wide) <= 23

    terminal.resize(62, 16)
    narrow = terminal.read_until(CLEARED, "tick", "tick", "tick")
    _, _, after = narrow.partition("\x1b[2J")
    assert "tick" in after
    assert widest(after) <= 62
    assert highest(after) <= 15

    terminal.resize(30, 5)
    tiny = terminal.read_until(CLEARED, "running", "running", "running")
    _, _, after = tiny.partition("\x1b[2J")
    assert widest(after) <= 30
    assert highest(after) <= 4

    terminal.resize(100, 40)
    process.terminate()
    rest = terminal.read_until()
    assert process.wait() == 105
    assert "interrupted" in frames(rest)[-1]  # the summary
    assert "running" not in frames(rest)[-1]  # the view
    assert "\x1b[?25h" in rest  # the cursor is back


def test_it_says_that_it_is_stopping(begin):
    terminal, process = begin(80, 24, "waits", "--set", "marker=m", *ENDLESS)
    terminal.read_until("running")
    process.terminate()
    terminal.read_until("stopping (once more stops now)")
    process.terminate()
    terminal.read_until()
    assert process.wait() == 105


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1"])
def test_a_terminal_that_is_not_utf_8_gets_ascii(begin, encoding):
    terminal, process = begin(
        *(80, 24, "ok", *ENDLESS), PYTHONIOENCODING=f"{encoding}:backslashreplace", NO_COLOR="1"
    )
    shown = terminal.read_until("last 1s", "service", "rate")
    assert shown.isascii()
    assert "#" in shown
    assert "\\x" not in shown  # what Python makes of the others
    assert "\\u" not in shown
    process.terminate()
    terminal.read_until()
    assert process.wait() == 105
