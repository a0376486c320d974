"""The report's parts that are text: written here, so that they can be read without JavaScript."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from workermanager.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from workermanager.quantiles import Durations
    from workermanager.report import Report
    from workermanager.thresholds import Verdict

__all__ = [
    "accounting",
    "errors",
    "facts",
    "figures",
    "head",
    "plan",
    "rows",
    "thresholds",
    "times",
]

_PERCENTILES: Final = (
    ("mean", "mean_ms"),
    ("p50", "p50_ms"),
    ("p90", "p90_ms"),
    ("p95", "p95_ms"),
    ("p99", "p99_ms"),
    ("p99.9", "p999_ms"),
    ("max", "max_ms"),
)
_UNMEASURED: Final = "-"
_ONE_UNIT: Final = re.compile(r"([\d.]+)(ns|µs|ms|s)")
_MOST_ON_A_PAGE: Final = 12  # rows that are not torn apart where the report is printed


class _Cell(NamedTuple):
    text: str
    style: str = "n"

    def __str__(self) -> str:
        return f'<td class="{self.style}">{escape(self.text)}</td>'


def head(report: Report) -> str:
    """The verdict, and which run it is of."""
    run = report.run
    known = [
        ("run", run.id),
        ("seed", str(run.seed)),
        ("started", f"{run.started_at[:19].replace('T', ' ')} UTC"),
        ("took", _seconds(run.duration_s)),
    ]
    known += [("rate", f"{report.rate:,.4g}/s")] if run.duration_s > run.warmup_s else []
    known += [("warm-up", _seconds(run.warmup_s))] if run.warmup_s else []
    known += [("resumed", "yes")] if run.resumed else []
    spans = [f"<span>{escape(name)} <b>{escape(value)}</b></span>" for name, value in known]
    tags = [
        f'<span class="tag">{escape(f"{name}: {value}")}</span>' for name, value in run.tags.items()
    ]
    return (
        f'<div class="head"><div><div class="title"><h1>{escape(run.name)}</h1>'
        f"{_pill(run.outcome, run.outcome)}</div>"
        f'<p class="facts">{"".join(spans + tags)}</p></div></div>'
    )


def figures(report: Report) -> str:
    """What there is to know first."""
    counts = report.counts
    shown = [_figure("due", f"{counts['due']:,}"), _figure("ok", f"{counts['ok']:,}")]
    shown += [
        _figure(name, f"{counts.get(name, 0):,}", alarm=style if counts.get(name) else "")
        for name, style in (
            ("failed", "bad"),
            ("dropped", "warn"),
            ("expired", "warn"),
            ("interrupted", "warn"),
        )
    ]
    for title, durations in (("response", report.response), ("lag", report.lag)):
        shown.append(_figure(f"{title} p99", *_value_and_unit(durations)))
    code = report.exit_code
    shown.append(_figure("exit code", str(code), alarm="bad" if code else ""))
    return f'<dl class="figures">{"".join(shown)}</dl>'


def _figure(name: str, value: str, unit: str = "", alarm: str = "") -> str:
    small = f"<small>{escape(unit)}</small>" if unit else ""
    return f'<div class="{alarm}"><dt>{escape(name)}</dt><dd>{escape(value)}{small}</dd></div>'


def _value_and_unit(durations: Durations) -> tuple[str, str]:
    if not durations.count:
        return _UNMEASURED, ""
    number, _, unit = _time(durations.p99_ms).partition(" ")
    return number, unit


def accounting(report: Report) -> str:
    """The accounting line, and that of the warm-up."""
    lines = [report.accounting]
    if report.warmup is not None:
        parts = [
            f"{count:,} {name}"
            for name, count in report.warmup.items()
            if name not in ("due", "skipped")
        ]
        due = report.warmup.get("due", 0)
        lines.append(f"warm-up, in no other figure: {due:,} due = {' + '.join(parts)}")
    return f'<div class="accounting">{"".join(f"<p>{escape(line)}</p>" for line in lines)}</div>'


def thresholds(verdicts: Sequence[Verdict]) -> str:
    """What the run had to keep to."""
    body = [
        (
            _state(verdict),
            _Cell(verdict.expression, "expression"),
            _Cell(", ".join(filter(None, (_measured(verdict), _where(verdict))))),
        )
        for verdict in verdicts
    ]
    failed = sum(not verdict.passed for verdict in verdicts)
    note = f"{failed} of {len(verdicts)} broken" if failed else "all kept"
    return (
        _card("Thresholds", note, _table(("state", "threshold", "value"), body, style="close"))
        if verdicts
        else ""
    )


def _measured(verdict: Verdict) -> str:
    if verdict.value is None:
        return _UNMEASURED
    if verdict.unit == "ms":
        return _time(verdict.value)
    return f"{verdict.value:,.6g} {verdict.unit}".strip()


def _where(verdict: Verdict) -> str:
    has_place = verdict.at_s is not None and not verdict.passed
    at = f"worst at {_seconds(verdict.at_s or 0)}" if has_place else ""
    return ", ".join(part for part in (at, "ended the run" if verdict.aborted else "") if part)


def _state(verdict: Verdict) -> str:
    if not verdict.passed:
        pill = _pill("broken", "failed")
    elif verdict.value is None:
        pill = _pill("not measured", "")
    else:
        pill = _pill("kept", "passed")
    return f"<td>{pill}</td>"


def times(report: Report) -> str:
    """The percentiles of the run and of each step."""
    is_late = any(step.timed_out for step in report.steps.values())
    counts = ("failed", "retried", *(["timed out"] if is_late else []))
    body: list[tuple[object, ...]] = [
        (
            _Cell(name, "name"),
            *_percentiles(durations),
            _Cell(f"{durations.count:,}"),
            *[_Cell("")] * len(counts),
        )
        for name, durations in (
            ("response", report.response),
            ("lag", report.lag),
            ("service", report.service),
        )
    ]
    body += [
        (
            _Cell(name, "name indent"),
            *_percentiles(step.service),
            _Cell(f"{step.ok:,}"),
            _count(step.failed, "bad"),
            _count(step.retried),
            *([_count(step.timed_out)] if is_late else []),
        )
        for name, step in report.steps.items()
    ]
    columns = ("", *(name for name, _ in _PERCENTILES), "ok", *counts)
    return _card(
        "Times", "of execs, and of every attempt of each step", _table(columns, body), len(body)
    )


def _percentiles(durations: Durations) -> list[_Cell]:
    if not durations.count:
        return [_Cell(_UNMEASURED)] * len(_PERCENTILES)
    return [_Cell(_time(getattr(durations, field))) for _, field in _PERCENTILES]


def errors(report: Report) -> str:
    """What failed, by kind."""
    body = [
        (
            _Cell(kind.step, "name"),
            _Cell(kind.type, "name"),
            _count(kind.count, "bad"),
            _Cell(kind.example, "mono"),
        )
        for kind in report.errors
    ]
    if not body:
        return ""
    table = _table(("step", "error", "count", "first one"), body, left=("error", "first one"))
    return _card("Errors", "by kind, with the first of each", table, len(body))


def rows(report: Report) -> str:
    """What was written."""
    database = report.database
    found = database.found if database else {}
    names = {**dict.fromkeys(found, 0), **report.rows}
    body = [
        (
            _Cell(name, "name"),
            _Cell(f"{count:,}"),
            _Cell(f"{found[name]:,} found" if name in found else ""),
        )
        for name, count in names.items()
    ]
    done = []
    if database is not None:
        done = [f"{database.transactions:,} transactions", f"{database.commits:,} commits"]
        done += [f"{count:,} tried again ({code})" for code, count in database.retries.items()]
        done += [f"{database.halved:,} batches halved"] if database.halved else []
    if not body and not done:
        return ""
    title = "Rows" if body else "Database"
    return _card(title, ", ".join(done) or "durable, by table", _table((), body) if body else "")


def plan(described: Mapping[str, Any]) -> str:
    """What was to be done; of the chain, its steps."""
    return _list("Plan", {name: value for name, value in described.items() if name != "chain"})


def facts(environment: Mapping[str, str]) -> str:
    """Where it was done."""
    return _list("Environment", environment)


def _list(title: str, values: Mapping[str, Any]) -> str:
    items = [
        f"<div><dt>{escape(name.replace('_', ' '))}</dt>"
        f"<dd>{escape(_in_words(value, name))}</dd></div>"
        for name, value in values.items()
        if value not in (None, "", [], {}, ())
    ]
    return _card(title, "", f'<dl class="list">{"".join(items)}</dl>') if items else ""


def _in_words(value: Any, name: str = "") -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {_in_words(one, key)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_in_words, value))
    if isinstance(value, int) and not isinstance(value, bool) and name != "seed":
        return f"{value:,}"
    return str(value)


# Pieces


def _card(title: str, note: str, content: str, rows: int = 0) -> str:
    style = "card long" if rows > _MOST_ON_A_PAGE else "card"
    return (
        f'<section class="{style}"><header><h2>{escape(title)}</h2><p>{escape(note)}</p></header>'
        f"{content}</section>"
    )


def _table(
    columns: Sequence[str],
    body: Iterable[Iterable[object]],
    left: Sequence[str] = (),
    style: str = "",
) -> str:
    heads = [
        f'<th class="{"" if number == 0 or name in left else "n"}">{escape(name)}</th>'
        for number, name in enumerate(columns)
    ]
    first = f"<thead><tr>{''.join(heads)}</tr></thead>" if any(columns) else ""
    lines = "".join(f"<tr>{''.join(map(str, cells))}</tr>" for cells in body)
    return f'<div class="scroll"><table class="{style}">{first}<tbody>{lines}</tbody></table></div>'


def _pill(text: str, style: str) -> str:
    return f'<span class="pill {style}">{escape(text)}</span>'


def _count(count: int, alarm: str = "") -> _Cell:
    return _Cell(f"{count:,}", f"n {alarm}" if count else "n zero")


def _time(milliseconds: float) -> str:
    """A time as `format_duration` has it, and room before its unit."""
    text = format_duration(round(milliseconds * 1e6))
    parts = _ONE_UNIT.fullmatch(text)
    return f"{parts[1]} {parts[2]}" if parts else text


def _seconds(seconds: float) -> str:
    return _time(seconds * 1e3)
