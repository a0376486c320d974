"""The flags that shape and judge a load: what they come to, and what is refused before it runs."""

import json
import signal
import sqlite3
from contextlib import closing

import pytest
from conftest import TARGETS

USAGE, THRESHOLD, INVALID, STOPPED = 2, 99, 104, 105
OK = f"{TARGETS}:ok"
SEEDS = f"{TARGETS}:seeds_things"
DATABASE = ("--database", "sqlite:///things.db")
AT_ONCE = ("--execs-per-tick", "5,5", "--tick-duration", "0")


def report_in(folder):
    return json.loads((folder / "r.json").read_text())


def things_in(folder, name="things.db"):
    with closing(sqlite3.connect(folder / name)) as connection:
        return connection.execute("SELECT id, name FROM things ORDER BY id").fetchall()


@pytest.fixture
def planned(call):
    """What ``workermanager check`` says that a command line comes to."""

    def planned(*args, **options):
        done = call("check", OK, "--json", *args, **options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return planned


# Shapes


@pytest.mark.parametrize(
    ("flags", "execs", "duration", "shape"),
    [
        (("--rate", "3000/s", "--duration", "20s"), 60_000, "20s", "0:3000/s,20s:3000/s"),
        (("--rate", "90/min", "--count", "7"), 7, None, "0:1.5/s,...,count=7"),
        (("--rate", "1/h"), None, None, None),
        (("--stages", "0:0/s,10s:1000/s"), 5_000, "10s", "0:0/s,10s:1000/s"),
        (("--execs-per-tick", "5", "--duration", "1m"), 300, "1m", None),
    ],
)
def test_a_load_is_planned_as_its_flags_say(planned, flags, execs, duration, shape):
    plan = planned(*flags)
    assert plan["execs"] == execs
    if duration is not None:
        assert plan["duration"] in (duration, "60s")
    if shape is not None:
        assert plan["shape"] == shape


def test_a_rate_is_run_to_its_last_exec(call, tmp_path):
    done = call("run", OK, "--rate", "200/s", "--duration", "250ms", "--json", "r.json")
    assert done.returncode == 0, done.stderr
    assert "50 due = 50 ok" in done.stdout
    report = report_in(tmp_path)
    assert report["counts"]["ok"] == 50
    assert report["plan"]["shape"] == "0:200/s,0.25s:200/s"
    assert report["run"]["ended_by"] == "plan"


def test_settings_of_the_load_come_from_the_environment_and_flags_are_above_them(planned, tmp_path):
    env = {"WORKERMANAGER_RATE": "50/s", "WORKERMANAGER_DURATION": "4s"}
    assert planned(env=env)["execs"] == 200
    assert planned("--duration", "2s", env=env)["execs"] == 100
    assert planned("--rate", "10/s", "--duration", "3s", env=env)["execs"] == 30
    assert planned("--execs-per-tick", "7", "--ticks", "3", env=env)["execs"] == 21
    assert planned("--stages", "0:4/s,5s:4/s", env=env)["execs"] == 20
    (tmp_path / ".env").write_text("WORKERMANAGER_RATE=30/s\nWORKERMANAGER_DURATION=10s\n")
    assert planned()["execs"] == 300
    assert planned(env=env)["execs"] == 200
    stages = {"WORKERMANAGER_STAGES": "0:0/s,4s:10/s"}
    (tmp_path / ".env").unlink()
    assert planned(env=stages)["execs"] == 20


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("RATE", "fast"),
        ("DURATION", "soon"),
        ("COUNT", "0"),
        ("STAGES", "0:1/s"),
        ("WARMUP", "soon"),
    ],
)
def test_a_setting_that_is_none_is_told_by_its_variable(call, variable, text):
    done = call("run", OK, env={f"WORKERMANAGER_{variable}": text})
    assert done.returncode == INVALID
    assert f"WORKERMANAGER_{variable}: " in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_warm_up_is_counted_apart(call, tmp_path):
    load = ("--rate", "100/s", "--duration", "300ms", "--warmup", "95ms")
    done = call("run", OK, *load, "--json", "r.json")
    assert done.returncode == 0, done.stderr
    assert "20 due = 20 ok" in done.stdout
    assert "(and 10 in the warm-up, 10 ok)" in done.stdout
    report = report_in(tmp_path)
    assert (report["warmup"]["due"], report["counts"]["due"]) == (10, 20)
    assert report["response"]["count"] == 20
    assert report["run"]["warmup_s"] == 0.095


# Thresholds


def test_each_threshold_is_reported_with_its_value_and_its_verdict(call, tmp_path):
    expressions = ("ok==10", "failed<0.1%", "ok.p99<1h", "dropped==1")
    flags = [flag for text in expressions for flag in ("--threshold", text)]
    done = call("run", OK, *AT_ONCE, *flags, "--json", "r.json")
    assert done.returncode == THRESHOLD, done.stderr
    report = report_in(tmp_path)
    told = {one["expression"]: one for one in report["thresholds"]}
    assert list(told) == list(expressions)
    assert [one["passed"] for one in report["thresholds"]] == [True, True, True, False]
    assert (told["ok==10"]["value"], told["ok==10"]["unit"]) == (10, "")
    assert (told["failed<0.1%"]["value"], told["failed<0.1%"]["unit"]) == (0, "%")
    assert told["ok.p99<1h"]["value"] == pytest.approx(report["steps"]["ok"]["service"]["p99_ms"])
    assert told["ok.p99<1h"]["unit"] == "ms"
    assert told["dropped==1"]["value"] == 0
    assert report["run"]["outcome"] == "failed"
    assert report["counts"]["ok"] == 10


def test_thresholds_that_are_kept_to_are_exit_code_0_and_may_tolerate_failures(call):
    fails = f"{TARGETS}:fails"
    assert call("run", OK, *AT_ONCE, "--threshold", "failed==0").returncode == 0
    assert call("run", fails, *AT_ONCE, "--threshold", "failed<=100%").returncode == 0
    assert call("run", fails, *AT_ONCE, "--threshold", "dropped==0").returncode == 1


def test_a_run_without_end_is_ended_by_what_it_is_to_be_aborted_on(call, tmp_path):
    fails = f"{TARGETS}:fails"
    done = call("run", fails, "--rate", "100/s", "--abort-on", "failed<5", "--json", "r.json")
    assert done.returncode == THRESHOLD, done.stderr
    report = report_in(tmp_path)
    assert report["run"]["ended_by"] == "threshold"
    (verdict,) = report["thresholds"]
    assert (verdict["aborted"], verdict["passed"]) == (True, False)
    assert verdict["value"] >= 5


def test_thresholds_come_from_the_environment_and_flags_replace_them(planned):
    env = {
        "WORKERMANAGER_THRESHOLDS": "p99<200ms, failed==0",
        "WORKERMANAGER_ABORT_ON": "dropped==0",
    }
    assert planned(env=env)["thresholds"] == ["p99<200ms", "failed==0", "dropped==0"]
    plan = planned("--threshold", "ok>1", env=env)
    assert plan["thresholds"] == ["ok>1", "dropped==0"]


MISTAKES = [
    (("--threshold", "p99<200"), INVALID, "threshold: 'p99<200': p99 is a time; write it with"),
    (("--threshold", "fialed==0"), INVALID, "no 'fialed'; did you mean failed?"),
    (("--threshold", "seed_things.p99<1s"), INVALID, "did you mean seeds?"),
    (("--threshold", "rows.thing==1"), INVALID, "did you mean things?"),
    (("--threshold", ""), INVALID, "is no threshold; write p99<200ms"),
    (("--abort-on", "ok>=5"), INVALID, "abort_on: 'ok>=5': a count only grows"),
    (("--rate", "fast"), USAGE, "--rate: 'fast' is not a rate; write 100/s"),
    (("--rate", "-5/s"), USAGE, "--rate: '-5/s' is out of range"),
    (("--rate", "0/s", "--count", "5"), INVALID, "0/s is a pause"),
    (("--rate", "10/s", "--duration", "soon"), USAGE, "--duration: 'soon' is not a duration"),
    (("--rate", "10/s", "--duration", "0"), INVALID, "it must be more than 0"),
    (("--rate", "10/s", "--count", "0"), USAGE, "--count: 0 is out of range"),
    (("--rate", "10/s", "--ticks", "5"), INVALID, "with rate give duration or count"),
    (("--rate", "10/s", "--stages", "0:1/s,1s:1/s"), INVALID, "rate and stages both say how many"),
    (("--rate", "10/s", "--execs-per-tick", "5"), INVALID, "both say how many execs"),
    (("--rate", "10/s", "--tick-duration", "0"), INVALID, "tick_duration: 0 needs Ticks"),
    (("--count", "5"), INVALID, "count goes with a rate"),
    (("--stages", "0:10"), USAGE, "--stages: '0:10' is one point; give it another"),
    (("--stages", "0:10/s,30s:fast"), USAGE, "--stages: point 2 '30s:fast': 'fast' is not a rate"),
    (("--stages", "5s:10/s,9s:10/s"), USAGE, "the first point must be at 0"),
    (("--warmup", "soon"), USAGE, "--warmup: 'soon' is not a duration"),
    (("--rate", "10/s", "--duration", "1s", "--warmup", "1s"), INVALID, "is all of the run"),
    (("--tag", "nightly"), USAGE, "--tag 'nightly': wanted name=text"),
    (("--tag", "=nightly"), USAGE, "--tag '=nightly': wanted name=text"),
    (("--params", "nosuch.json"), USAGE, "nosuch.json"),
]


@pytest.mark.parametrize(
    ("flags", "code", "told"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES]
)
def test_a_mistake_is_told_in_one_line_before_anything_runs(call, tmp_path, flags, code, told):
    done = call("run", SEEDS, *DATABASE, *flags)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


# Params and tags

PARAMS = {"size": 3, "name": "a = b", "nested": {"list": [1, None, "x"]}, "text": "7"}
TOML = 'size = 3\nname = "a = b"\ntext = "7"\nnested.list = [1, 2.5, "x"]\nday = 2026-01-02\n'


def params_of(planned, *args):
    made = ("current_tick", "ticks_left", "current_exec")
    params = planned(*args)["params"]
    return {name: value for name, value in params.items() if name not in made}


def test_params_come_from_a_json_file_and_set_is_above_them(planned, tmp_path):
    (tmp_path / "params.json").write_text(json.dumps(PARAMS))
    assert params_of(planned, "--params", "params.json") == PARAMS
    above = params_of(planned, "--set", "size=4", "--params", "params.json", "--set", "more=1")
    assert above == {**PARAMS, "size": 4, "more": 1}


def test_params_come_from_a_toml_file(planned, tmp_path):
    (tmp_path / "params.toml").write_text(TOML)
    assert params_of(planned, "--params", "params.toml") == {
        "size": 3,
        "name": "a = b",
        "text": "7",
        "nested": {"list": [1, 2.5, "x"]},
        "day": "2026-01-02",
    }


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("p.json", b"{", "--params p.json: cannot be read: "),
        ("p.json", b"[1]", "--params p.json: wanted an object of params"),
        ("p.json", b'{"a=b": 1}', "--params p.json: 'a=b' is no name for a param"),
        ("p.json", b'{" ": 1}', "--params p.json: ' ' is no name for a param"),
        ("p.json", b'{"a": "\xff"}', "--params p.json: cannot be read: "),
        ("p.toml", b"size: 3", "--params p.toml: cannot be read: "),
    ],
)
def test_a_file_of_params_that_is_none_is_told_in_one_line(call, tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    done = call("run", SEEDS, *DATABASE, "--params", name)
    assert done.returncode == INVALID
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_run_with_params_from_a_file_is_resumed_with_them(call, tmp_path):
    (tmp_path / "p.json").write_text('{"size": 5, "api_key": "canary-5f2e"}')
    run = ("run", f"{TARGETS}:fails_unless_allowed", "--run-id", "x", *AT_ONCE, *DATABASE)
    assert call(*run, "--params", "p.json").returncode == 1
    assert b"canary" not in (tmp_path / "things.db").read_bytes()
    (tmp_path / "allow").touch()
    refused = call("resume", "x", *DATABASE)
    assert (refused.returncode, "param api_key is missing" in refused.stderr) == (INVALID, True)
    done = call("resume", "x", *DATABASE, "--params", "p.json")
    assert done.returncode == 0, done.stderr


def test_tags_are_in_the_report_and_in_the_plan(call, tmp_path):
    tags = ("--tag", "branch=main", "--tag", "note=a = b, c", "--tag", " host = x ")
    done = call("run", OK, *tags, "--json", "r.json")
    assert done.returncode == 0, done.stderr
    expected = {"branch": "main", "note": "a = b, c", "host": "x"}
    report = report_in(tmp_path)
    assert report["run"]["tags"] == report["plan"]["tags"] == expected


# Resuming


@pytest.mark.parametrize(
    ("load", "ended_with"),
    [
        (("--rate", "1000/s", "--duration", "100ms"), signal.SIGKILL),
        (("--rate", "1000/s", "--count", "100", "--spread", "poisson"), signal.SIGTERM),
        (("--stages", "0:0/s,200ms:1000/s"), signal.SIGKILL),
        (
            ("--stages", "0:200/s,50ms:200/s,50ms:1000/s,...,count=100", "--warmup", "20ms"),
            signal.SIGTERM,
        ),
        (("--execs-per-tick", "50", "--ticks", "2", "--tick-duration", "50ms"), signal.SIGKILL),
    ],
    ids=["rate", "poisson count", "ramp", "jump", "ticks"],
)
def test_a_run_of_a_shape_that_was_cut_is_finished_by_resume(
    start, call, tmp_path, load, ended_with
):
    load = (*load, "--seed", "7")
    process = start(
        *("holds_on", "--run-id", "night", "--threads", 2, "--grace", "10ms", *load, *DATABASE),
        *("--set", f"allow={tmp_path / 'allow'}"),
    )
    process.send_signal(ended_with)
    process.communicate(timeout=50)
    assert process.returncode == (STOPPED if ended_with == signal.SIGTERM else -signal.SIGKILL)
    durable = len(things_in(tmp_path))
    assert durable < 100

    (tmp_path / "allow").touch()
    other = {"WORKERMANAGER_RATE": "5/s", "WORKERMANAGER_DURATION": "3s"}
    done = call("resume", "night", *DATABASE, "--json", "r.json", env=other)
    assert done.returncode == 0, done.stderr
    counts = report_in(tmp_path)["counts"]
    assert (counts["skipped"], counts["ok"]) == (durable, 100 - durable)

    undisturbed = call(
        *("run", f"{TARGETS}:holds_on", *load, "--database", "sqlite:///undisturbed.db"),
        *("--set", f"allow={tmp_path / 'allow'}", "--set", f"marker={tmp_path / 'marker'}"),
    )
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert things_in(tmp_path) == things_in(tmp_path, "undisturbed.db")
    assert len(things_in(tmp_path)) == 100


def test_a_run_is_not_resumed_with_another_shape(call, tmp_path):
    load = ("--rate", "1000/s", "--count", "10", "--seed", "7")
    done = call("run", SEEDS, "--run-id", "first", *load, *DATABASE)
    assert done.returncode == 0, done.stderr
    resume = ("run", SEEDS, "--resume", "first", *DATABASE)
    for flags, told in (
        (("--rate", "999/s", "--count", "10"), "shape is 0:999/s,...,count=10, was 0:1000/s,..."),
        (("--stages", "0:0/s,1s:20/s", "--force"), "shape is 0:0/s,1s:20/s, was 0:1000/s,..."),
        (("--execs-per-tick", "5,5"), "execs_per_tick is 5,5, was None"),
        (("--tick-duration", "2s"), "tick_duration is 2s, was 1s"),
    ):
        refused = call(*resume, *flags)
        assert refused.returncode == INVALID
        assert f"run first cannot be resumed: {told}" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    same = call(*resume, "--rate", "1000/s", "--count", "10")
    assert same.returncode == 0, same.stderr
