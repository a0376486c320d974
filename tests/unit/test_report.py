import json
from datetime import UTC, datetime

import pytest

from instrumentation.errors import InvalidConfig
from workermanager import Worker
from workermanager.report import Ending, decode_report, load_report, make_report
from workermanager.telemetry import Figures, Recorder, merge
from workermanager.thresholds import Verdict

MS = 1_000_000
DURATION_KEYS = {
    "count",
    "mean_ms",
    "p50_ms",
    "p90_ms",
    "p95_ms",
    "p99_ms",
    "p999_ms",
    "max_ms",
}


def figures_of(  # noqa: PLR0913 - each is a figure
    *,
    ok=0,
    failed=0,
    interrupted=0,
    step="add_user",
    rows=None,
    skipped=0,
    database=None,
    warmup=None,
):
    """Figures of a run whose execs took 1, 2, 3 … ms each, of one step."""
    recorder = Recorder()
    for n in range(1, ok + failed + 1):
        recorder.lag.record(n * MS // 10)
        recorder.service.record(n * MS)
        recorder.response.record(n * MS * 11 // 10)
        recorder.step(step).service.record(n * MS)
    for _ in range(failed):
        recorder.step(step).failed += 1
        recorder.error(step, "OSError", "no route", f"companies/2/{step}")
    return Figures(
        counts={
            "due": ok + failed + interrupted,
            "ok": ok,
            "failed": failed,
            "dropped": 0,
            "expired": 0,
            "interrupted": interrupted,
            "skipped": skipped,
        },
        elapsed_ns=12_345_678_901,
        tick=3,
        rows=rows or {},
        database=database,
        warmup=warmup,
        **merge([recorder]),
    )


@pytest.fixture
def report_of(make_run):
    def build(  # noqa: PLR0913 - each is a figure
        *,
        is_cut=False,
        is_broken=False,
        is_resumed=False,
        verdicts=(),
        thresholds=(),
        warmup_of=0,
        stuck=0,
        **figures,
    ):
        context = make_run(
            id="run-9", started_at=datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)
        )
        ending = Ending(
            is_cut=is_cut,
            is_broken=is_broken,
            is_resumed=is_resumed,
            verdicts=list(verdicts),
            stuck=stuck,
        )
        plan = Worker(
            lambda ctx, params: None, execs_per_tick=1, thresholds=thresholds, warmup=warmup_of
        ).plan()
        return make_report(figures_of(**figures), context, plan, ending, [])

    return build


# The verdict


@pytest.mark.parametrize(
    ("figures", "outcome", "exit_code"),
    [
        ({"ok": 3}, "passed", 0),
        ({"ok": 2, "failed": 1}, "failed", 1),
        ({"ok": 3, "is_cut": True}, "interrupted", 105),
        ({"ok": 2, "failed": 1, "is_cut": True}, "interrupted", 105),
        ({"ok": 3, "is_broken": True}, "failed", 1),
        ({"ok": 3, "is_cut": True, "is_broken": True}, "failed", 1),
    ],
)
def test_the_exit_code_tells_how_the_run_ended(report_of, figures, outcome, exit_code):
    report = report_of(**figures)
    assert (report.outcome, report.exit_code) == (outcome, exit_code)


KEPT = Verdict(expression="dropped==0", value=0.0, unit="", passed=True)
BROKEN = Verdict(expression="p99<1ms", value=2.0, unit="ms", passed=False)
ABORTING = Verdict(expression="p99<1ms", value=2.0, unit="ms", passed=False, aborted=True)


@pytest.mark.parametrize(
    ("figures", "outcome", "exit_code"),
    [
        ({"ok": 3, "verdicts": [KEPT]}, "passed", 0),
        ({"ok": 3, "verdicts": [KEPT, BROKEN]}, "failed", 99),
        ({"ok": 3, "failed": 1, "verdicts": [BROKEN]}, "failed", 99),
        ({"ok": 3, "failed": 1, "verdicts": [KEPT]}, "failed", 1),
        ({"ok": 3, "failed": 1, "verdicts": [KEPT], "thresholds": ["failed<50%"]}, "passed", 0),
        ({"ok": 3, "failed": 1, "verdicts": [KEPT], "thresholds": ["p99<1s"]}, "failed", 1),
        ({"ok": 3, "is_cut": True, "verdicts": [ABORTING]}, "failed", 99),
        ({"ok": 3, "is_cut": True, "verdicts": [BROKEN]}, "interrupted", 105),
        ({"ok": 3, "is_broken": True, "verdicts": [BROKEN]}, "failed", 1),
    ],
)
def test_a_threshold_has_a_say_in_the_verdict(report_of, figures, outcome, exit_code):
    report = report_of(**figures)
    assert (report.outcome, report.exit_code) == (outcome, exit_code)


@pytest.mark.parametrize(
    ("ending", "ended_by"),
    [
        ({}, "plan"),
        ({"verdicts": [BROKEN]}, "plan"),
        ({"verdicts": [ABORTING]}, "plan"),  # every exec had its outcome when it was broken
        ({"is_cut": True}, "stop"),
        ({"is_cut": True, "verdicts": [BROKEN]}, "stop"),
        ({"is_cut": True, "verdicts": [KEPT, ABORTING]}, "threshold"),
        ({"is_cut": True, "is_broken": True, "verdicts": [ABORTING]}, "error"),
    ],
)
def test_a_run_is_told_with_what_ended_it(report_of, ending, ended_by):
    report = report_of(ok=3, **ending)
    assert report.run.ended_by == ended_by
    broken = {BROKEN, ABORTING} & set(ending.get("verdicts", ()))
    assert (report.exit_code == 99) == (bool(broken) and ended_by in ("plan", "threshold"))


WARM = {"due": 5, "ok": 3, "failed": 1, "dropped": 1, "expired": 0, "interrupted": 0}


def test_the_warm_up_is_in_the_report_but_in_no_other_figure(report_of):
    report = report_of(ok=9, failed=1, warmup=WARM, warmup_of="2s345ms")
    assert report.warmup == WARM
    assert report.counts["due"] == 10
    assert (report.run.warmup_s, report.run.duration_s) == (2.345, 12.346)
    assert report.rate == pytest.approx(10 / 10.001, rel=1e-6)
    assert report.accounting == (
        "10 due = 9 ok + 1 failed + 0 dropped + 0 expired + 0 interrupted "
        "(and 5 in the warm-up, 3 ok)"
    )
    assert json.loads(report.to_json())["warmup"] == WARM


def test_a_run_that_was_stopped_in_its_warm_up_has_no_rate(report_of):
    report = report_of(warmup=WARM, warmup_of="1h", is_cut=True)
    assert report.run.warmup_s == report.run.duration_s == 12.346
    assert report.rate == 0


def test_failures_of_the_warm_up_fail_no_run(report_of):
    assert report_of(ok=3, warmup=WARM, warmup_of="1s").outcome == "passed"


def test_the_accounting_line_adds_up_every_outcome(report_of):
    assert report_of(ok=1_233, failed=1, interrupted=2).accounting == (
        "1,236 due = 1,233 ok + 1 failed + 0 dropped + 0 expired + 2 interrupted"
    )


# The document


def test_the_document_has_what_it_promises(report_of):
    document = report_of(ok=9, failed=1, rows={"users": 9}).to_dict()
    assert document["schema"] == 1
    assert document["run"] == {
        "id": "run-9",
        "name": "chain",
        "seed": 7,
        "started_at": "2026-01-02T03:04:05.678Z",
        "duration_s": 12.346,
        "outcome": "failed",
        "resumed": False,
        "ended_by": "plan",
        "warmup_s": 0.0,
        "tags": {},
    }
    assert document["counts"] == {
        "due": 10,
        "ok": 9,
        "failed": 1,
        "dropped": 0,
        "expired": 0,
        "interrupted": 0,
        "skipped": 0,
    }
    assert document["rows"] == {"users": 9}
    assert document["errors"] == [
        {
            "step": "add_user",
            "type": "OSError",
            "count": 1,
            "example": "no route",
            "path": "companies/2/add_user",
        }
    ]


def test_every_duration_has_the_same_figures_in_milliseconds(report_of):
    document = report_of(ok=100).to_dict()
    service = document["steps"]["add_user"]["service"]
    for durations in (document["response"], document["lag"], document["service"], service):
        assert durations.keys() == DURATION_KEYS
        assert durations["count"] == 100
    exact = {"mean_ms": 50.5, "p50_ms": 50, "p90_ms": 90, "p95_ms": 95, "p99_ms": 99}
    for name, milliseconds in {**exact, "p999_ms": 100, "max_ms": 100}.items():
        assert document["service"][name] == pytest.approx(milliseconds, rel=0.01)
    assert document["lag"]["p99_ms"] == pytest.approx(9.9, rel=0.01)
    assert document["response"]["p99_ms"] == pytest.approx(108.9, rel=0.01)


def test_a_step_reports_how_its_attempts_ended(report_of):
    step = report_of(ok=9, failed=1).to_dict()["steps"]["add_user"]
    assert (step["ok"], step["failed"], step["retried"]) == (9, 1, 0)


def test_a_run_without_execs_has_a_report(report_of):
    report = report_of()
    assert report.response.count == report.response.p99_ms == report.response.mean_ms == 0


def test_the_json_is_the_document(report_of):
    report = report_of(ok=9, failed=1, rows={"users": 9})
    assert json.loads(report.to_json()) == report.to_dict()


# Saved and loaded


def test_a_saved_report_is_loaded_as_it_was(report_of, tmp_path):
    report, path = report_of(ok=9, failed=1, rows={"användare": 9}), tmp_path / "report.json"
    report.save(path)
    assert load_report(path) == report
    assert path.read_text(encoding="utf-8").endswith("}\n")


def test_a_report_from_before_steps_had_deadlines_is_read(report_of):
    old = report_of(ok=9, failed=1).to_dict()
    del old["stuck"], old["steps"]["add_user"]["timed_out"], old["errors"][0]["path"]
    read = decode_report(json.dumps(old).encode(), "old.json")
    assert (read.stuck, read.steps["add_user"].timed_out, read.errors[0].path) == (0, 0, "")


def test_steps_that_run_yet_stand_beside_the_accounts(report_of):
    assert "stuck" not in report_of(ok=1).accounting
    report = report_of(ok=1, stuck=2)
    assert (report.stuck, report.to_dict()["stuck"]) == (2, 2)
    assert report.accounting.endswith("0 interrupted (2 stuck: timed out, and running yet)")
    assert report.followed_by(report_of(ok=1, stuck=1)).stuck == 3


def test_a_report_that_is_not_there_is_refused_by_its_path(tmp_path):
    with pytest.raises(InvalidConfig, match=r"report\.json: cannot be read: No such file"):
        load_report(tmp_path / "report.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 1}', "\x00"])
def test_what_is_no_report_is_refused_by_its_path(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(InvalidConfig, match=r"report\.json: not a report: "):
        load_report(path)


@pytest.mark.parametrize(
    "change",
    [
        {"counts": {"due": "many"}},
        {"run": {"id": "run-9"}},
        {"errors": [{"step": "add_user"}]},
        {"response": {"count": 1}},
    ],
)
def test_a_report_that_somebody_broke_is_refused(report_of, tmp_path, change):
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**report_of(ok=1).to_dict(), **change}))
    with pytest.raises(InvalidConfig, match="not a report"):
        load_report(path)


def test_a_report_of_a_later_schema_is_refused(report_of, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**report_of(ok=1).to_dict(), "schema": 2}))
    with pytest.raises(InvalidConfig, match="a report of schema 2; this reads schema 1"):
        load_report(path)


# With the callback's report


@pytest.mark.parametrize(
    ("own", "callbacks", "outcome"),
    [
        ({"ok": 1}, {"ok": 1}, "passed"),
        ({"ok": 1}, {"failed": 1}, "failed"),
        ({"failed": 1}, {"ok": 1}, "failed"),
        ({"ok": 1, "is_cut": True}, {"failed": 1}, "interrupted"),
    ],
)
def test_a_callback_that_fails_fails_a_run_that_passed(report_of, own, callbacks, outcome):
    assert report_of(**own).followed_by(report_of(**callbacks)).outcome == outcome


def test_a_callback_adds_its_steps_rows_and_errors(report_of):
    own = report_of(ok=9, failed=1, rows={"users": 9})
    callback = report_of(failed=1, step="send_mail", rows={"users": 1, "mails": 1})
    both = own.followed_by(callback)
    assert list(both.steps) == ["add_user", "send_mail"]
    assert both.rows == {"users": 10, "mails": 1}
    assert [(error.step, error.count) for error in both.errors] == [
        ("add_user", 1),
        ("send_mail", 1),
    ]


def test_a_callback_changes_neither_the_counts_nor_the_latencies_of_the_run(report_of):
    own = report_of(ok=9, failed=1)
    both = own.followed_by(report_of(ok=50))
    assert (both.counts, both.response, both.lag) == (own.counts, own.response, own.lag)


def test_a_callback_with_a_step_of_the_same_name_hides_no_figures(report_of):
    both = report_of(ok=9, step="log").followed_by(report_of(ok=1, step="log"))
    assert sum(step.ok for step in both.steps.values()) == 10
