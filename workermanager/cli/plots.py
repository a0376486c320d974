"""The two charts of a run's last minute: its rate beside the planned one, and its response."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

from workermanager.cli.charts import Column, compact, draw_columns, frame, round_up
from workermanager.cli.layout import beside, width_of
from workermanager.cli.standing import brief
from workermanager.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workermanager.cli.charts import Line
    from workermanager.cli.standing import Standing

__all__ = ["plot", "rate_in_words"]

_GAP: Final = 3
_MOST_WINDOWS: Final = 60
_LABEL: Final = 6  # a place that stays, whatever stands there: "1.5k/s", "250ms"
_THICKEST: Final = 6


def plot(standing: Standing, width: int, rows: int, *, is_shaded: bool) -> list[Line]:
    """Both charts side by side, ``rows`` high without their titles and feet (one line each)."""
    half = (width - _GAP) // 2
    windows = standing.windows[-_MOST_WINDOWS:]
    rates = [Column(one.rate, mark=one.due / one.seconds) for one in windows]
    times = [Column(one.response.p50_ms, light=one.response.p99_ms) for one in windows]
    return beside(
        [_rate_title(rates, half), *_chart(standing, rates, _per_second, half, rows)],
        [
            _response_title(times, half, is_shaded=is_shaded),
            *_chart(standing, times, _ms, half, rows, is_shaded=is_shaded),
        ],
        half,
        _GAP,
    )


def _rate_title(rates: Sequence[Column], width: int) -> Line:
    if not rates:
        return [("rate", "bold")]
    now, planned = rate_in_words(rates[-1].solid), rate_in_words(rates[-1].mark)
    return _fitting(
        [
            ("rate  ", "bold"),
            ("█ ", "rate"),
            (f"{now}  ", ""),
            ("─ ", "mark"),
            (f"due {planned}", ""),
        ],
        width,
    )


def _response_title(times: Sequence[Column], width: int, *, is_shaded: bool) -> Line:
    if not times:
        return [("response", "bold")]
    p50, p99 = (_ms(figure) if figure else "-" for figure in times[-1][:2])
    light = "░ " if is_shaded else "█ "
    return _fitting(
        [
            ("response  ", "bold"),
            ("█ ", "p50"),
            (f"p50 {p50}  ", ""),
            (light, "p99"),
            (f"p99 {p99}", ""),
        ],
        width,
    )


def _fitting(title: Line, width: int) -> Line:
    """The title, or without its word where its figures would not fit."""
    return title if width_of(title) <= width else title[1:]


def _chart(
    standing: Standing,
    columns: Sequence[Column],
    label: Callable[[float], str],
    width: int,
    rows: int,
    *,
    is_shaded: bool = False,
) -> list[Line]:
    room = width - _LABEL - 2
    thick = _thickness(standing, room)
    shown = columns[-(room // thick) :]
    top = round_up(max((max(column) for column in shown), default=0))
    kind = "rate" if label is _per_second else "times"
    drawn = [
        [(text, f"{kind}.{ink}" if ink else "") for text, ink in line]
        for line in draw_columns(shown, rows=rows, top=top, thick=thick, is_shaded=is_shaded)
    ]
    windows = standing.windows[-len(shown) :] if shown else ()
    seconds = windows[-1].at_s - windows[0].at_s + windows[0].seconds if windows else 0
    caption = f"last {brief(seconds)}" if shown else "no second is over yet"
    return frame(drawn, f"{label(top) if shown else '':>{_LABEL}}", caption, room)


def _thickness(standing: Standing, room: int) -> int:
    """How wide a column is: a run too short to fill its chart gets columns that do."""
    planned = ceil(standing.planned_s or 0)
    return max(1, min(_THICKEST, room // planned)) if planned else 1


def rate_in_words(rate: float) -> str:
    """A rate as exact as it is worth."""
    return f"{rate:,.0f}/s" if rate >= 1_000 else _per_second(rate)  # noqa: PLR2004 - 1.23k is less


def _per_second(value: float) -> str:
    return f"{compact(value)}/s"


def _ms(value: float) -> str:
    return format_duration(round(value * 1e6))
