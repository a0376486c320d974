"""What becomes of the fires of a schedule, as docs/schedules.md has it, and schedules to draw."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from tests.kit.schedule_stage import MS, T0, Act, S
from workermanager.timetables.moments import to_datetime
from workermanager.timetables.schedule import FOREVER, make_schedule
from workermanager.timetables.timetable import after, at, every

LATE = S


# The model: one schedule at a time, as docs/schedules.md has it


@dataclass
class Model:
    """What becomes of each due time of one schedule where no fire ever lacks a thread."""

    schedule: object
    acts: object
    now: int = T0
    outcomes: dict = field(default_factory=dict)  # due: state, or why it was skipped
    started: dict = field(default_factory=dict)
    waiting: list = field(default_factory=list)  # (planned, due, is_manual)
    running: dict = field(default_factory=dict)  # due: (ends, planned, started, is_manual)
    paused_until: int = 0
    failures: int = 0

    def __post_init__(self):
        timetable = self.schedule.timetable
        first = self.schedule.begins_after(T0)
        dues = timetable.tail(first, T0 + 60 * S, 100_000)
        self.coming = [(self.schedule.planned(due), due) for due in dues]

    def next_moment(self):
        ends = [run[0] for run in self.running.values()]
        grace = self.schedule.grace_ns
        outs = [] if grace is None else [one[0] + grace + 1 for one in self.waiting if not one[2]]
        resumed = self.paused_until if self.paused_until > self.now else FOREVER
        return min([*ends, *(planned for planned, _ in self.coming[:1]), *outs, resumed])

    def play(self, until):
        while (moment := self.next_moment()) <= until:
            self.now = max(self.now, moment)
            self.look()
        self.now = until

    def stall(self, until):
        """Nobody looks before then."""
        self.now = until
        self.look()

    def look(self):
        while self._look():
            pass

    def _look(self):
        self._end()
        ripe = [due for due in self.coming if due[0] <= self.now]
        self.coming = self.coming[len(ripe) :]
        for one in [one for one in ripe if one[0] <= self.paused_until]:
            self._skip(one[1], "paused")
            ripe.remove(one)
        late = sum(self.now - planned > LATE for planned, _ in ripe)
        made_up = self._make_up(ripe, late) if late else []
        for one in ripe:
            if one in made_up:
                self.waiting.append((*one, False))
            elif late and (one in ripe[:late] or self.schedule.misfire.kind == "latest"):
                self._skip(one[1], "missed")
            else:
                self._take(*one)
        self._begin()
        return any(ends <= self.now for ends, *_ in self.running.values())

    def _make_up(self, ripe, late):
        """Those that run because some were missed, whatever runs; what came with them as well."""
        kind, limit = self.schedule.misfire.kind, self.schedule.misfire.limit
        if kind == "all":
            return ripe[max(0, late - limit) :]
        return ripe[-1:] if kind == "latest" else []

    def _take(self, planned, due):
        overlap, busy = self.schedule.overlap, len(self.running) + len(self.waiting)
        if overlap == "cancel-running":
            for one in [one for one in self.waiting if not one[2]]:
                self.waiting.remove(one)
                self._skip(one[1], "overlap")
            for key, (_, *rest) in list(self.running.items()):
                if self.acts(key).heeds:
                    self.running[key] = (self.now, *rest, "cancelled")
        elif (overlap == "skip" and busy) or (overlap == "queue-one" and busy > 1):
            self._skip(due, "overlap")
            return
        self.waiting.append((planned, due, False))

    def _begin(self):
        grace, allows = self.schedule.grace_ns, self.schedule.overlap == "allow"
        for one in sorted(self.waiting):
            planned, due, is_manual = one
            if not is_manual and grace is not None and self.now - planned > grace:
                self.waiting.remove(one)
                self._skip(due, "grace")
            elif (is_manual or self.now >= self.paused_until) and (allows or not self.running):
                self.waiting.remove(one)
                self.running[due] = (self.now + self.acts(due).takes, planned, self.now)
                self.started[due] = self.now

    def _end(self):
        for due, (ends, planned, started, *cancelled) in sorted(
            self.running.items(), key=lambda item: item[1][0]
        ):
            if ends > self.now:
                continue
            del self.running[due]
            if cancelled:
                self.outcomes[due] = "failed"
                continue
            failed = self.acts(due).fails
            late = "late" if started - planned > LATE else "ran"
            self.outcomes[due] = "failed" if failed else late
            self.failures = self.failures + 1 if failed else 0
            if self.schedule.pause_after and self.failures >= self.schedule.pause_after:
                self.failures = 0
                pause = self.schedule.pause_for_ns
                until = FOREVER if pause is None else ends + pause
                self.paused_until = max(self.paused_until, until)

    def _skip(self, due, reason):
        assert due not in self.outcomes
        self.outcomes[due] = reason

    # What others do

    def pause(self, until):
        self.paused_until = until

    def resume(self):
        self.paused_until = min(self.now, self.paused_until)
        self.failures = 0
        self.look()

    def run_now(self):
        self.waiting.append((self.now, self.now, True))
        self.look()


# What is drawn


@dataclass(frozen=True)
class Deed:
    """What somebody does to a schedule, so long after the deed before."""

    gap_ms: int
    kind: str
    which: int
    lasts_ms: int


TIMETABLES = st.one_of(
    st.builds(
        lambda period, jitter, now: every(f"{period}ms", jitter=f"{jitter}ms", immediately=now),
        st.sampled_from([90, 110, 300, 1_000, 2_500]),
        st.sampled_from([0, 0, 40, 5_000]),
        st.booleans(),
    ),
    st.builds(lambda ms: at(to_datetime(T0 + ms * MS)), st.integers(-9_000, 5_000)),
    st.builds(lambda ms: after(f"{ms}ms"), st.integers(0, 5_000)),
)
POLICIES = st.fixed_dictionaries(
    {
        "overlap": st.sampled_from(["skip", "queue-one", "queue", "cancel-running", "allow"]),
        "misfire": st.sampled_from(["latest", "skip", "all", "all(3)"]),
        "grace": st.sampled_from([None, None, "0ms", "90ms", "2s"]),
        "pause_after": st.sampled_from([None, None, 1, 2]),
        "lost": st.sampled_from(["report", "rerun"]),
    }
)
ACTS = st.lists(
    st.builds(
        Act,
        takes=st.sampled_from([0, 0, MS, 120 * MS, 350 * MS, 2_600 * MS]),
        fails=st.sampled_from([False, False, True]),
        heeds=st.booleans(),
    ),
    min_size=7,
    max_size=7,
)


def deeds(*kinds):
    deed = st.builds(
        Deed,
        gap_ms=st.integers(1, 2_000),
        kind=st.sampled_from(kinds),
        which=st.integers(0, 2),
        lasts_ms=st.integers(1, 3_000),
    )
    return st.lists(deed, max_size=6)


@st.composite
def schedules(draw):
    drawn = []
    for number in range(draw(st.integers(1, 3))):
        policies = draw(POLICIES)
        if policies["pause_after"] and draw(st.booleans()):
            policies["pause_for"] = "400ms"
        drawn.append(make_schedule(f"job-{number}", draw(TIMETABLES), **policies))
    return drawn


def chooser(acts):
    """The act of each fire, by when that is due."""
    return lambda due: acts[due // MS % len(acts)]
