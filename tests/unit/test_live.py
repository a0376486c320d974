"""The live view: what it says, and that it fits every terminal."""

import io
import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from workermanager.cli.live import Live
from workermanager.cli.progress import Lines
from workermanager.cli.standing import Standing, brief
from workermanager.cli.view import View
from workermanager.series import Series
from workermanager.telemetry import DatabaseFigures, ErrorFigures, Figures, StepFigures, merge
from workermanager.thresholds import Verdict

KEPT = Verdict(expression="p99<200ms", value=4.18, unit="ms", passed=True)
BROKEN = Verdict(expression="rate>=240/s", value=231.44, unit="/s", passed=False, at_s=24.0)
UNKNOWN = Verdict(expression="pay.p95<50ms", value=None, unit="ms", passed=False)
COUNTS = ("due", "running", "queued", "ok", "failed", "dropped", "expired", "interrupted")


class FakeRun:
    """As much of a run as a display looks at; ``pass_second`` makes it go on."""

    def __init__(self, *, total=600, ticks=60, steps=("order", "pay"), verdicts=(), name="shop"):
        self.id = "run-1"
        self.is_stopping = False
        self.is_warming_up = False
        self.asked = 0
        self._verdicts = list(verdicts)
        arrivals = SimpleNamespace(total=total, ticks=ticks, tick_ns=1_000_000_000)
        end_ns = ticks * arrivals.tick_ns if ticks else None
        self.plan = SimpleNamespace(name=name, threads=16, arrivals=arrivals, end_ns=end_ns)
        self.series = Series()
        self.watch = SimpleNamespace(series=self.series)
        self.now = Figures(
            counts=dict.fromkeys((*COUNTS, "skipped"), 0),
            elapsed_ns=0,
            tick=0,
            **merge([]),
            rows={},
            database=None,
        )
        self.now.steps = {name: StepFigures() for name in steps}

    def figures(self):
        return self.now

    def verdicts(self):
        self.asked += 1
        return self._verdicts

    def pass_second(self, due=10, ok=10, failed=0, queued=0, response_ms=5):
        now, before = self.now, self.now.counts
        counts = {**before, "due": before["due"] + due, "ok": before["ok"] + ok}
        counts |= {"failed": before["failed"] + failed, "queued": before["queued"] + queued}
        steps = {name: StepFigures() for name in now.steps}
        lasting = [(now.response, response_ms), (now.lag, 1), (now.service, 4)]
        copies = [type(histogram)().merge([histogram]) for histogram, _ in lasting]
        for copy, (_, ms) in zip(copies, lasting, strict=True):
            for _ in range(ok + failed):
                copy.record(ms * 1_000_000)
        for name, step in steps.items():
            step.service.merge([now.steps[name].service])
            step.failed = now.steps[name].failed + failed
            for _ in range(ok + failed):
                step.service.record(2_000_000)
        self.now = Figures(
            counts=counts,
            elapsed_ns=now.elapsed_ns + 1_000_000_000,
            tick=now.tick + 1,
            response=copies[0],
            lag=copies[1],
            service=copies[2],
            steps=steps,
            errors=now.errors,
            rows=now.rows,
            database=now.database,
        )
        self.series.look(self.now, is_warmup=self.is_warming_up)
        return self


def shown(run, width=80, height=24, **options):
    """The live view of a run as text."""
    lines = View().draw(Standing.of(run), width, height, **options)
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


def busy_run(seconds=3, **settings):
    """A run in which everything there is to see has happened."""
    run = FakeRun(**settings)
    for _ in range(seconds):
        run.pass_second(due=12, ok=9, failed=1, queued=2)
    run.now.counts["dropped"] = 5
    run.now.rows = {"orders": 1_234, "payments": 99}
    run.now.database = DatabaseFigures(
        transactions=9, commits=9, retries={"40001": 12}, halved=0, found={}
    )
    run.now.errors = [ErrorFigures("pay", "CardDeclined", 3, "no funds"), *many_kinds(4)]
    return run


def many_kinds(number):
    return [ErrorFigures("pay", f"Error{kind}", 1, "what it said") for kind in range(number)]


def test_the_first_line_says_who_in_what_state_and_since_when():
    run = FakeRun().pass_second()
    assert re.match(r"✓ shop  running  1s  tick 2/60 +run run-1\n", shown(run))
    run.is_warming_up = True
    assert "shop  warming up  1s" in shown(run)
    run.is_stopping = True
    assert "shop  stopping (once more stops now)  1s" in shown(run)


def test_the_bar_says_how_much_is_done_and_how_long_it_takes_yet():
    run = FakeRun(total=40, ticks=4)
    run.pass_second()
    assert re.search(r"━─.* 25 %  3s left\n", shown(run))
    run.pass_second(due=30, ok=10, queued=20)
    assert " 50 %  2s left" in shown(run)
    run.pass_second(due=0, ok=0)  # what waits takes longer than what is planned
    run.now.counts["queued"] = 20
    run.series.windows = run.series.windows[:1]
    assert " 50 %  2s left" in shown(run)


def test_what_is_resumed_takes_as_long_as_at_its_rate_so_far():
    run = FakeRun(total=100, ticks=1_000)
    run.now.counts["skipped"] = 900
    assert " 10 %  9s left" in shown(run.pass_second())


def test_a_run_without_end_has_no_bar():
    run = FakeRun(total=None, ticks=None).pass_second()
    assert "%" not in shown(run)
    assert "left" not in shown(run)


@pytest.mark.parametrize(
    ("verdicts", "counts", "mark"),
    [
        ([], {}, "✓"),
        ([], {"failed": 1}, "✗"),
        ([KEPT], {"failed": 1}, "!"),
        ([], {"dropped": 1}, "!"),
        ([KEPT, UNKNOWN], {}, "✓"),
        ([KEPT, BROKEN], {}, "✗"),
    ],
)
def test_the_first_sign_is_the_runs_health(verdicts, counts, mark):
    run = FakeRun(verdicts=verdicts).pass_second()
    run.now.counts |= counts
    assert shown(run)[0] == mark


def test_everything_there_is_to_see_is_seen_in_80_by_24():
    text = shown(busy_run(verdicts=[KEPT, UNKNOWN, BROKEN]))
    assert "rate  █ 10/s  ─ due 12/s" in text
    assert "response  █ p50 5.01ms  █ p99 5.01ms" in text
    assert "15/s ┤" in text
    assert "6ms ┤" in text
    assert "last 3s" in text
    assert "due 36  ok 27  failed 3  running 0 of 16  queued 6  dropped 5" in text
    assert re.search(r"p99 now +p50 +p95 +p99 +max +ok +failed\n", text)
    assert re.search(r"\n  pay( +[12][.0-9]*ms){5,6} +27 +3\n", text)
    assert "rows        orders 1,234  payments 99" in text
    assert "tried again 12 x 40001" in text
    assert "errors      3 x pay: CardDeclined  no funds" in text


def test_a_threshold_has_its_state_and_its_value_and_what_is_not_kept_comes_first():
    text = shown(busy_run(verdicts=[KEPT, UNKNOWN, BROKEN]), 140)
    assert (
        "thresholds  ✗ rate>=240/s 231/s at 24s  ✓ p99<200ms 4.18ms"
        "  … pay.p95<50ms not measured yet\n" in text
    )


def test_a_threshold_that_ended_the_run_says_so():
    aborted = Verdict(expression="failed<1%", value=50.0, unit="%", passed=False, aborted=True)
    assert "✗ failed<1% 50%, ended the run" in shown(busy_run(verdicts=[aborted]))


def test_steps_that_timed_out_are_counted_once_there_are_any():
    run = FakeRun().pass_second()
    assert "timed out" not in shown(run, 120)
    run.pass_second()
    run.now.steps["pay"].timed_out = 1_234
    assert "timed out" in shown(run, 120)
    assert re.search(r"pay .* 1,234\n", shown(run, 120))


def test_many_steps_are_cut_and_counted():
    run = busy_run(steps=[f"step_{number:02}" for number in range(20)])
    text = shown(run, 100, 50)
    assert "step_06" in text
    assert "step_07" not in text
    assert "and 13 more steps" in text
    eight = shown(busy_run(steps=[f"step_{number:02}" for number in range(8)]), 100, 50)
    assert "step_07" in eight
    assert "more steps" not in eight


def test_many_kinds_of_errors_are_cut_and_counted():
    text = shown(busy_run(), 100, 50)
    assert "1 x pay: Error1" in text
    assert "Error2" not in text
    assert "and 2 more kinds" in text


def test_while_it_warms_up_the_warm_ups_counts_are_shown():
    run = FakeRun()
    run.is_warming_up = True
    run.pass_second(due=0, ok=0)
    run.now.counts["ok"] = 0
    run.now.warmup = {"due": 60, "ok": 60, "running": 0, "queued": 0}
    assert "execs       warm-up  due 60  ok 60  failed 0" in shown(run)
    assert " 10 % " in shown(run)  # of the whole run, which has 600


def test_a_narrow_terminal_gets_the_essentials():
    text = shown(busy_run(verdicts=[KEPT, BROKEN]), 45)
    for part in ("shop  running", "failed 3", "rate        10/s", "p99 5.01ms", "✗ rate>=240/s"):
        assert part in text
    assert "┤" not in text
    assert "✓" not in text


NASTY = [
    "[bold]x[/bold]",
    "\x1b[31mred\n",
    "日本語の長い名前" * 9,
    "a\u0301\u200bé" * 30,
    "\udc80",
    "",
]


@given(
    st.integers(1, 200),
    st.integers(1, 60),
    st.sampled_from(NASTY),
    st.integers(0, 70),
    st.booleans(),
)
def test_it_fits_every_terminal(width, height, nasty, seconds, is_shaded):
    run = FakeRun(name=nasty, steps=(nasty, "pay", *map(str, range(9))), verdicts=[KEPT, BROKEN])
    for second in range(seconds % 7):
        run.pass_second(response_ms=10**second)
    run.series.windows = run.series.windows * 10
    run.now.rows = {nasty + str(table): 10**table for table in range(9)}
    run.now.errors = [ErrorFigures(nasty, nasty, 10**9, nasty * 9), *many_kinds(5)]
    run.now.counts["queued"] = 10**9
    lines = View().draw(Standing.of(run), width, height, is_shaded=is_shaded)
    assert len(lines) <= height
    for line in lines:
        text = "".join(part for part, _ in line)
        assert cell_len(text) <= width
        assert "\x1b" not in text
        assert "\n" not in text


def test_a_tall_terminal_has_higher_charts_and_a_low_one_none():
    def height_of_charts(height):
        return len(re.findall("[┤│].*[┤│]", shown(busy_run(), 80, height)))

    assert [height_of_charts(height) for height in (50, 24, 21, 18, 12)] == [6, 6, 5, 3, 0]


def test_a_short_run_fills_its_chart():
    run = FakeRun(total=30, ticks=3)
    for _ in range(3):
        run.pass_second()
    assert re.search("┤█{18} ", shown(run, 80)) or re.search("│█{18} ", shown(run, 80))


def test_the_charts_show_as_many_of_the_last_seconds_as_fit():
    run = FakeRun(ticks=600, total=6_000)
    for _ in range(90):
        run.pass_second()
    assert [
        re.search("last (.*?) ", shown(run, width)).group(1) for width in (60, 80, 100, 140)
    ] == ["20s", "30s", "40s", "1m00s"]


def terminal(width=80, height=24, **options):
    settings = {"force_terminal": True, "color_system": "256", "highlight": False, **options}
    return Console(file=io.StringIO(), width=width, height=height, **settings)


def drawn(run, console):
    """What a terminal gets of one redraw."""
    live = Live(console)
    with live:
        live.show(run)
        live.write("a log line [red]\n")
    return console.file.getvalue()


def test_no_color_is_obeyed_and_the_state_can_still_be_read():
    text = drawn(busy_run(verdicts=[KEPT, BROKEN]), terminal(no_color=True))
    assert not re.search(r"\x1b\[[0-9;]*[34][0-9][;m]", text)
    assert "✗ " in text
    assert "░" in text
    coloured = drawn(busy_run(), terminal())
    assert "\x1b[32m" in coloured
    assert "░" not in coloured


def test_a_terminal_that_is_not_utf_8_gets_ascii():
    class Latin(io.StringIO):
        encoding = "iso-8859-1"

    run = busy_run(name="größe日本", verdicts=[KEPT, BROKEN, UNKNOWN])
    console = Console(file=Latin(), width=80, height=24, force_terminal=True)
    text = drawn(run, console)
    assert text.isascii()
    assert "x gr??e" in re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "###" in text


def test_markup_in_names_is_text():
    assert "[red]x[/red]" in re.sub(
        r"\x1b\[[0-9;]*m", "", drawn(busy_run(steps=["[red]x[/red]"]), terminal())
    )


def test_log_lines_stand_above_the_view():
    assert "a log line [red]\n" in drawn(busy_run(), terminal())


def test_a_terminal_that_became_narrower_is_cleared_first():
    console = terminal(100)
    live = Live(console)
    clear = "\x1b[2J\x1b[H"
    with live:
        live.show(busy_run())
        assert clear not in console.file.getvalue()
        console.width = 70
        live.show(busy_run())
        assert console.file.getvalue().count(clear) == 1
        live.show(busy_run())
        console.width = 90
        live.show(busy_run())
    assert console.file.getvalue().count(clear) == 1


def test_thresholds_are_asked_for_once_a_second():
    run = busy_run(verdicts=[KEPT])
    live = Live(terminal())
    with live:
        for _ in range(4):
            live.show(run)
        assert run.asked == 1
        live.show(run.pass_second())
    assert run.asked == 2


def test_a_line_says_that_it_is_warm_up_and_which_thresholds_are_not_kept(capsys):
    run = FakeRun(verdicts=[KEPT, BROKEN, UNKNOWN]).pass_second()
    lines = Lines()
    lines.show(run)
    run.is_warming_up = True
    run.now.rows = {"a\x1bb": 3}
    lines.show(run)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("    1.0s  tick 2/60  10 due  10 ok  0 failed")
    assert first.endswith("p50 5.01ms  p99 5.01ms  FAILS rate>=240/s: 231/s")
    assert second.startswith("    1.0s  warm-up  tick 2/60")
    assert r"3 a\x1bb" in second


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (47.4, "47s"), (59.6, "1m00s"), (125, "2m05s"), (3_720, "1h02m")],
)
def test_durations_that_change_every_second_are_short(seconds, text):
    assert brief(seconds) == text
