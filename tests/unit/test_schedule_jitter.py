"""Jitter: the same for the same fire, within its bounds, in order, and never added up."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrumentation.errors import InvalidConfig
from workermanager.timetables.jitter import planned
from workermanager.timetables.moments import LAST_MOMENT, SECOND_NS, to_moment
from workermanager.timetables.timetable import after, at, cron, every

START = datetime(2026, 1, 1, tzinfo=UTC)
START_NS = to_moment(START)
FIRES = 100_000


@pytest.fixture(scope="module")
def delays():
    """The jitter of 100,000 fires of a schedule that is due once a minute, of up to 10 s."""
    timetable = every("1m", start=START, jitter="10s")
    dues = timetable.tail(START_NS - 1, START_NS + (FIRES - 1) * 60 * SECOND_NS, FIRES)
    assert len(dues) == FIRES
    return [timetable.planned("nightly", due) - due for due in dues]


def test_jitter_stays_within_its_bounds(delays):
    assert 0 <= min(delays) < 0.01 * SECOND_NS
    assert 9.99 * SECOND_NS < max(delays) < 10 * SECOND_NS


def test_jitter_has_not_drifted_after_100_000_fires(delays):
    for part in (delays[:1_000], delays[-1_000:], delays):
        assert 4.5 < sum(part) / len(part) / SECOND_NS < 5.5


def test_jitter_is_spread_evenly(delays):
    tenths = [delay * 10 // (10 * SECOND_NS) for delay in delays]
    assert all(0.09 < tenths.count(tenth) / FIRES < 0.11 for tenth in range(10))


def test_the_same_fire_has_the_same_jitter_in_every_process():
    due = START_NS + 60 * SECOND_NS
    code = (
        "from workermanager.timetables.timetable import every\n"
        f"print(every('1m', jitter='10s').anchored({START_NS}).planned('nightly', {due}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) == every("1m", start=START, jitter=10).planned("nightly", due)


def test_schedules_that_are_due_together_are_spread_apart():
    timetable = cron("@hourly", tz="UTC", jitter="10m")
    due = timetable.after(START_NS)
    assert len({timetable.planned(f"job {n}", due) for n in range(100)}) == 100


timetables = st.one_of(
    st.builds(
        lambda period, jitter: every(period, start=START, jitter=jitter),
        st.sampled_from(["1ms", "1s", "1h"]),
        st.sampled_from(["1ns", "1s", "7d"]),
    ),
    st.builds(
        lambda text, jitter: cron(text, tz="Europe/Berlin", jitter=jitter),
        st.sampled_from(["* * * * * *", "*/5 * * * *", "30 2 * * *", "0,1,59 * * * *"]),
        st.sampled_from(["1ns", "1s", "7d"]),
    ),
)


@given(timetables, st.text(), st.integers(0, 10**16))
def test_jitter_keeps_the_order_of_fires(timetable, name, offset):
    dues = [timetable.after(START_NS + offset)]
    for _ in range(5):
        dues.append(timetable.after(dues[-1]))
    starts = [timetable.planned(name, due) for due in dues]
    for (due, start), (following, _) in pairwise(zip(dues, starts, strict=True)):
        assert due <= start < min(following, due + timetable.jitter_ns)


def test_the_last_fire_has_its_whole_jitter():
    last = every("1s", start=START, end=START + timedelta(seconds=1), jitter="1h")
    starts = [last.planned(f"{n}", START_NS + SECOND_NS) - START_NS for n in range(100)]
    assert max(starts) > 1_800 * SECOND_NS
    for once in (at(START, jitter="1h"), after(0, jitter="1h").anchored(START_NS)):
        assert once.planned("0", START_NS) == planned("0", START_NS, None, 3_600 * SECOND_NS)
        assert once.planned("0", START_NS) > START_NS


def test_jitter_does_not_leave_the_range_of_moments():
    once = at(START, jitter="1000000000000s")
    starts = [once.planned(f"{n}", START_NS) for n in range(100)]
    assert max(starts) <= LAST_MOMENT


def test_without_jitter_a_fire_starts_when_it_is_due():
    assert every("1s", start=START).planned("nightly", START_NS) == START_NS
    assert planned("nightly", START_NS, START_NS + 1, 0) == START_NS


def test_jitter_that_is_no_duration_is_refused():
    with pytest.raises(InvalidConfig, match="jitter: 'some' is not a duration"):
        every("1s", jitter="some")
