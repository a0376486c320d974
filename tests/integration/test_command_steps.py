"""Commands as steps of real runs: real processes, which end with their steps at the latest."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.processes import Pipe, Sightings
from workermanager import (
    Cancelled,
    Command,
    CommandFailed,
    Context,
    Instrumentation,
    InvalidConfig,
    Retry,
    Step,
    TimedOut,
    Worker,
    as_json,
    commanding,
    compensate,
    each,
    finally_,
    group,
    on_error,
    param,
)
from workermanager.commanding import Commands
from workermanager.processes.children import Children

PRINTS_ITS_ARGUMENTS = "import json, sys; print(json.dumps(sys.argv[1:]))"
DEAF = "trap '' TERM; "
BEGIN = 'echo $$ > "$1"; '
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
SOON = 0.5  # but long enough for a shell to begin


@pytest.fixture
def ready(tmp_path):
    pipe = Pipe(tmp_path / "ready")
    yield pipe
    pipe.close()


@pytest.fixture
def go(tmp_path):
    pipe = Pipe(tmp_path / "go")
    yield pipe
    pipe.close()


@pytest.fixture
def seen():
    sightings = Sightings()
    yield sightings
    sightings.close()


@pytest.fixture
def watch(ready, seen):
    """Wait for so many processes to begin, and watch them from then on."""

    def watch(count=1):
        for pid in ready.read_lines(count):
            seen.add(pid)

    return watch


def endless(ready, before="", **settings):
    """A command that tells its process id, and never ends by itself."""
    return Command.shell(f"{before}{BEGIN}exec sleep 1000", ready.path, **settings)


def run_once(*steps, settings=None, **params):
    """Run a chain once; give the result and the report."""
    results = []
    chain = Instrumentation(func_dispatcher=steps, func_name="it", task_arguments=params)
    report = Worker(chain, on_result=results.append, **(settings or {})).run()
    return (results or [None])[0], report


def begin(*steps, **settings):
    chain = Instrumentation(func_dispatcher=steps, func_name="it")
    return Worker(chain, **settings).start()


def adds_up(report):
    counts = dict(report.counts)
    return counts.pop("due") == sum(counts.values())


# Arguments


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
        | st.sampled_from(
            [
                "$(touch x)",
                "`touch x`",
                "; touch x",
                "'",
                '"',
                "\n",
                "*",
                "-rf",
                "--",
                "\\",
                "~",
                "",
            ]
        ),
        max_size=8,
    )
)
def test_what_is_given_arrives_and_nothing_else_happens(texts):
    with TemporaryDirectory() as folder:
        prints = (sys.executable, "-IS", "-X", "utf8", "-c", PRINTS_ITS_ARGUMENTS)
        params = {f"p{n}": text for n, text in enumerate(texts)}
        result, _ = run_once(
            Command(*prints, *texts, cwd=folder, into="literal", parse="json"),
            Command(*prints, *map(param, params), cwd=folder, into="single", parse="json"),
            Command(*prints, param("every"), cwd=folder, into="listed", parse="json"),
            Command.shell(
                'for one; do printf "%s\\0" "$one"; done', param("every"), cwd=folder, into="shell"
            ),
            **params,
            every=texts,
        )
        assert result.outcome == "ok", result.error
        assert [result.params[name] for name in ("literal", "single", "listed")] == [texts] * 3
        assert result.params["shell"] == "".join(f"{text}\0" for text in texts)
        assert [*Path(folder).iterdir()] == []


def test_commands_pass_on_what_they_write():
    result, _ = run_once(
        Command("printf", r"b\na\n", into="text"),
        Command("sort", stdin=param("text"), into="lines", parse="lines"),
        Command("cat", stdin=as_json("lines"), parse="json", into="read"),
        Command("sh", "-c", 'echo "{\\"key\\": \\"$WORKERMANAGER_KEY\\"}"', parse="json"),
        Command.shell('echo "$PATH_ONLY:$WORKERMANAGER_PATH"', env={"PATH_ONLY": "x"}, into="path"),
        settings={"run_id": "r"},
    )
    assert result.params["lines"] == ["a", "b"]
    assert result.params["read"] == {"lines": ["a", "b"]}
    assert result.params["key"] == "r:0"
    assert result.params["path"] == "x:it/5/sh"


def test_a_megabyte_goes_in_and_comes_out():
    data = bytes(range(256)) * 8_192
    result, _ = run_once(
        Command("cat", stdin=param("data"), parse="bytes", into="same", max_output=len(data)),
        data=data,
    )
    assert result.params["same"] == data


def test_more_output_than_is_kept_fails_the_step_only_if_it_is_wanted():
    more = ("head", "-c", "1001", "/dev/zero")
    assert run_once(Command(*more, max_output=1_000))[0].outcome == "ok"
    result, _ = run_once(Command(*more, max_output=1_000, into="x"))
    assert "head: its output is not all there: more than max_output=1,000" in str(result.error)


# Failures


@pytest.mark.parametrize(
    ("command", "exit_code", "told"),
    [
        (Command("no-such-program"), 127, "no-such-program: not started: there is no "),
        (Command("/etc/passwd"), 126, "passwd: not started: /etc/passwd is not executable"),
        (Command("true", cwd="/no/such"), 126, "true: not started: cwd '/no/such'"),
        (Command.shell("echo why >&2; exit 3"), 3, "sh: exit code 3: why"),
        (Command.shell("kill -9 $$"), 137, "sh: signal 9 (SIGKILL)"),
    ],
)
def test_a_command_that_fails_says_so(command, exit_code, told):
    result, report = run_once(command)
    assert isinstance(result.error.cause, CommandFailed)
    assert result.error.cause.exit_code == exit_code
    assert str(result.error.cause).startswith(told)
    assert report.counts["failed"] == 1


def test_an_exit_status_that_is_lost_is_said_to_be():
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        result, _ = run_once(Command("true"))
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert "exit code 255 (its exit status is lost" in str(result.error.cause)


def test_a_command_is_tried_again():
    tried = Command.shell('test "$WORKERMANAGER_ATTEMPT" = 3 && echo yes', into="out")
    result, report = run_once(Step(tried, retry=Retry(attempts=3, base=0)))
    assert result.params["out"] == "yes"
    assert report.steps["sh"].retried == 2


def test_a_command_is_whatever_a_step_can_be(tmp_path):
    log = tmp_path / "log"
    note = Command.shell('echo "$1" >> log', param("what"), cwd=tmp_path)

    def say(what):
        return [lambda ctx, params: {"what": what}, note]

    result, _ = run_once(
        on_error(
            [compensate(say("done"), say("undone")), Command("false")],
            Command("echo", "saved", into="handler"),
            when=CommandFailed,
        ),
        each(Command("echo", param("item"), into="said"), over="items", into="all"),
        finally_(say("tidy")),
        items=["a", "b"],
    )
    assert log.read_text().split() == ["done", "undone", "tidy"]
    assert result.params["handler"] == "saved"
    assert result.params["all"] == [{"said": "a"}, {"said": "b"}]


# Ending


def test_a_command_that_takes_too_long_is_gone_with_all_that_it_started(
    monkeypatch, ready, watch, seen
):
    monkeypatch.setattr(commanding, "_GRACE_NS", 20_000_000)
    script = f"{DEAF}sh -c '{BEGIN}exec sleep 1000' sh \"$1\" & {BEGIN}wait; sleep 1000"

    def look(ctx, params):
        ends.append((ctx.error.cause, seen.have_ended()))

    ends = []
    run = begin(on_error(Command.shell(script, ready.path, timeout=SOON), look, when=TimedOut))
    watch(2)
    assert seen.are_alive == 2
    assert run.finish().counts["ok"] == 1
    ((error, is_gone),) = ends
    assert is_gone
    assert not error.still_running
    assert (str(error), error.seconds) == ("sh took longer than 500ms", SOON)


def test_one_that_took_too_long_is_tried_again():
    slow_at_first = Command.shell(
        'test "$WORKERMANAGER_ATTEMPT" = 2 || exec sleep 1000', timeout=SOON
    )
    result, report = run_once(Step(slow_at_first, retry=Retry(attempts=2, base=0)))
    assert result.outcome == "ok"
    assert report.steps["sh"].retried == 1


@pytest.mark.parametrize("before", ["", DEAF])
def test_a_step_s_deadline_ends_its_command_and_no_run_leaves_it_behind(before, ready, watch, seen):
    late = Step(endless(ready, before), timeout=SOON)
    run = begin(on_error(late, Command("true"), when=TimedOut))
    watch()
    report = run.finish()
    assert seen.are_alive == 0
    assert report.steps["sh"].timed_out == 1
    assert report.stuck == 0
    assert report.counts["ok"] == 1
    assert adds_up(report)


@pytest.mark.parametrize("before", ["", DEAF])
def test_the_exec_s_deadline_ends_its_command(before, ready, watch, seen):
    run = begin(endless(ready, before), exec_timeout=SOON)
    watch()
    report = run.finish()
    assert seen.are_alive == 0
    assert report.counts["failed"] == 1


@pytest.mark.parametrize("before", ["", DEAF])
def test_stop_now_ends_commands_in_time(before, ready, watch, seen):
    run = begin(endless(ready, before), execs_per_tick=3, tick_duration=0, ticks=1, threads=3)
    watch(3)
    assert seen.are_alive == 3
    run.stop(now=True)
    report = run.finish()
    assert seen.are_alive == 0
    assert not run._stopping.is_left_behind
    assert report.counts["interrupted"] == 3
    assert adds_up(report)


def test_a_source_context_that_is_cancelled_ends_commands(ready, watch, seen):
    source = Context()
    run = begin(endless(ready), source_context=source)
    watch()
    source.cancel("closing time")
    assert run.finish().counts["interrupted"] == 1
    assert seen.are_alive == 0


def test_a_stop_lets_commands_end(ready, go, watch):
    run = begin(Command.shell(f'{BEGIN}read line < "$2"', ready.path, go.path))
    watch()
    run.stop()
    assert not run.wait(0)
    go.write("\n")
    assert run.finish().counts["ok"] == 1


def test_a_failure_beside_it_ends_a_command(ready, watch, seen):
    def fail(ctx, params):
        watch()
        raise LookupError("no")

    result, _ = run_once(group(endless(ready), fail))
    assert seen.are_alive == 0
    assert isinstance(result.error.cause, LookupError)


def test_stop_now_hurries_a_command_that_is_told_to_end_already(ready, watch, seen):
    def fail(ctx, params):
        watch()
        failing.set()
        raise LookupError("no")

    failing = threading.Event()
    run = begin(group(endless(ready, DEAF), fail))
    assert failing.wait(30)
    assert not run.wait(0.05)
    run.stop(now=True)
    run.finish()
    assert seen.are_alive == 0
    assert not run._stopping.is_left_behind


def test_a_command_in_a_clean_up_is_let_until_its_run_is_left_behind(tmp_path, ready, watch, seen):
    def fail(ctx, params):
        raise LookupError

    later = finally_(Command("touch", tmp_path / "later"))
    run = begin(fail, finally_(endless(ready, DEAF)), later)
    watch()
    run.stop(now=True)
    assert seen.are_alive == 1
    report = run.finish()
    assert seen.are_alive == 0
    for thread in run._staff.pool._threads:
        thread.join(30)
    assert not (tmp_path / "later").exists()
    assert adds_up(report)


def test_a_run_inside_a_step_ends_its_commands_with_the_step(ready, watch, seen):
    def inner(ctx, params):
        Worker(endless(ready, DEAF)).run()

    run = begin(inner)
    watch()
    run.stop(now=True)
    assert run.finish().counts["interrupted"] == 1
    assert seen.are_alive == 0


def test_a_command_is_told_to_end_before_it_is_made_to(tmp_path, ready, watch):
    script = f"trap 'echo bye > bye; exit' TERM; {BEGIN}while :; do sleep 0.01; done"
    run = begin(Command.shell(script, ready.path, cwd=tmp_path))
    watch()
    run.stop(now=True)
    run.finish()
    assert (tmp_path / "bye").read_text() == "bye\n"


def test_a_command_minds_its_deadline_itself():
    call = Command("sleep", "1000").invocation({})
    with pytest.raises(Cancelled) as cancelled:
        Commands(Context())(SimpleNamespace(scope=Context(timeout=0.02)), call, None, 1)
    assert isinstance(cancelled.value.cause, TimedOut)


def test_a_run_inside_a_step_is_inside_with_its_commands():
    executes = []

    def inner(ctx, params):
        executes.append(ctx.run.execute)

    def outer(ctx, params):
        Worker(inner).run()
        inner(ctx, params)

    Worker(outer).run()
    assert executes[0]._around is executes[1]


def test_commands_of_a_run_inside_another_end_with_that(ready, watch, seen):
    outer = Commands(Context())
    inner = Commands(Context(), outer)
    command, raised = endless(ready, DEAF), []

    def run():
        with pytest.raises(Cancelled, match="the run is over") as cancelled:
            inner(SimpleNamespace(scope=None), command.invocation({}), None, 1)
        raised.append(cancelled.value)

    thread = threading.Thread(target=run)
    thread.start()
    watch()
    outer.close(is_left_behind=True)
    assert seen.are_alive == 0
    thread.join(30)
    run()
    assert len(raised) == 2


def test_the_callback_of_a_run_may_be_a_command():
    report = Worker(Command("true"), callback=Command("true")).run()
    assert report.outcome == "passed"


def test_a_command_line_that_is_told_to_stop_twice_leaves_no_command(tmp_path, ready, watch, seen):
    target = tmp_path / "target.py"
    target.write_text(
        "from workermanager import Command, Worker\n"
        f"command = Command.shell({DEAF + BEGIN + 'exec sleep 1000'!r}, {ready.path!r})\n"
        "worker = Worker(command)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "workermanager", "run", f"{target}:worker"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    watch()
    process.send_signal(signal.SIGTERM)
    process.stderr.readline()
    while process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    process.stderr.close()
    assert seen.are_alive == 0


def test_a_program_that_ends_without_waiting_for_its_run_leaves_no_command(
    tmp_path, ready, watch, seen
):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nfrom workermanager import Command, Worker\n"
        f"Worker(Command.shell({DEAF + BEGIN + 'exec sleep 1000'!r}, {ready.path!r})).start()\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen([sys.executable, program], stdin=subprocess.PIPE, env=ENVIRONMENT)
    watch()
    process.communicate()
    assert process.returncode == 0
    assert seen.are_alive == 0


# Many, and elsewhere


def test_64_run_at_once(ready, go):
    one = Command.shell(f'{BEGIN}read line < "$2"', ready.path, go.path)
    run = begin(group(*[one] * 64))
    assert len(set(ready.read_lines(64))) == 64
    go.write("\n" * 64)
    assert run.finish().counts["ok"] == 1


def test_commands_run_beside_async_steps():
    async def wait(ctx, params):
        await asyncio.sleep(0)
        return {"waited": True}

    results = []
    worker = Worker(
        [group(wait, Command("echo", "hi", into="said")), Command("true")],
        execs_per_tick=20,
        ticks=1,
        tick_duration=0,
        on_result=results.append,
    )
    for report in (worker.run(), asyncio.run(worker.run_async())):
        assert report.counts["ok"] == 20
    assert all(one.params["said"] == "hi" and one.params["waited"] for one in results)


def test_stop_now_ends_commands_beside_async_steps(ready, watch, seen):
    async def wait(ctx, params):
        await asyncio.sleep(1_000)

    run = begin(group(wait, endless(ready)))
    watch()
    run.stop(now=True)
    assert run.finish().counts["interrupted"] == 1
    assert seen.are_alive == 0


def test_a_command_would_stop_the_event_loop_of_an_async_step():
    async def call(ctx, params):
        Command("true")(ctx, params)

    result, _ = run_once(call)
    assert isinstance(result.error.cause, InvalidConfig)
    assert "use it as a step of its own" in str(result.error)


def test_a_resumed_run_runs_no_command_again_that_is_durable(tmp_path):
    log = tmp_path / "log"
    step = Command.shell(
        'echo "$WORKERMANAGER_KEY" >> log; test -e mended || test $(($1 % 2)) = 0',
        param("current_exec"),
        cwd=tmp_path,
    )
    worker = Worker(
        step,
        execs_per_tick=10,
        ticks=1,
        tick_duration=0,
        run_id="r",
        seed=1,
        database=f"sqlite:///{tmp_path}/it.db",
    )
    assert worker.run().counts["failed"] == 5
    (tmp_path / "mended").touch()
    assert worker.run(resume="r").counts["ok"] == 5
    times = [log.read_text().split().count(f"r:{n}") for n in range(10)]
    assert times == [1, 2] * 5


def test_a_command_waits_for_room(monkeypatch):
    start, refused = Children.start, []

    def no_room_at_first(children, invocation, timeout_ns=None):
        if len(refused) < 3:
            refused.append(invocation)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return start(children, invocation, timeout_ns)

    monkeypatch.setattr(Children, "start", no_room_at_first)
    assert run_once(Command("true"))[0].outcome == "ok"
    assert len(refused) == 3


def test_64_run_in_turn_where_descriptors_are_few(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os, resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))\n"
        "from workermanager import Command, Worker, group\n"
        "report = Worker(group(*[Command('sleep', '0.02')] * 64)).run()\n"
        "print(report.outcome, len(os.listdir('/proc/self/fd')))\n"
    )
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    outcome, descriptors = done.stdout.split()
    assert outcome == "passed", done.stderr
    assert int(descriptors) < 16


def test_a_command_does_not_wait_for_room_for_ever(monkeypatch):
    def no_room(children, invocation, timeout_ns=None):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(commanding, "_SCARCE_NS", 0)
    monkeypatch.setattr(Children, "start", no_room)
    result, _ = run_once(Command("true"))
    assert str(result.error.cause) == f"true: not started: {os.strerror(errno.EAGAIN)}"


def test_a_run_without_commands_does_not_pay_for_them():
    code = (
        "import sys\nfrom workermanager import Worker\n"
        "Worker(lambda ctx, params: None).run()\n"
        "print({'instrumentation.commands', 'workermanager.processes'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert json.loads(done.stdout.replace("set()", "[]")) == []
