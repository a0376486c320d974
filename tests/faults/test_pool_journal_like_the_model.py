"""Kills at any write of a journal, edits, resumes: what runs again, and what comes out at last."""

import json
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.kit.process_pool import Pool, lines_of, task

# Runs the command line, and is killed (or stopped) at a write of the journal: before it, after it,
# or with a piece of it written. Attempts follow each other soon.
KILLED = """
import os, signal, sys
from workermanager.cli import main
from workermanager.processes import pool

left, how, write = int(os.environ["KILL_AT"]), os.environ["KILL_HOW"], os.pwrite
pool._FIRST_WAIT_NS = 1_000_000

def write_or_die(descriptor, data, at):
    global left
    left -= os.readlink(f"/proc/self/fd/{descriptor}").endswith("/journal")
    if left:
        return write(descriptor, data, at)
    left = -1
    pieces = {"before": 0, "1": 1, "half": len(data) // 2, "end": -1, "after": None, "term": None}
    piece = data[: pieces[how]]
    written = write(descriptor, piece, at) if piece else 0
    os.kill(os.getpid(), signal.SIGTERM if how == "term" else signal.SIGKILL)
    return written

os.pwrite = write_or_die
sys.argv[0] = "workermanager"
main()
"""
HOWS = ("before", "1", "half", "end", "after", "term")
# What a task does: notes that it runs, and ends as it is told to.
ACT = """
echo "$1" >> ran
case $2 in
    mend) test -e mended;;
    9) kill -9 $$;;
    *) exit $2;;
esac
"""
ENDS = {"0": ("ok", 0), "3": ("failed", 3), "9": ("signaled", 137), "absent": ("not_started", 127)}
FINISHED = {"ok", "failed", "signaled", "timeout", "not_started"}
PATIENCE_S = 20


@dataclass(frozen=True)
class Plan:
    """A task as it stands in the file; ``edit`` is part of its content, and means nothing."""

    name: str
    end: str = "0"
    edit: int = 0
    retries: int = 0
    after: tuple = ()
    always: bool = False

    def json(self, act):
        words = ("no-such",) if self.end == "absent" else ("sh", act)
        more = {"after": self.after, "always": self.always} if self.after else {}
        args = (self.name, self.end, str(self.edit))
        return task(self.name, *words, *args, retries=self.retries, **more)


@dataclass
class Journal:
    """What a journal says, as its sentences have it; tasks are known by their content."""

    path: Path
    lines: list = field(default_factory=list)
    states: dict = field(default_factory=dict)  # by content: None once begun, or the last result
    contents: dict = field(default_factory=dict)  # by key

    def read_on(self, contents):
        """The whole lines that are new."""
        text = self.path.read_bytes().decode() if self.path.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()
        assert lines[: len(self.lines)] == self.lines, "it has not only grown"
        new, self.lines = [json.loads(line) for line in lines[len(self.lines) :]], lines
        events = []
        for line in new:
            match line:
                case {"begin": key, "identifier": name}:
                    events.append(("begin", name, None))
                    self.states[self.content(key, contents[name])] = None
                case {"spawn": key}:
                    events.append(("spawn", self.contents[key][0], None))
                case {"end": key, "result": {"identifier": name} as result, "status": status}:
                    assert status == result["status"]
                    events.append(("end", name, result))
                    self.states[self.content(key, contents[name])] = result
        return events

    def content(self, key, content):
        """One key for one content, and another for another."""
        assert self.contents.setdefault(key, content) == content
        assert len(set(self.contents.values())) == len(self.contents)
        return content


class Story:
    """A folder with tasks that are edited, and pools that run them, some to their end."""

    def __init__(self, folder, plans):
        self.folder = folder
        self.plans = list(plans)
        self.act = str(folder / "act")
        Path(self.act).write_text(ACT)
        self.journal = Journal(folder / "journal")
        self.pool = Pool(folder)
        self.is_first = True

    # Edits

    def edit(self, at, what):
        """Another task, or the same as far as a journal goes."""
        at %= len(self.plans)
        plan = self.plans[at]
        match what:
            case "end":
                changed = replace(plan, end="0" if plan.end != "0" else "3")
            case "edit":
                changed = replace(plan, edit=1 - plan.edit)
            case "retries":
                changed = replace(plan, retries=1 - plan.retries)
            case "always":
                changed = replace(plan, always=not plan.always)
            case "last":  # only the order of the results changes
                self.plans.append(self.plans.pop(at))
                return
            case "mend":
                (self.folder / "mended").touch()
                return
        self.plans[at] = changed

    def contents(self):
        """What each task is known by."""
        plans = {plan.name: plan for plan in self.plans}

        def content(plan):
            before = frozenset(content(plans[name]) for name in plan.after)
            return (plan.name, plan.end, plan.edit, before)

        return {plan.name: content(plan) for plan in self.plans}

    # Runs

    def run(self, at=0, how="after", *, rerun_failed=False):
        """Run until it is killed or stopped at a write of the journal, or to its end."""
        flags = [] if self.is_first else ["--resume"]
        flags += ["--rerun-failed"] if rerun_failed and not self.is_first else []
        self.is_first = self.is_first and not self.journal.path.exists()
        contents = self.contents()
        states = {name: self.journal.states.get(content, {}) for name, content in contents.items()}
        again = {name for name, state in states.items() if state is None}
        kept = {"ok"} if "--rerun-failed" in flags else FINISHED
        settled = {
            name: state for name, state in states.items() if state and state["status"] in kept
        }
        (self.folder / "tasks").write_bytes(lines_of(plan.json(self.act) for plan in self.plans))
        (self.folder / "ran").write_text("")
        done = self.pool(
            *("-i", "tasks", "--journal", "journal", "-t", 3, "--grace", "20ms", *flags),
            program=(sys.executable, "-c", KILLED),
            env={"KILL_AT": str(at), "KILL_HOW": how},
        )
        self.is_first = not self.journal.path.exists()
        wait_for_nobody(self.act)
        named = [line.split(": ")[1] for line in done.said.splitlines() if "runs again" in line]
        assert done.exit_code in {0, 1, 143, -9}, done.said
        if done.output or named:
            assert sorted(named) == sorted(again)
        self.check(done, settled, self.journal.read_on(contents))

    def expected(self, settled):
        """What comes of each task if nothing disturbs: its status and exit code, and its runs."""
        found = {name: (result["status"], result["exit_code"]) for name, result in settled.items()}
        runs = dict.fromkeys(settled, 0)
        ends = {**ENDS, "mend": ENDS["0"] if (self.folder / "mended").exists() else ("failed", 1)}
        while len(found) < len(self.plans):
            for plan in self.plans:
                if plan.name in found or not found.keys() >= set(plan.after):
                    continue
                is_blocked = not plan.always and any(found[one][0] != "ok" for one in plan.after)
                status, _ = found[plan.name] = ("skipped", 125) if is_blocked else ends[plan.end]
                tries = 1 + plan.retries if status in {"failed", "signaled"} else 1
                runs[plan.name] = tries if status in FINISHED - {"not_started"} else 0
        return found, runs

    def check(self, done, settled, events):
        expected, runs = self.expected(settled)
        ran = (self.folder / "ran").read_text().split()
        ended = {}
        for number, (kind, name, result) in enumerate(events):
            assert name not in settled, "it has ended, and is not touched"
            assert name not in ended, "it ends once"
            before = events[:number]
            after = next(plan.after for plan in self.plans if plan.name == name)
            if kind == "end":
                ended[name] = result
                was = (result["status"], result["exit_code"])
                assert was == expected[name] or (result["status"], done.exit_code) == (
                    "cancelled",
                    143,
                )
            else:
                assert set(after) <= settled.keys() | ended.keys()
            assert kind != "spawn" or ("begin", name, None) in before
        for plan in self.plans:
            mine = [kind for kind, name, _ in events if name == plan.name]
            begun, spawned, count = mine.count("begin"), mine.count("spawn"), ran.count(plan.name)
            if plan.name in ended and ended[plan.name]["status"] != "cancelled":
                assert count == runs[plan.name], f"{plan.name} ran {count} times"
            elif done.exit_code == 143:
                assert count <= begun
            else:
                assert count in {begun - (begun > spawned), begun}
        if done.exit_code == -9 or (done.exit_code == 143 and not events):  # before it began
            assert done.output == b""
            return
        results = {**settled, **ended}
        assert done.results == [results[plan.name] for plan in self.plans]
        if done.exit_code != 143:
            is_ok = all(status == "ok" for status, _ in expected.values())
            assert done.exit_code == (0 if is_ok else 1)
            assert not {"cancelled"} & {one["status"] for one in results.values()}


def wait_for_nobody(word):
    """Wait until no process has that word on its command line: none is left of a kill."""
    until = time.monotonic() + PATIENCE_S
    while any(word.encode() in words for words in command_lines()):
        assert time.monotonic() < until
        time.sleep(0.002)


def command_lines():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            yield path.read_bytes().split(b"\0")


names = [f"t{number}" for number in range(6)]
edits = st.tuples(
    st.just("edit"),
    st.integers(0, 5),
    st.sampled_from(["end", "edit", "retries", "always", "last", "mend"]),
)
kills = st.tuples(st.just("run"), st.integers(1, 20), st.sampled_from(HOWS), st.booleans())
WHOLE = ("run", 0, "after", False)
wholes = st.sampled_from([WHOLE, ("run", 0, "after", True)])
IN_A_ROW = [Plan("t0"), Plan("t1", after=("t0",)), Plan("t2", after=("t1",)), Plan("t3")]


@st.composite
def plans(draw):
    made = []
    for number in range(draw(st.integers(2, 6))):
        before = st.lists(st.sampled_from(names[:number] or [""]), unique=True, max_size=2)
        after = tuple(draw(before)) if number and draw(st.booleans()) else ()
        made.append(
            Plan(
                names[number],
                end=draw(st.sampled_from(["0", "0", "0", "3", "mend", "9", "absent"])),
                retries=draw(st.sampled_from([0, 0, 1])),
                after=after,
                always=bool(after) and draw(st.booleans()),
            )
        )
    return draw(st.permutations(made))


stories = st.tuples(plans(), kills, st.lists(st.one_of(edits, edits, kills, wholes), max_size=6))


def tell(story):
    made, first, rest = story
    with tempfile.TemporaryDirectory() as name:
        told = Story(Path(name), made)
        try:
            for kind, *how in (first, *rest, WHOLE, ("run", 0, "after", True)):
                if kind == "edit":
                    told.edit(*how)
                else:
                    *where, rerun_failed = how
                    told.run(*where, rerun_failed=rerun_failed)
        finally:
            told.pool.close()


bounded = settings(
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.timeout(900)
def test_killed_edited_and_resumed_each_task_runs_as_often_as_the_model_says(is_long):
    @settings(bounded, max_examples=300 if is_long else 8)
    @given(stories)
    @example((IN_A_ROW, WHOLE, [("edit", 0, "edit")]))
    @example((IN_A_ROW, WHOLE, [("edit", 0, "end"), WHOLE, ("edit", 0, "end")]))
    @example((IN_A_ROW, ("run", 6, "half", False), [("edit", 2, "last"), ("edit", 0, "retries")]))
    def check(story):
        tell(story)

    check()
