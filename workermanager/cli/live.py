"""How a run goes, on a terminal: the live view, drawn anew four times a second."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console
from rich.live import Live as RichLive
from rich.segment import Segment
from rich.style import Style

from workermanager.cli.progress import Silence
from workermanager.cli.standing import Standing
from workermanager.cli.view import View

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderResult

    from workermanager.cli.charts import Line
    from workermanager.run import Run
    from workermanager.thresholds import Verdict

__all__ = ["Live"]

_STYLES: Final = {
    "good": "green",
    "warn": "yellow",
    "bad": "bold red",
    "now": "cyan",
    "rate": "green",
    "rate.solid": "green",
    "mark": "yellow",
    "rate.mark": "yellow",
    "p50": "cyan",
    "p99": "magenta",
    "times.solid": "cyan",
    "times.light": "magenta",
    "times.both": "cyan on magenta",
}
# One character for one, so that everything stays where it was put.
_ASCII: Final = str.maketrans("▁▂▃▄▅▆▇█░━╸─│┤└✓✗…µ", "___==###:==-||++x.u")


class Live(Silence):
    """A view of the run on the terminal's last lines, on standard error.

    It takes the terminal's size at every redraw.
    """

    every_s = 0.25

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._view = View()
        self._width = self._console.width
        self._seen: tuple[object, list[Verdict]] = (None, [])
        self._live = RichLive(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # what steps print to a file belongs there
        )

    def __enter__(self) -> Self:
        """Take over the terminal's last lines."""
        self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Give them back."""
        self._live.stop()

    def show(self, run: Run) -> None:
        """Draw how the run stands."""
        width = self._console.width
        if width < self._width:
            self._console.clear()  # the terminal has folded the lines: nobody knows how many
        self._width = width
        windows = run.watch.series.windows
        if windows is not self._seen[0]:  # they change once a second: so do the thresholds
            self._seen = windows, run.verdicts()
        frame = _Frame(self._view, Standing.of(run, self._seen[1]))
        self._live.update(frame, refresh=True)

    def write(self, text: str) -> None:
        """Put a log line above the view."""
        self._console.print(text, end="", markup=False, soft_wrap=True)


class _Frame:
    """One standing of a run, in the size that the terminal has when it is printed."""

    def __init__(self, view: View, standing: Standing) -> None:
        self._view = view
        self._standing = standing
        self._drawn: tuple[object, list[Line]] = (None, [])  # a log line prints it again

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        is_shaded = console.no_color or console.color_system is None or options.ascii_only
        # The last line stays free: the terminal would scroll.
        size = options.max_width, options.size.height - 1
        if size != self._drawn[0]:
            self._drawn = size, self._view.draw(self._standing, *size, is_shaded=is_shaded)
        for place, line in enumerate(self._drawn[1]):
            if place:
                yield Segment.line()
            for text, ink in line:
                yield Segment(_encodable(text, options), _style(ink))


def _encodable(text: str, options: ConsoleOptions) -> str:
    if not options.ascii_only:
        return text
    return text.translate(_ASCII).encode("ascii", "replace").decode()


@cache
def _style(ink: str) -> Style:
    return Style.parse(_STYLES.get(ink, ink))
