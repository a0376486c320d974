"""Reports of runs that never were, with the figures that a test is about."""

import msgspec

from workermanager.quantiles import Durations
from workermanager.report import Report, RunFacts, StepReport
from workermanager.series import StepWindow, Window

PLAN = {"name": "chain", "execs": 6_000, "threads": 16, "seed": 7, "steps": ["chain/1/add_user"]}
ENVIRONMENT = {"python": "3.11.7", "machine": "x86_64, 2 cores"}


def durations(milliseconds, count=100):
    """Durations whose every figure is so many milliseconds."""
    names = Durations.__struct_fields__[1:]
    return Durations(count=count, **dict.fromkeys(names, milliseconds if count else 0.0))


def window(  # noqa: PLR0913 - each is a figure
    at, ms=10.0, *, seconds=1.0, steps=None, warmup=False, lag_ms=0.1, **counts
):
    """One window of 100 execs that were ok, but for what ``counts`` says."""
    counts = {
        **dict.fromkeys(("failed", "dropped", "expired", "interrupted", "running", "queued"), 0),
        "ok": 100,
        **counts,
    }
    ended = counts["ok"] + counts["failed"]
    return Window(
        at_s=at,
        seconds=seconds,
        is_warmup=warmup,
        due=ended + counts["dropped"] + counts["expired"],
        rate=ended / seconds,
        response=durations(ms, ended),
        lag=durations(lag_ms, ended),
        service=durations(ms, ended),
        steps={
            name: StepWindow(failed=0, retried=0, service=durations(step_ms, ended))
            for name, step_ms in (steps or {}).items()
        },
        **counts,
    )


def report(windows, *, steps=None, plan=None, environment=None, **facts):
    """The report of a run that went so; its own figures are plain means of the windows'."""
    measured = [one for one in windows if not one.is_warmup]
    counts = {
        name: sum(getattr(one, name) for one in measured)
        for name in ("due", "ok", "failed", "dropped", "expired", "interrupted")
    }
    ended = counts["ok"] + counts["failed"]
    mean = sum(one.response.mean_ms * one.response.count for one in measured) / (ended or 1)
    run = RunFacts(
        **{
            "id": "run-1",
            "name": "chain",
            "seed": 7,
            "started_at": "2026-01-02T03:04:05.678Z",
            "duration_s": sum(one.seconds for one in windows),
            "warmup_s": sum(one.seconds for one in windows if one.is_warmup),
            "outcome": "failed" if counts["failed"] else "passed",
            **facts,
        }
    )
    return Report(
        run=run,
        counts={**counts, "skipped": 0},
        response=durations(mean, ended),
        lag=durations(0.1, ended),
        service=durations(mean, ended),
        steps={
            name: StepReport(ok=ended, failed=0, retried=0, service=durations(ms, ended))
            for name, ms in (steps or {}).items()
        },
        rows={},
        errors=[],
        series=list(windows),
        plan=PLAN if plan is None else plan,
        environment=ENVIRONMENT if environment is None else environment,
    )


def steady(milliseconds=10.0, windows=60, *, steps=None, noise=0.02, facts=None, **changes):
    """The report of a run that went on evenly, with a little noise that repeats every 7 windows."""
    swing = [noise * (place % 7 - 3) / 3 for place in range(windows)]
    return report(
        [
            window(
                at + 1.0,
                milliseconds * (1 + one),
                steps={name: ms * (1 + one) for name, ms in (steps or {}).items()},
                **changes,
            )
            for at, one in enumerate(swing)
        ],
        steps=steps,
        **(facts or {}),
    )


def with_run(one, **facts):
    """The same report of another run."""
    return msgspec.structs.replace(one, run=msgspec.structs.replace(one.run, **facts))
