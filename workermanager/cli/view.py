"""The live view of a run as lines: what it shows, in which order, and what has to go."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

from workermanager.cli.charts import draw_bar
from workermanager.cli.layout import ROOM, TableColumn, crop, flow, shorten, tabulate, width_of
from workermanager.cli.plots import plot, rate_in_words
from workermanager.cli.standing import Standing, brief, in_unit, is_broken, time
from workermanager.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workermanager.cli.charts import Line, Span
    from workermanager.quantiles import Durations
    from workermanager.telemetry import StepFigures
    from workermanager.thresholds import Verdict

__all__ = ["View"]

_NARROWEST: Final = 60  # below either, only the essentials
_LOWEST: Final = 12
_WIDEST: Final = 140
_MOST_STEPS: Final = 8
# How many steps, kinds of errors and lines of thresholds there are, and if there are rows: the
# first that leaves room for the charts.
_CUTS: Final = (
    (_MOST_STEPS, 3, 4, True),
    (6, 2, 3, True),
    (4, 1, 2, True),
    (2, 1, 1, False),
    (0, 1, 1, False),
)
_LOWEST_CHART: Final = 3
_MARKS: Final = {"good": "✓", "warn": "!", "bad": "✗"}
_ALWAYS: Final = ("due", "ok", "failed", "running", "queued")
_INKS: Final = {"ok": "good", "failed": "bad", "dropped": "warn", "expired": "warn"}
_TIMES: Final = ("response", "lag", "service")


class View:
    """Draws how a run stands in the room there is.

    What changes once a second, the charts and the table of times, is drawn once a second.
    """

    def __init__(self) -> None:
        self._table: tuple[object, list[Line]] = (None, [])
        self._charts: tuple[object, list[Line]] = (None, [])

    def draw(
        self, standing: Standing, width: int, height: int, *, is_shaded: bool = False
    ) -> list[Line]:
        """At most ``height`` lines of at most ``width`` cells.

        ``is_shaded`` is for terminals without colours.
        """
        width = min(width, _WIDEST)
        if width < _NARROWEST or height < _LOWEST:
            lines = _essentials(standing, width)
        else:
            lines = self._whole(standing, width, height, is_shaded=is_shaded)
        return [crop(line, width) for line in lines[:height]]

    def _whole(self, standing: Standing, width: int, height: int, *, is_shaded: bool) -> list[Line]:
        head = _head(standing, width)
        counts = flow("execs", _counts(standing), width)
        table = self._make_table(standing, width)
        room = height - len(head) - len(counts)
        for most_steps, kinds, promises, has_rows in _CUTS:
            times = _cut(table, len(standing.figures.steps), most_steps)
            foot = _thresholds(standing, width, promises)
            foot += _database(standing, width) if has_rows else []
            foot += _errors(standing, width, kinds)
            spare = room - len(times) - len(foot) - _LOWEST_CHART - 2
            if spare >= 0:
                break
        else:
            return [*head, *counts, *times, *foot]
        rows = _LOWEST_CHART + (spare > 0)
        spare -= spare > 0
        blank: list[Line] = [[]] if spare > 1 else []  # above the counts and below the times
        rows += min(2, spare - 2 * len(blank))
        charts = self._make_charts(standing, width, rows, is_shaded=is_shaded)
        return [*head, *charts, *blank, *counts, *times, *blank, *foot]

    def _make_table(self, standing: Standing, width: int) -> list[Line]:
        key = (standing.windows, int(standing.elapsed_s), width)
        if key != self._table[0]:
            self._table = key, _times(standing, width)
        return self._table[1]

    def _make_charts(
        self, standing: Standing, width: int, rows: int, *, is_shaded: bool
    ) -> list[Line]:
        key = (standing.windows, width, rows, is_shaded)
        if key != self._charts[0]:
            self._charts = key, plot(standing, width, rows, is_shaded=is_shaded)
        return self._charts[1]


def _essentials(standing: Standing, width: int) -> list[Line]:
    window = standing.windows[-1] if standing.windows else None
    p50, p99 = standing.figures.response.percentiles(50, 99)
    rate = rate_in_words(window.rate) if window else "-"
    broken = [_promise(one) for one in standing.verdicts if is_broken(one)]
    return [
        *_head(standing, width),
        *flow("execs", _counts(standing), width),
        *flow("rate", [[(rate, "")]], width),
        *flow("response", [[(f"p50 {time(p50)}", "")], [(f"p99 {time(p99)}", "")]], width),
        *flow("thresholds", broken, width),
        *_errors(standing, width, 1),
    ]


# At the top: who, how long, how far


def _head(standing: Standing, width: int) -> list[Line]:
    health = standing.health
    state_ink = health if standing.state == "running" else "warn"
    facts: Line = [(f"  {standing.state}", state_ink)]
    facts += [(f"  {brief(standing.elapsed_s)}  {standing.tick}", "")]
    name = shorten(one_line(standing.name), max(8, width - 2 - width_of(facts)))
    title: Line = [(f"{_MARKS[health]} ", health), (name, "bold"), *facts]
    identity = f"run {one_line(standing.id)}"
    gap = width - width_of(title) - len(identity)
    if gap > 1:
        title += [(" " * gap + identity, "dim")]
    return [title, *([_bar(standing, width)] if standing.share is not None else [])]


def _bar(standing: Standing, width: int) -> Line:
    share, left = standing.share or 0.0, standing.left_s
    words = f" {int(share * 100):3} %"
    words += f"  {brief(ceil(left))} left" if left is not None and share < 1 else ""
    done, rest = draw_bar(share, max(4, width - len(words)))
    return [(done, "good"), (rest, "dim"), (words, "")]


# Counts and times


def _counts(standing: Standing) -> list[Line]:
    counts = standing.counts
    items: list[Line] = [[("warm-up", "warn")]] if standing.is_warming_up else []
    for name in (*_ALWAYS, *(one for one in counts if one not in _ALWAYS and counts[one])):
        count = counts[name]
        ink = _INKS.get(name, "") if count else ""
        if name == "queued" and count > standing.threads:
            ink = "warn"
        threads = f" of {standing.threads:,}" if name == "running" else ""
        items.append([(f"{name} ", "dim"), (f"{count:,}", ink), (threads, "dim")])
    return items


def _times(standing: Standing, width: int) -> list[Line]:
    """The table of times: titles, three figures of every run, its first steps."""
    figures = standing.figures
    window = standing.windows[-1] if standing.windows else None
    steps = dict(list(figures.steps.items())[:_MOST_STEPS])
    in_all = [getattr(figures, name) for name in _TIMES] + [one.service for one in steps.values()]
    now: list[Durations | None] = [getattr(window, name) if window else None for name in _TIMES]
    for name in steps:
        step = window.steps.get(name) if window else None
        now.append(step.service if step else None)
    names: list[Span] = [(name, "") for name in _TIMES]
    names += [(f"  {one_line(name)}", "") for name in steps]
    percentiles = [histogram.percentiles(50, 95, 99, 100) for histogram in in_all]
    columns = [*_now(now), *_in_all(percentiles), *_outcomes(list(steps.values()))]
    return tabulate(names, columns, width)


def _now(durations: Sequence[Durations | None]) -> list[TableColumn]:
    columns = []
    for name, spare in (("p50", 5), ("p99", 4)):
        figures = [getattr(one, f"{name}_ms") if one else 0.0 for one in durations]
        cells = [(time(figure * 1e6), "now") for figure in figures]
        columns.append(TableColumn(f"{name} now", cells, spare))
    return columns


def _in_all(percentiles: Sequence[tuple[float, ...]]) -> list[TableColumn]:
    return [
        TableColumn(title, [(time(row[place]), "") for row in percentiles], spare)
        for place, (title, spare) in enumerate((("p50", 0), ("p95", 3), ("p99", 0), ("max", 2)))
    ]


def _outcomes(steps: Sequence[StepFigures]) -> list[TableColumn]:
    """How often each step did what; a column of nothing but zeros is left out."""
    columns = []
    for name, ink, spare in (
        *(("ok", "", 0), ("failed", "bad", 0)),
        *(("retried", "warn", 1), ("timed out", "warn", 2)),
    ):
        counts = [getattr(step, name.replace(" ", "_")) for step in steps]
        if any(counts):
            cells: list[Span] = [("", "")] * len(_TIMES)
            cells += [(f"{count:,}", ink if count else "dim") for count in counts]
            columns.append(TableColumn(name, cells, spare))
    return columns


def _cut(table: Sequence[Line], steps: int, most: int) -> list[Line]:
    """The table of times with at most so many lines for its steps."""
    before = len(table) - min(steps, _MOST_STEPS)
    if steps <= most:
        return [*table]
    shown = max(0, most - 1)
    more: Line = [(f"  and {steps - shown:,} more steps", "dim")]
    return [*table[: before + shown], *([more] if most else [])]


# At the foot: what was promised, what was written, what went wrong


def _thresholds(standing: Standing, width: int, most: int) -> list[Line]:
    """Each with its state, those that are not kept first."""
    verdicts = sorted(standing.verdicts, key=lambda verdict: not is_broken(verdict))
    return flow("thresholds", [_promise(verdict) for verdict in verdicts], width, most)


def _promise(verdict: Verdict) -> Line:
    words = (f"{one_line(verdict.expression)} ", "dim")
    if verdict.value is None:
        return [("… ", "dim"), words, ("not measured yet", "dim")]
    state = "good" if verdict.passed else "bad"
    value = in_unit(verdict)
    if not verdict.passed and verdict.at_s is not None:
        value += f" at {brief(verdict.at_s)}"
    if verdict.aborted:
        value += ", ended the run"
    return [(f"{_MARKS[state]} ", state), words, (value, "" if verdict.passed else "bad")]


def _database(standing: Standing, width: int) -> list[Line]:
    figures = standing.figures
    rows: list[Line] = [
        [(f"{one_line(table)} ", "dim"), (f"{count:,}", "")]
        for table, count in figures.rows.items()
    ]
    lines = flow("rows", rows, width, 1)
    if figures.database is not None:
        retries = figures.database.retries.items()
        again: list[Line] = [
            [(f"{count:,}", "warn"), (f" x {one_line(code)}", "")] for code, count in retries
        ]
        lines += flow("tried again", again, width, 1)
    return lines


def _errors(standing: Standing, width: int, most: int) -> list[Line]:
    kinds = standing.figures.errors
    lines: list[Line] = []
    for kind in kinds[:most]:
        label = f"{'' if lines else 'errors':<{ROOM}}"
        where = f"{one_line(kind.step)}: {one_line(kind.type)}"
        line = [(label, "dim"), (f"{kind.count:,}", "bad"), (f" x {where}", "")]
        lines.append(crop([*line, (f"  {one_line(kind.example)}", "dim")], width))
    if len(kinds) > most and lines:
        more = f"  and {len(kinds) - most:,} more kinds"
        lines[-1] = [*crop(lines[-1], width - len(more)), (more, "dim")]
    return lines
