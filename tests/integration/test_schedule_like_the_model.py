"""Random schedules, kept in virtual time, do what the model says: each fire, and why."""

from __future__ import annotations

import tempfile
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from loguru import logger

from tests.integration.schedule_model import ACTS, Model, chooser, deeds, schedules
from tests.kit.schedule_stage import MS, T0, Hand, S, Stage
from workermanager.database.schedule_store import ScheduleStore
from workermanager.scheduler.memory import MemoryStore
from workermanager.scheduler.roster import PATIENCE_NS
from workermanager.timetables.schedule import FOREVER
from workermanager.timetables.timetable import Once

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


@settings(bounded, max_examples=120)
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
    end = max(stage.now, T0 + HORIZON) + MS // 2
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


@settings(bounded, max_examples=100)
@given(
    schedules(),
    ACTS,
    deeds("pause", "pause until", "resume", "run now", "stall"),
    st.fixed_dictionaries({"threads": st.integers(1, 4), "look_ms": st.sampled_from([0, 3, 19])}),
)
def test_of_every_fire_comes_one_thing_though_threads_are_few(drawn, acts, todo, how):
    check_house(House(drawn, chooser(acts), how, None), todo)


@settings(bounded, max_examples=8)
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
        left = sum(run.is_cut for run in stage.runs) if house.memory else 0
        still = [entry.progress.counts.running for entry in house.store.entries(stage.now)]
        assert sum(still) == left
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
        assert schedule.planned(coming) >= now - PATIENCE_NS, "nobody has looked"
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
    if schedule.pause_after or any(began <= planned <= end + 6 * S for began, end in house.blind):
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
        if reason == "overlap" and schedule.overlap == "skip" and schedule.grace_ns is None:
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
