"""Random pools, run for real, do what the model says: results, order, attempts and counts."""

import errno
import json
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.integration.pool_model import BYE_CODE, OUTPUTS, Act, Model, Plan
from workermanager.cli.witnesses import Bystander
from workermanager.processes import children as children_module
from workermanager.processes import pool as pool_module
from workermanager.processes.halting import parse_halt
from workermanager.processes.launching import Launcher
from workermanager.processes.pool import PoolSettings, ProcessPool
from workermanager.processes.records import Records
from workermanager.processes.schedule import Schedule
from workermanager.processes.task import Task
from workermanager.processes.tasks import Tasks

HANG_S = 0.06
LONG_S = 50.0
PATIENCE_S = 10
LIMITS = [10, 22, 65_537, 256_000_000]
TRAPS = {"dies": "", "ignores": "trap '' TERM", "exits": f"trap 'echo bye; exit {BYE_CODE}' TERM"}
WAITS = {
    "dies": "sleep 60 & sleep 60",
    "ignores": "sleep 60 & while :; do sleep 60; done",
    "exits": "sleep 60 & wait",
}
HALTS = ["soon,fail=1", "now,fail=1", "soon,fail=2", "now,fail=3", "soon,fail=25%", "now,fail=50%"]


class Stage:
    """A pool's folder, whose log has what happens in it, in order.

    Each attempt of a task runs the same path, which leads to what that attempt is to do.
    """

    def __init__(self, folder, plans, drawn):
        self.folder, self.plans, self.drawn = folder, plans, drawn
        self.log = folder / "log"
        self.results, self.groups = {}, set()
        self.pool = None
        self._heard = -1
        self._descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
        self._others = len(self._children.read_text().split())  # such as multiprocessing's
        for name, data in OUTPUTS.items():
            (folder / name).write_bytes(data)
        for plan in plans:
            for number, act in enumerate(plan.acts, 1):
                self._write(plan.identifier, number, act)

    def _write(self, name, number, act):
        path = self.folder / f"{name}.{number}"
        if act.ends == "absent":
            return
        if act.ends == "plain":
            path.touch()
            return
        run = f'read n < {path.parent / name}.n; echo "+ {name} $n" >> {self.log}'
        write = [
            f"cat {self.folder / source} >&{stream}"
            for source, stream in ((act.output, 1), (act.error, 2))
            if OUTPUTS[source]
        ]
        is_endless = act.ends == "hangs"
        lines = ["#!/bin/sh", *([*write, TRAPS[act.hears], run] if is_endless else [run, *write])]
        lines.append("sleep 60 &" if act.holds else "")
        if is_endless:
            lines.append(WAITS[act.hears])
        lines.append(f'echo "- {name} $n" >> {self.log}')
        last = "kill -{} $$" if act.ends == "signaled" else "exit {}"
        lines.append(last.format(act.number))
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o755)

    def note(self, *words):
        os.write(self._descriptor, f"{' '.join(map(str, words))}\n".encode())

    # What the pool tells

    def begun(self, task, attempt):
        plan = next(plan for plan in self.plans if plan.identifier == task.identifier)
        path = self.folder / task.identifier
        path.unlink(missing_ok=True)
        path.symlink_to(f"{task.identifier}.{min(attempt, len(plan.acts))}")
        path.with_suffix(".n").write_text(f"{attempt}\n")
        self.note(
            "begun",
            task.identifier,
            attempt,
            len(self._children.read_text().split()) - self._others,
        )
        self.hear()

    def ending(self, result):
        """It is heard of when it has ended."""

    def ended(self, number, result):
        self.note("ended", result.identifier)
        self.hear()

    def hear(self):
        self._heard += 1
        if self._heard == self.drawn.stop_at:
            self.note("stop")
            self.pool.stop()
        elif self._heard == self.drawn.kill_at:
            self.note("kill")
            self.pool.kill()

    # How it runs

    def run(self):
        tasks = Tasks.of(self.task(plan) for plan in self.plans)
        records = Records(len(tasks))
        halt = self.drawn.halt and parse_halt(self.drawn.halt, "--halt")
        settings = PoolSettings(
            slots=self.drawn.slots,
            timeout_ns=self.drawn.timeout_s and round(self.drawn.timeout_s * 1e9),
            retries=self.drawn.retries,
            grace_ns=round(self.drawn.grace_s * 1e9),
            max_output=self.drawn.max_output,
            halt=halt,
        )
        try:
            self.pool = ProcessPool(tasks, records, settings, self)
            self.hear()
            self.pool.run()
            for number, plan in enumerate(self.plans):
                pieces = []
                records.copy(number, pieces.append)
                result = json.loads(b"".join(pieces))
                assert result["identifier"] == plan.identifier
                self.results[plan.identifier] = result
        finally:
            tasks.close()
            records.close()
            os.close(self._descriptor)
        return self.pool.counts

    def task(self, plan):
        """What is as the pool has it is sometimes left to that."""
        timeout = plan.hang_s or LONG_S
        retries = plan.retries
        return Task(
            plan.identifier,
            str(self.folder / plan.identifier),
            timeout=None if timeout == self.drawn.timeout_s else timeout,
            retries=None if retries == self.drawn.retries else retries,
            after=plan.after,
            always=plan.always,
        )

    # What is left

    def have_ended(self):
        """Wait until none of its programs' groups lives: what was killed takes a moment."""
        until = time.monotonic() + PATIENCE_S
        while self.groups & living_groups():
            if time.monotonic() > until:
                return False
            time.sleep(0.001)
        return True

    def end_groups(self):
        """End what programs left behind, which may hold their output open."""
        for group in self.groups & living_groups():
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def lines(self):
        return self.log.read_text().splitlines()


def own_children():
    """The processes whose parent this one is, also those that wait to be asked how they ended."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(pid) for one in lists for pid in one.read_text().split()}


def count_descriptors():
    return len([*Path("/dev/fd").iterdir()])


def living_groups():
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
            found |= {int(group)} if state not in "ZX" else set()
    return found


outputs = st.sampled_from(["none", "none", "none", *OUTPUTS])
exits = st.builds(
    Act,
    number=st.sampled_from([0, 0, 0, 0, 1, 3, 124, 125, 126, 127, 128, 137, 143, 255]),
    output=outputs,
    error=outputs,
    holds=st.sampled_from([False] * 7 + [True]),
)
signals = st.builds(
    Act,
    ends=st.just("signaled"),
    number=st.sampled_from([1, 2, 9, 10, 13, 15]),
    output=outputs,
)
not_started = st.builds(Act, ends=st.sampled_from(["absent", "plain"]))
hangs = st.builds(
    Act, ends=st.just("hangs"), hears=st.sampled_from([*TRAPS]), output=outputs, error=outputs
)
quick = st.lists(
    st.one_of(st.builds(Act, output=outputs), exits, exits, signals, not_started),
    min_size=1,
    max_size=3,
)
hanging = st.lists(st.one_of(hangs, hangs, not_started), min_size=1, max_size=2)


def how(**settings):
    """A pool's settings, and what happens to it."""
    usual = {"slots": 1, "timeout_s": None, "retries": 0, "grace_s": 5.0, "max_output": LIMITS[-1]}
    calm = {"halt": None, "stop_at": None, "kill_at": None, "no_room": frozenset()}
    return SimpleNamespace(**{**usual, **calm, **settings})


@st.composite
def pools(draw, *, is_disturbed=False):
    """Plans in any order, and how their pool is to go about them."""
    count = draw(st.integers(0, 12))
    names = draw(st.permutations([f"t{number}" for number in range(count)]))
    all_retries = draw(st.integers(0, 2))
    plans = []
    for number, name in enumerate(names):
        acts = draw(hanging if draw(st.sampled_from([False] * 11 + [True])) else quick)
        before = st.lists(st.sampled_from(names[:number] or [""]), unique=True, max_size=3)
        after = tuple(draw(before)) if number and draw(st.booleans()) else ()
        plans.append(
            Plan(
                name,
                acts,
                retries=draw(st.sampled_from([0, 1, 3, all_retries])),
                after=after,
                always=bool(after) and draw(st.booleans()),
                hang_s=HANG_S if any(act.ends == "hangs" for act in acts) else 0,
            )
        )
    all_acts = [act for plan in plans for act in plan.acts]
    drawn = how(
        slots=draw(st.integers(1, 8)),
        timeout_s=draw(st.sampled_from([LONG_S, None, HANG_S])),
        retries=all_retries,
        grace_s=0.02 if any(act.hears == "ignores" for act in all_acts) else 5.0,
        max_output=draw(st.sampled_from(LIMITS)),
    )
    if is_disturbed:
        drawn.halt = draw(st.sampled_from([None, *HALTS]))
        if drawn.halt is None or draw(st.booleans()):
            drawn.stop_at = draw(st.integers(0, 2 * count))
            drawn.kill_at = drawn.stop_at + draw(st.integers(1, 6))
        drawn.no_room = frozenset(draw(st.lists(st.integers(1, count + 1), max_size=4)))
    return draw(st.permutations(plans)), drawn


def run_like_the_model(plans, drawn):
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool_module, "_FIRST_WAIT_NS", 1_000_000)
        patch.setattr(pool_module, "_LONGEST_WAIT_NS", 3_000_000)
        patch.setattr(children_module, "_DRAIN_NS", 20_000_000)
        stage = Stage(Path(name), plans, drawn)
        patch.setattr(Launcher, "launch", scarcely(stage))
        descriptors = count_descriptors()
        children_before = own_children()  # of other tests, such as multiprocessing's
        try:
            counts = stage.run()
            assert count_descriptors() == descriptors - 1  # its log is closed
            assert own_children() <= children_before
            if not any(act.holds for plan in plans for act in plan.acts):
                assert stage.have_ended()
        finally:
            stage.end_groups()
        model = Model(
            plans,
            stage.results,
            drawn.slots,
            drawn.max_output,
            drawn.grace_s,
            halt=drawn.halt,
            may_be_killed=drawn.grace_s < 1,
        )
        try:
            model.follow(stage.lines())
        except AssertionError as error:
            error.add_note("\n".join(stage.lines()))
            raise
        assert {str(status): number for status, number in counts.items()} == model.counts
        return model


def scarcely(stage):
    """Starts programs, but some of the starts find no room."""
    launch, starts = Launcher.launch, Counter()

    def launch_or_not(self, *args):
        starts["all"] += 1
        if starts["all"] in stage.drawn.no_room:
            stage.note("no-room")
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        pid = launch(self, *args)
        stage.groups.add(pid)
        return pid

    return launch_or_not


FOUR_BAD = [Plan(f"t{number}", [Act(number=1)]) for number in range(4)]
bounded = settings(
    deadline=None,
    derandomize=True,
    phases=[
        Phase.explicit,
        Phase.generate,
    ],  # to shrink real pools takes minutes; the log says more
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
)


@settings(bounded, max_examples=60)
@given(pools())
def test_a_pool_does_what_the_model_says(drawn):
    model = run_like_the_model(*drawn)
    assert model.counts["cancelled"] == 0


@settings(bounded, max_examples=90)
@given(pools(is_disturbed=True))
@example((FOUR_BAD, how(halt="soon,fail=50%")))
@example((FOUR_BAD, how(halt="now,fail=51%")))
def test_a_pool_that_is_stopped_or_halted_does_what_the_model_allows(drawn):
    run_like_the_model(*drawn)


def test_as_many_run_at_once_as_there_are_places(tmp_path):
    """Each waits for all others."""
    meet = f"echo >> {tmp_path}/met; until [ $(wc -l < {tmp_path}/met) = 5 ]; do sleep 0.01; done"
    tasks = Tasks.of(Task(str(number), "sh", ("-c", meet), timeout=LONG_S) for number in range(5))
    records = Records(5)
    witness = Bystander()
    pool = ProcessPool(tasks, records, PoolSettings(slots=5), witness)
    pool.run()
    tasks.close()
    records.close()
    assert pool.counts == {"ok": 5}


def test_attempts_come_after_a_tenth_of_a_second_doubling_to_ten(monkeypatch):
    waits = []

    def retry(self, number, attempt, at_ns):
        waits.append(at_ns / 1e9)
        real(self, number, attempt, 0)

    real = Schedule.retry
    monkeypatch.setattr(Schedule, "retry", retry)
    monkeypatch.setattr(pool_module, "time", SimpleNamespace(monotonic_ns=lambda: 0))
    tasks, records = Tasks.of([Task("bad", "false", retries=12)]), Records(1)
    witness = Bystander()
    ProcessPool(tasks, records, PoolSettings(), witness).run()
    tasks.close()
    records.close()
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10, 10, 10]
