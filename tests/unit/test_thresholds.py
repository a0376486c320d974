"""Expressions of thresholds: what they mean, and what is told of one that cannot be meant."""

import pytest
from growing_figures import Growing

from instrumentation.errors import InvalidConfig
from workermanager.thresholds import parse_threshold

SECOND = 1_000_000_000
STEPS = ("addUser", "add user", "v1.2", "addUser.transact", "lag", "step#2", "failed", "rate")
TABLES = ("users", "order lines", "max", "rate", "running")


def parse(text, *, tables=TABLES, aborts=False):
    return parse_threshold(text, STEPS, tables, "threshold", aborts=aborts)


def refused(text, **options):
    """What is told of an expression that cannot be meant: one line that names it."""
    with pytest.raises(InvalidConfig) as refusal:
        parse(text, **options)
    message = str(refusal.value)
    assert message.startswith(f"threshold: {text!r}")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"threshold: {text!r}")


def value_of(text, growing, *, seconds=10.0):
    threshold = parse(text)
    return threshold.value(threshold.read(growing.look(seconds), seconds))


# What an expression means


@pytest.mark.parametrize(
    ("text", "scope", "step", "name", "comparison", "limit", "unit", "window_s"),
    [
        ("p99<200ms", "response", "", "p99", "<", 200, "ms", None),
        ("addUser.p95<50ms", "", "addUser", "p95", "<", 50, "ms", None),
        ("failed<0.1%", "", "", "failed", "<", 0.1, "%", None),
        ("dropped==0", "", "", "dropped", "==", 0, "", None),
        ("rate>=990/s", "", "", "rate", ">=", 990, "/s", None),
        ("lag.p99<10ms", "lag", "", "p99", "<", 10, "ms", None),
        ("p99<200ms over 10s", "response", "", "p99", "<", 200, "ms", 10),
        # times
        ("p99.9<1s", "response", "", "p99.9", "<", 1_000, "ms", None),
        ("p100<=2s", "response", "", "p100", "<=", 2_000, "ms", None),
        ("p0>1us", "response", "", "p0", ">", 0.001, "ms", None),
        ("max<1.5s", "response", "", "max", "<", 1_500, "ms", None),
        ("mean<0", "response", "", "mean", "<", 0, "ms", None),
        ("response.p50<250µs", "response", "", "p50", "<", 0.25, "ms", None),
        ("service.mean<1m", "service", "", "mean", "<", 60_000, "ms", None),
        ("service.p99.99<1h", "service", "", "p99.99", "<", 3_600_000, "ms", None),
        # counts, shares and rates
        ("failed<=1_000", "", "", "failed", "<=", 1_000, "", None),
        ("ok>=99.9%", "", "", "ok", ">=", 99.9, "%", None),
        ("interrupted!=1", "", "", "interrupted", "!=", 1, "", None),
        ("expired<30/min", "", "", "expired", "<", 0.5, "/s", None),
        ("retried<36/h", "", "", "retried", "<", 0.01, "/s", None),
        ("rate>864/d", "", "", "rate", ">", 0.01, "/s", None),
        ("due>5", "", "", "due", ">", 5, "", None),
        ("queued<100", "", "", "queued", "<", 100, "", None),
        ("running<=16", "", "", "running", "<=", 16, "", None),
        # steps
        ("addUser.failed==0", "", "addUser", "failed", "==", 0, "", None),
        ("addUser.retried<5%", "", "addUser", "retried", "<", 5, "%", None),
        ("addUser.rate>10/s", "", "addUser", "rate", ">", 10, "/s", None),
        ("addUser.p99.9<1s", "", "addUser", "p99.9", "<", 1_000, "ms", None),
        ("addUser.transact.p95<50ms", "", "addUser.transact", "p95", "<", 50, "ms", None),
        ("add user.p95<50ms", "", "add user", "p95", "<", 50, "ms", None),
        ("v1.2.p95<50ms", "", "v1.2", "p95", "<", 50, "ms", None),
        ("v1.2.p99.9<50ms", "", "v1.2", "p99.9", "<", 50, "ms", None),
        ("failed.failed==0", "", "failed", "failed", "==", 0, "", None),
        ("step#2.ok>1", "", "step#2", "ok", ">", 1, "", None),
        ("step:grown later.p95<50ms", "", "grown later", "p95", "<", 50, "ms", None),
        ("step:a.b.failed<1%", "", "a.b", "failed", "<", 1, "%", None),
        ("step:lag.p99<1ms", "", "lag", "p99", "<", 1, "ms", None),
        # rows
        ("rows.users>=1000", "rows", "", "users", ">=", 1_000, "", None),
        ("rows.users>=10/s over 1m", "rows", "", "users", ">=", 10, "/s", 60),
        ("rows.order lines>0", "rows", "", "order lines", ">", 0, "", None),
        # windows
        ("failed==0 over 1s", "", "", "failed", "==", 0, "", 1),
        ("rate>=1/s over 1h", "", "", "rate", ">=", 1, "/s", 3_600),
        ("rate>=1/s over 1m30s", "", "", "rate", ">=", 1, "/s", 90),
        ("rate>=1/s over 15", "", "", "rate", ">=", 1, "/s", 15),
    ],
)
def test_an_expression_is_a_metric_a_comparison_and_a_limit(  # noqa: PLR0913, PLR0917 - its parts
    text, scope, step, name, comparison, limit, unit, window_s
):
    threshold = parse(text)
    assert (threshold.scope, threshold.step, threshold.name) == (scope, step, name)
    assert (threshold.comparison, threshold.unit) == (comparison, unit)
    assert threshold.limit == pytest.approx(limit)
    assert threshold.window_ns == (None if window_s is None else window_s * SECOND)
    assert (threshold.expression, threshold.aborts) == (text, False)


def test_spaces_may_be_anywhere_between_the_parts_and_are_shown_as_one():
    threshold = parse("  addUser.p95   <=  50  ms   over  10s ")
    assert threshold == parse("addUser.p95 <= 50 ms over 10s")
    assert threshold.expression == "addUser.p95 <= 50 ms over 10s"
    assert parse("rate >= 990 / s").limit == 990


def test_a_table_that_is_not_known_before_is_taken_as_it_is():
    assert parse("rows.anything>=1", tables=None).name == "anything"


@pytest.mark.parametrize(
    ("text", "is_so"),
    [
        ("failed<0.1%", True),
        ("failed==0", True),
        ("ok>=99%", True),
        ("failed<0.1% over 10s", False),
        ("addUser.failed<1%", False),
        ("dropped==0", False),
        ("p99<1s", False),
    ],
)
def test_what_says_how_many_execs_of_the_whole_run_may_fail(text, is_so):
    assert parse(text).judges_failures is is_so


@pytest.mark.parametrize("table", ["max", "rate", "running", "p99"])
def test_a_table_may_be_called_as_a_figure_is(table):
    threshold = parse(f"rows.{table}>=10", tables=None)
    assert (threshold.scope, threshold.name, threshold.limit) == ("rows", table, 10)
    assert threshold.unit == ""
    assert not threshold.is_gauge
    assert parse(f"rows.{table}>=10/s", tables=None).unit == "/s"


# Typing mistakes


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no threshold; write p99<200ms, addUser.p95<50ms"),
        ("p99", "is no threshold; write p99<200ms"),
        ("p99<", "is no threshold; write"),
        ("<200ms", "is no threshold; write"),
        ("p99=200ms", "is no threshold; write"),
        ("p99=<200ms", "is no threshold; write"),
        ("p99 200ms", "is no threshold; write"),
        ("failed<-1", "is no threshold; write"),
        ("failed<a few", "is no threshold; write"),
        ("p99<200MS", "is no threshold; write"),
        ("p99<200ms over", "is no threshold; write"),
        ("p99<200ms over 10 s", "is no threshold; write"),
        ("p99<200ms for 10s", "is no threshold; write"),
        ("p99<200ms\nover 10 s", "is no threshold; write"),
        # metrics
        ("fialed==0", "no 'fialed'; did you mean failed?"),
        ("droped==0", "no 'droped'; did you mean dropped?"),
        ("p999<200ms", "no 'p999'; did you mean p99.9?"),
        ("p101<200ms", "no 'p101'; there are due, ok, failed"),
        ("p99.<200ms", "'p99.' is no metric; write p99<200ms"),
        ("5xx==0", "'5xx' is no metric; write"),
        ("errors==0", "no 'errors'; there are due, ok, failed"),
        ("addUser<50ms", "addUser has several figures; write addUser.p99"),
        ("lag<50ms", "lag has several figures; write lag.p99"),
        ("lag.rate<5/s", "no 'rate'; there are p50, p99, p99.9, mean, max"),
        ("lag.p999<5ms", "no 'p999'; did you mean p99.9?"),
        ("addUsr.p95<50ms", "no 'addUsr'; did you mean addUser?"),
        ("latency.p95<50ms", "no 'latency'; there are addUser, add user"),
        ("addUser.transakt.p95<5ms", "no 'addUser.transakt'; did you mean addUser.transact?"),
        ("addUser.dropped==0", "no 'dropped'; there are ok, failed, retried, timed_out, rate, p99"),
        ("step:any.p999<1s", "no 'p999'; did you mean p99.9?"),
        ("rows.usres>1", "no 'usres'; did you mean users?"),
        ("row.users>1", "no 'row'; did you mean rows?"),
        # units
        ("p99<200", "p99 is a time; write it with a unit, as in 200ms"),
        ("p99<5%", "p99 is a time; write it with a unit"),
        ("p99<5/s", "p99 is a time; write it with a unit"),
        ("p99<5x", "'5x' is not a duration"),
        ("rate>=990", "a rate is so many a second, as in 990/s"),
        ("rate>=990rps", "a rate is so many a second, as in 990/s"),
        ("rate>=99%", "a rate is so many a second, as in 990/s"),
        ("addUser.rate>=99", "a rate is so many a second, as in 990/s"),
        ("rate>=990/fortnight", "no rate; write it as in 990/s or 30/min"),
        ("running>1", "of running it is the highest that counts: running<100"),
        ("queued!=3", "of queued it is the highest that counts: queued<100"),
        ("queued<3 over 5s", "of queued it is the highest that counts: queued<100"),
        ("queued<5/s", "no rate; write it as in"),
        ("queued<5%", "queued is no part of anything; write a number"),
        ("due>5%", "due is no part of anything; write a number"),
        ("rows.users>5%", "users is no part of anything; write a number"),
        ("failed<5ms", "failed is a count; 'ms' is no unit of it"),
        ("rows.users>5ms", "users is a count; 'ms' is no unit of it"),
        ("failed<0.1", "failed is a whole number; for a share write 0.1%"),
        # windows
        ("p99<200ms over 999ms", "a window is 1s or more, and at most 1h"),
        ("p99<200ms over 0", "a window is 1s or more, and at most 1h"),
        ("p99<200ms over 61m", "a window is 1s or more, and at most 1h"),
        ("p99<200ms over lunch", "'lunch' is not a duration; write 500ms"),
    ],
)
def test_a_typing_mistake_is_told_in_one_line_with_what_could_be_meant(text, told):
    assert told in refused(text)


@pytest.mark.parametrize("value", [5, None, b"p99<1s"])
def test_what_is_no_text_is_no_threshold(value):
    assert "is no threshold; write" in refused(value)


@pytest.mark.parametrize("text", ["ok>=100", "ok>5", "failed!=3", "rows.users>=10", "addUser.ok>1"])
def test_a_run_is_not_aborted_by_what_only_its_end_can_tell(text):
    assert "a count only grows, so this is known at the end" in refused(text, aborts=True)
    assert not parse(text).aborts


@pytest.mark.parametrize(
    "text",
    [
        "failed<5",
        "failed<=5",
        "dropped==0",
        "rate>=990/s",
        "ok>=99%",
        "p99<1s",
        "mean>1ms",
        "ok>=100 over 10s",
        "rows.users!=0 over 10s",
    ],
)
def test_a_run_is_aborted_by_what_can_be_told_before_its_end(text):
    assert parse(text, aborts=True).aborts


# Values


def test_times_are_read_from_the_histogram_of_their_scope():
    growing = Growing().ends(*range(1, 101))
    growing.recorder.lag.record(1_000 * 1_000_000)
    growing.recorder.step("addUser").service.record(7 * 1_000_000)
    assert value_of("p50<1s", growing) == pytest.approx(50, rel=0.01)
    assert value_of("p99<1s", growing) == pytest.approx(99, rel=0.01)
    assert value_of("p99.9<1s", growing) == pytest.approx(100, rel=0.01)
    assert value_of("p100<1s", growing) == value_of("max<1s", growing)
    assert value_of("mean<1s", growing) == pytest.approx(50.5, rel=0.01)
    assert value_of("lag.max<1s", growing) == pytest.approx(1_000, rel=0.01)
    assert value_of("service.max<1s", growing) == pytest.approx(100, rel=0.01)
    assert value_of("addUser.p99<1s", growing) == pytest.approx(7, rel=0.01)


def test_counts_shares_and_rates_are_of_what_is_settled():
    growing = Growing().counted(ok=90, failed=5, dropped=3, expired=1, interrupted=1)
    growing.stand(running=7, queued=9)
    assert value_of("due>0", growing) == 116
    assert value_of("failed<9", growing) == 5
    assert value_of("failed<9%", growing) == 5
    assert value_of("ok>9%", growing) == 90
    assert value_of("dropped<9%", growing) == 3
    assert value_of("failed<9/s", growing) == 0.5
    assert value_of("rate>9/s", growing) == 9.5
    assert value_of("queued<9", growing) == 9
    assert value_of("running<9", growing) == 7


def test_figures_of_a_step_count_its_last_attempts():
    growing = Growing()
    step = growing.recorder.step("addUser")
    for _ in range(20):
        step.service.record(1)
    step.failed, step.retried = 2, 10
    growing.recorder.step("add user").retried = 1
    growing.counted(ok=8, failed=2)
    assert value_of("addUser.ok>0", growing) == 8
    assert value_of("addUser.failed<9%", growing) == 20
    assert value_of("addUser.retried<9%", growing) == 100
    assert value_of("addUser.rate>1/s", growing) == 1
    assert value_of("retried<99", growing) == 11
    assert value_of("retried<9%", growing) == 110


def test_rows_are_those_of_the_table():
    growing = Growing()
    growing.rows["users"] = 30
    assert value_of("rows.users>9", growing) == 30
    assert value_of("rows.users>9/s", growing) == 3
    assert value_of("rows.order lines>9", growing) == 0


@pytest.mark.parametrize(
    "text",
    ["p99<1s", "mean<1s", "addUser.p99<1s", "step:none.p50<1s", "failed<1%", "addUser.failed<1%"],
)
def test_of_nothing_there_is_no_value_and_that_holds_nothing(text):
    value = value_of(text, Growing())
    assert value is None
    assert not parse(text).holds(value)


def test_no_time_is_no_rate():
    assert value_of("rate>=0/s", Growing().ends(1), seconds=0.0) is None


@pytest.mark.parametrize(
    ("comparison", "below", "at", "above"),
    [
        ("<", True, False, False),
        ("<=", True, True, False),
        (">", False, False, True),
        (">=", False, True, True),
        ("==", False, True, False),
        ("!=", True, False, True),
    ],
)
def test_every_comparison_means_what_it_says(comparison, below, at, above):
    threshold = parse(f"failed{comparison}5")
    assert [threshold.holds(value) for value in (4, 5, 6)] == [below, at, above]


def test_what_came_between_two_samples_is_their_difference():
    growing = Growing().ends(1, 1, 1)
    times, failed = parse("p99<1s"), parse("failed<1%")
    before = times.read(growing.look(1), 1.0), failed.read(growing.look(1), 1.0)
    growing.ends(50).ends(50, outcome="failed")
    now = growing.look(3)
    assert times.value(times.read(now, 3.0).since(before[0])) == pytest.approx(50, rel=0.01)
    assert failed.value(failed.read(now, 3.0).since(before[1])) == 50
    assert failed.read(now, 3.0).since(before[1]).seconds == 2.0
