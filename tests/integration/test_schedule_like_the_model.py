"""Random schedules, kept in virtual time, do what the model says: each fire, and why."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from loguru import logger

from tests.kit.schedule_stage import MS, T0, Act, Hand, S, Stage
from workermanager.database.schedule_store import ScheduleStore
from workermanager.scheduler.memory import MemoryStore
from workermanager.scheduler.roster import PATIENCE_NS
from workermanager.timetables.moments import to_datetime
from workermanager.timetables.schedule import FOREVER, make_schedule
from workermanager.timetables.timetable import Once, after, at, every

LATE = S
HORIZON = 9 * S
ROOMY = 400  # threads, so that none waits for one
bounded = settings(
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(autouse=True)
def _nobody_reads_the_log():
    logger.disable("workermanager")
    yield
    logger.enable("workermanager")


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


# What a store says


def outcomes_of(store, schedule):
    """What became of each due time, each of them once."""
    found = {}
    for record in store.history(schedule.name, 100_000):
        if record.count > 1:
            dues = schedule.timetable.tail(record.due - 1, record.last, 100_000)
        else:
            dues = [record.due]
        assert len(dues) == record.count
        for due in dues:
            assert due not in found, "twice in the history"
            found[due] = record.reason if record.state == "skipped" else str(record.state)
    return found


def check_counts(store, now):
    """All counts add up, and are those of the history."""
    for entry in store.entries(now):
        counts = entry.progress.counts
        counts.check()
        found = Counter(outcomes_of(store, entry.schedule).values())
        of_states = {name: found.pop(name, 0) for name in ("ran", "late", "failed")}
        assert of_states == {name: counts[name] for name in of_states}
        assert sum(found.values()) == counts.skipped


# One keeper that never lacks a thread does exactly what the model does


@settings(bounded, max_examples=250)
@given(
    schedules(), ACTS, deeds("pause", "pause until", "resume", "run now", "stall"), st.booleans()
)
def test_a_keeper_with_enough_threads_does_what_the_model_says(drawn, acts, todo, is_kept):
    act = chooser(acts)
    with tempfile.TemporaryDirectory() as folder:
        if is_kept and len(todo) > 3:  # a look at it costs a thousand times as much
            store = ScheduleStore(f"sqlite:///{folder}/s.db", monotonic=lambda: T0)
        else:
            store = MemoryStore()
        try:
            play_like_the_model(drawn, act, todo, store)
        finally:
            store.close()


def play_like_the_model(drawn, act, todo, store):
    stage = Stage()
    hand = Hand(stage, store, drawn, lambda fire: act(fire.due), threads=ROOMY, most_ahead_ns=0)
    kept = [entry.schedule for entry in store.entries(T0)]
    models = {schedule.name: Model(schedule, act) for schedule in kept}
    for number, deed in enumerate(todo, 1):
        moment = stage.now // MS * MS + deed.gap_ms * MS + number  # never when a fire is due
        stage.play(moment)
        for model in models.values():
            model.play(moment)
        lasts = deed.lasts_ms * MS
        if deed.kind == "stall":
            stage.pass_to(moment + lasts)
            for model in models.values():
                model.stall(moment + lasts)
        else:
            name = kept[deed.which % len(kept)].name
            control(hand, name, deed.kind, moment + lasts)
            steer(models[name], deed.kind, moment + lasts)
    end = max(stage.now, T0 + HORIZON) + 1
    stage.play(end)
    check_counts(store, end)
    for entry in store.entries(end):
        schedule = entry.schedule
        model = models[schedule.name]
        model.play(end)
        assert outcomes_of(store, schedule) == model.outcomes
        counts = entry.progress.counts
        assert (counts.running, counts.waiting) == (len(model.running), len(model.waiting))
        mine = {
            run.fire.due: run.started for run in stage.runs if run.fire.schedule == schedule.name
        }
        assert mine == model.started
        told = hand.tally.report(hand.keeper.waiting()).schedules.get(schedule.name)
        assert told is None or told == counts


def control(hand, name, kind, until):
    now, fire = hand.stage.now, None
    if kind == "pause":
        hand.store.pause(name, now)
    elif kind == "pause until":
        hand.store.pause(name, now, until)
    elif kind == "resume":
        hand.store.resume(name, now)
    else:
        fire = hand.store.request(name, now)
    hand.keeper.nudge(name)
    return fire


def steer(model, kind, until):
    if kind == "pause":
        model.pause(FOREVER)
    elif kind == "pause until":
        model.pause(until)
    elif kind == "resume":
        model.resume()
    else:
        model.run_now()


# Keepers that lack threads, share a store, stop, and are killed: what holds of all that comes of it


class House:
    """Keepers on one store, which come and go."""

    def __init__(self, drawn, act, how, url):
        self.drawn, self.act, self.how, self.url = drawn, act, how, url
        self.stage = Stage()
        self.stores = []
        self.blind = []  # from when until when some keeper did not look
        self.asked = set()
        self.memory = None if url else MemoryStore()
        for _ in range(how["keepers"] if url else 1):
            self.open()
        self.store = self.stores[0]
        self.schedules = {entry.schedule.name: entry.schedule for entry in self.store.entries(T0)}

    def open(self):
        stage, how = self.stage, self.how
        clock = lambda: stage.now  # noqa: E731
        store = self.memory or ScheduleStore(self.url, lease="900ms", monotonic=clock)
        self.stores.append(store)
        takes = how["look_ms"] * MS
        act = lambda fire: self.act(fire.due)  # noqa: E731
        return Hand(stage, store, self.drawn, act, threads=how["threads"], look_ns=takes)

    def do(self, deed, number):
        stage = self.stage
        began = stage.now // MS * MS + deed.gap_ms * MS + number
        stage.play(began)
        hand = stage.keepers[deed.which % len(stage.keepers)]
        name = [*self.schedules][deed.which % len(self.schedules)]
        if deed.kind == "stall" or (deed.kind in ("stop", "kill") and self.memory):
            stage.pass_to(began + deed.lasts_ms * MS)
        elif deed.kind in ("stop", "kill"):
            getattr(hand, deed.kind)()
            if not stage.keepers:
                stage.pass_to(stage.now + deed.lasts_ms * MS)
            self.open()
        else:
            fire = control(hand, name, deed.kind, began + deed.lasts_ms * MS)
            self.asked |= {(name, fire.due)} if fire else set()
        if stage.now > began or deed.kind in ("stop", "kill"):
            self.blind.append((began, stage.now))

    def close(self):
        for store in self.stores:
            store.close()


@settings(bounded, max_examples=150)
@given(
    schedules(),
    ACTS,
    deeds("pause", "pause until", "resume", "run now", "stall"),
    st.fixed_dictionaries({"threads": st.integers(1, 4), "look_ms": st.sampled_from([0, 3, 19])}),
)
def test_of_every_fire_comes_one_thing_though_threads_are_few(drawn, acts, todo, how):
    check_house(House(drawn, chooser(acts), how, None), todo)


@settings(bounded, max_examples=12)
@given(
    schedules(),
    ACTS,
    deeds("pause until", "resume", "run now", "stall", "stop", "kill", "kill"),
    st.fixed_dictionaries(
        {
            "threads": st.integers(1, 4),
            "look_ms": st.sampled_from([0, 3, 19]),
            "keepers": st.integers(1, 2),
        }
    ),
)
def test_of_every_fire_comes_one_thing_though_keepers_come_and_go(drawn, acts, todo, how):
    with tempfile.TemporaryDirectory() as folder:
        check_house(House(drawn, chooser(acts), how, f"sqlite:///{folder}/s.db"), todo)


def check_house(house, todo):
    try:
        for number, deed in enumerate(todo, 1):
            house.do(deed, number)
        stage = house.stage
        rounds = 1 if house.memory else 5  # a silent one is dead after three looks at the least
        stage.play(max(stage.now, T0 + 4 * S) + rounds * S)
        check_counts(house.store, stage.now)
        for entry in house.store.entries(stage.now):
            check_fires(house, entry)
        check_threads(house)
        if len(house.stores) == 1:
            check_report(house)
        for hand in list(stage.keepers):
            hand.stop()
        check_counts(house.store, stage.now)
        assert not any(entry.progress.counts.running for entry in house.store.entries(stage.now))
    finally:
        house.close()


def check_fires(house, entry):
    schedule, cursor, now = entry.schedule, entry.progress.cursor, house.stage.now
    name, timetable = schedule.name, schedule.timetable
    outcomes = outcomes_of(house.store, schedule)
    since = schedule.begins_after(T0)
    dues = set(timetable.tail(since, max(since, cursor), 100_000))
    asked = {due for of, due in house.asked if of == name}
    assert outcomes.keys() <= dues | asked
    still = entry.progress.counts.running + entry.progress.counts.waiting
    assert len((dues | asked) - outcomes.keys()) == still, "lost, or counted twice"
    coming = timetable.after(cursor)
    if coming is not None:
        assert schedule.planned(coming) > now - PATIENCE_NS, "nobody has looked"
    runs = [run for run in house.stage.runs if run.fire.schedule == name]
    check_runs(house, schedule, runs)
    check_reasons(house, schedule, runs, outcomes)


def check_runs(house, schedule, runs):
    most = 3 if schedule.lost == "rerun" else 1
    assert max(Counter(run.fire.due for run in runs).values(), default=0) <= most
    assert len({(run.fire.due, run.fire.attempt) for run in runs}) == len(runs), "run twice"
    free = sorted(runs, key=lambda run: run.started)
    for run, following in pairwise(free):
        if schedule.overlap != "allow":
            assert run.ended is not None, "two at once"
            assert run.ended <= following.started, "two at once"
    for run in runs:
        assert run.started >= run.fire.planned, "before its time"
        if run.fire.attempt == 1 and not run.fire.is_manual and is_idle(house, schedule, run):
            assert run.started == run.fire.planned, "an idle pool was late"


def is_idle(house, schedule, run):
    """True where nothing stood in the way of a fire when it was planned."""
    planned = run.fire.planned
    since = planned - 21 * MS
    if schedule.pause_after or any(began <= planned <= end + 5 * S for began, end in house.blind):
        return False
    others = [
        one
        for one in house.stage.runs
        if one is not run and one.started <= planned and (one.ended or planned) >= since
    ]
    is_free = len(others) < house.how["threads"]
    return is_free and planned > T0 and all(one.fire.schedule != schedule.name for one in others)


def check_reasons(house, schedule, runs, outcomes):
    reasons = set(outcomes.values()) - {"ran", "late", "failed"}
    allowed = {"paused", "overlap"}
    if house.blind or isinstance(schedule.timetable, Once):
        allowed.add("missed")
    if schedule.grace_ns is not None:
        allowed.add("grace")
    assert reasons <= allowed
    assert schedule.overlap in ("skip", "queue-one", "cancel-running") or "overlap" not in reasons
    for due, reason in outcomes.items():
        planned = schedule.planned(due)
        if reason == "overlap" and schedule.overlap == "skip" and not schedule.grace_ns:
            assert any(
                run.fire.planned <= planned + PATIENCE_NS
                and (run.is_cut or run.ended is None or run.ended >= planned)
                for run in runs
            ), "nothing overlapped"


def check_threads(house):
    """No keeper runs more at once than it has threads."""
    moments = sorted(
        (moment, step, id(run.hand))
        for run in house.stage.runs
        for moment, step in ((run.started, 1), (run.ended or house.stage.now + 1, 0))
    )
    running = Counter()
    for _, step, hand in moments:
        running[hand] += 1 if step else -1
        assert running[hand] <= house.how["threads"]


def check_report(house):
    """What the only keeper says is what the store has."""
    (hand,) = house.stage.keepers
    told = hand.tally.report(hand.keeper.waiting()).schedules
    for entry in house.store.entries(house.stage.now):
        counts = entry.progress.counts
        assert told.get(entry.schedule.name, type(counts)()) == counts
