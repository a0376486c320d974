"""What a run came to: figures with a verdict, as a value, as JSON, and back."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from instrumentation.errors import InvalidConfig
from workermanager.machine import describe_machine
from workermanager.quantiles import Durations
from workermanager.record import format_moment
from workermanager.series import Window  # noqa: TC001 - msgspec reads the types
from workermanager.thresholds import Verdict  # noqa: TC001 - as above

if TYPE_CHECKING:
    from instrumentation.engine import RunContext
    from workermanager.plan import Plan
    from workermanager.telemetry import DatabaseFigures, Figures

__all__ = [
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_OK",
    "EXIT_THRESHOLD",
    "Ending",
    "Report",
    "decode_report",
    "load_report",
    "make_report",
]

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 105

EXIT_THRESHOLD: Final = 99

RunOutcome = Literal["passed", "failed", "interrupted"]
EndedBy = Literal["plan", "stop", "threshold", "error"]


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Which run it was, and how it ended.

    ``warmup_s`` is how much of ``duration_s`` is in no other figure. It was ``ended_by`` its plan
    being done, a stop from outside, a threshold that aborts, or an error that let nothing go on.
    """

    id: str
    name: str
    seed: int
    started_at: str
    duration_s: float
    outcome: RunOutcome
    resumed: bool = False
    ended_by: EndedBy = "plan"
    warmup_s: float = 0.0
    tags: dict[str, str] = {}


class StepReport(msgspec.Struct, frozen=True, kw_only=True):
    """One step. ``service`` counts every attempt, ``timed_out`` failed and retried ones."""

    ok: int
    failed: int
    retried: int
    timed_out: int = 0
    service: Durations


class DatabaseReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the database was asked to do; see `telemetry.DatabaseFigures`."""

    transactions: int
    commits: int
    retries: dict[str, int]
    halved: int
    found: dict[str, int]


class ErrorReport(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of error that failed execs; ``path`` is where the ``example`` happened."""

    step: str
    type: str
    count: int
    example: str
    path: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to.

    ``counts`` has ``due`` and every outcome, and adds up; ``skipped`` are execs of a resumed run
    that were durable already, and not due again. ``response`` counts from when an exec
    was due (k6 and wrk count from when it started, which hides a stall), ``lag`` is how late execs
    started, ``service`` how long they ran. ``rows`` counts durable rows by table. ``stuck`` are
    steps that timed out and ran yet when the run ended.

    ``errors`` are those that failed execs, and failures to clean up after them; an error that the
    chain recovered from is counted in its step alone.

    All of that is without the warm-up, whose counts are in ``warmup`` (None where there was none).
    ``series`` is how it went, window by window; ``plan`` what was to be done, as
    ``workermanager check`` shows it; ``environment`` where it was done.
    """

    schema: int = 1
    run: RunFacts
    counts: dict[str, int]
    response: Durations
    lag: Durations
    service: Durations
    steps: dict[str, StepReport]
    rows: dict[str, int]
    errors: list[ErrorReport]
    database: DatabaseReport | None = None
    warmup: dict[str, int] | None = None
    stuck: int = 0
    thresholds: list[Verdict] = []
    series: list[Window] = []
    plan: dict[str, Any] = {}
    environment: dict[str, str] = {}

    @property
    def outcome(self) -> RunOutcome:
        """passed, failed, or interrupted."""
        return self.run.outcome

    @property
    def exit_code(self) -> int:
        """0 passed; 1 an exec failed; 99 a threshold did; 105 stopped from outside."""
        if self.outcome == "passed":
            return EXIT_OK
        if self.outcome == "interrupted":
            return EXIT_INTERRUPTED
        has_missed = not all(verdict.passed for verdict in self.thresholds)
        return EXIT_THRESHOLD if has_missed and self.run.ended_by != "error" else EXIT_FAILED

    @property
    def rate(self) -> float:
        """How many execs ended in a second, the warm-up left out."""
        seconds = self.run.duration_s - self.run.warmup_s
        return (self.counts["ok"] + self.counts["failed"]) / seconds if seconds > 0 else 0.0

    @property
    def accounting(self) -> str:
        """The accounting line: so many due = so many ok + failed + the other outcomes."""
        outcomes = (
            f"{count:,} {name}"
            for name, count in self.counts.items()
            if name not in ("due", "skipped")
        )
        skipped = self.counts.get("skipped", 0)
        suffix = f" ({skipped:,} skipped: durable already)" if skipped else ""
        if self.warmup is not None:
            suffix += f" (and {self.warmup['due']:,} in the warm-up, {self.warmup['ok']:,} ok)"
        suffix += f" ({self.stuck:,} stuck: timed out, and running yet)" if self.stuck else ""
        return f"{self.counts['due']:,} due = {' + '.join(outcomes)}{suffix}"

    def followed_by(self, callback: Report) -> Report:
        """This report with the callback's steps, rows and errors; its failure is the run's."""
        outcome = callback.outcome if self.outcome == "passed" else self.outcome
        shown = {
            name: f"callback/{name}" if name in self.steps else name for name in callback.steps
        }
        steps = {shown[name]: step for name, step in callback.steps.items()}
        errors = [
            msgspec.structs.replace(kind, step=shown.get(kind.step, kind.step))
            for kind in callback.errors
        ]
        return msgspec.structs.replace(
            self,
            run=msgspec.structs.replace(self.run, outcome=outcome),
            steps={**self.steps, **steps},
            rows=dict(Counter(self.rows) + Counter(callback.rows)),
            errors=[*self.errors, *errors],
            stuck=self.stuck + callback.stuck,
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON report, as plain values."""
        document = msgspec.to_builtins(self)
        assert isinstance(document, dict)  # noqa: S101 - for the type checker: a Struct becomes one
        return document

    def to_json(self) -> str:
        """The JSON report, indented."""
        return json.dumps(self.to_dict(), indent=2)

    def save(self, path: Path) -> None:
        """Write the JSON report."""
        path.write_text(self.to_json() + "\n", encoding="utf-8")


def load_report(path: Path) -> Report:
    """Read a saved JSON report.

    Raises:
        InvalidConfig: the file cannot be read, or is no report.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InvalidConfig(f"{path}: cannot be read: {error.strerror}") from None
    return decode_report(text, str(path))


def decode_report(text: bytes, source: str) -> Report:
    """The report in a JSON text; ``source`` is what a refusal calls it.

    Raises:
        InvalidConfig: it is no report, or one of another schema.
    """
    try:
        report = msgspec.json.decode(text, type=Report)
    except msgspec.MsgspecError as error:
        raise InvalidConfig(f"{source}: not a report: {error}") from None
    if report.schema != 1:
        raise InvalidConfig(f"{source}: a report of schema {report.schema}; this reads schema 1")
    return report


class Ending(NamedTuple):
    """How a run ended: ``is_cut`` before its plan was done, ``is_broken`` by a crash or an outage.

    ``verdicts`` are those of its thresholds; ``stuck`` is how many timed-out steps it left behind.
    """

    is_cut: bool
    is_broken: bool
    is_resumed: bool
    verdicts: list[Verdict]
    stuck: int = 0

    @property
    def ended_by(self) -> EndedBy:
        """What ended the run."""
        if self.is_broken:
            return "error"
        if not self.is_cut:
            return "plan"  # also where a threshold was broken when nothing was left to cut
        return "threshold" if any(verdict.aborted for verdict in self.verdicts) else "stop"


def make_report(
    figures: Figures, context: RunContext, plan: Plan, ending: Ending, series: list[Window]
) -> Report:
    """Turn the last figures of a run, its accounts closed, into its report."""
    return Report(
        run=RunFacts(
            id=context.id,
            name=context.name,
            seed=context.seed,
            started_at=format_moment(context.started_at),
            duration_s=round(figures.elapsed_ns / 1e9, 3),
            outcome=_judge(figures, plan, ending),
            resumed=ending.is_resumed,
            ended_by=ending.ended_by,
            warmup_s=round(min(plan.warmup_ns, figures.elapsed_ns) / 1e9, 3),
            tags=dict(plan.tags),
        ),
        counts=figures.counts,
        response=Durations.of(figures.response),
        lag=Durations.of(figures.lag),
        service=Durations.of(figures.service),
        steps={
            name: StepReport(
                ok=step.ok,
                failed=step.failed,
                retried=step.retried,
                timed_out=step.timed_out,
                service=Durations.of(step.service),
            )
            for name, step in figures.steps.items()
        },
        rows=dict(figures.rows),
        errors=[
            ErrorReport(
                step=kind.step,
                type=kind.type,
                count=kind.count,
                example=kind.example,
                path=kind.path,
            )
            for kind in figures.errors
        ],
        database=_report_database(figures.database),
        warmup=figures.warmup,
        stuck=ending.stuck,
        thresholds=ending.verdicts,
        series=series,
        plan=plan.describe(),
        environment=describe_machine(),
    )


def _judge(figures: Figures, plan: Plan, ending: Ending) -> RunOutcome:
    """The verdict; how many execs may fail is for a threshold to say, if there is one for it."""
    if ending.ended_by == "stop":
        return "interrupted"
    if ending.ended_by != "plan" or not all(verdict.passed for verdict in ending.verdicts):
        return "failed"
    is_tolerated = any(threshold.judges_failures for threshold in plan.thresholds)
    return "failed" if figures.counts["failed"] and not is_tolerated else "passed"


def _report_database(figures: DatabaseFigures | None) -> DatabaseReport | None:
    if figures is None:
        return None
    return DatabaseReport(
        transactions=figures.transactions,
        commits=figures.commits,
        retries=figures.retries,
        halved=figures.halved,
        found=figures.found,
    )
