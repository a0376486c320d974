"""``workermanager check``: the plan, and nothing done."""

import json

from conftest import ROOT, TARGETS

LOAD_RUNNER = ROOT / "examples" / "load_runner.py"


def test_it_shows_the_plan_and_touches_no_database(call, tmp_path):
    done = call("check", f"{LOAD_RUNNER}:worker", "--execs-per-tick", 50, "--ticks", 120)
    assert done.returncode == 0, done.stderr
    lines = {line[:16].strip(): line[16:] for line in done.stdout.splitlines() if line[:1].strip()}
    assert lines["execs"] == "6,000"
    assert lines["duration"] == "2m"
    assert lines["steps"] == "addCompanies/1/add_companies_step_001"
    assert "addCompanies/2/add_user_step_002" in done.stdout
    assert lines["params"] == "users_per_company = 3"
    assert "current_exec = 0" in done.stdout
    assert not list(tmp_path.iterdir())


def test_it_says_so_when_a_run_has_no_end(call):
    plan = json.loads(call("check", f"{TARGETS}:ok", "--execs-per-tick", 5, "--json").stdout)
    assert plan["execs"] is plan["ticks"] is plan["duration"] is None


def test_a_password_in_the_url_is_hidden(call):
    done = call("check", f"{TARGETS}:ok", "--database", "postgresql://me:canary@db.example/x")
    assert "postgresql://me:***@db.example/x" in done.stdout
    assert "canary" not in done.stdout
    params = ("--set", "password=canary", "--set", "dsn=db://me:canary@host/x")
    for options in ((), ("--json",)):
        done = call("check", f"{TARGETS}:ok", *params, *options)
        assert done.returncode == 0
        assert "canary" not in done.stdout


def test_every_kind_of_target_is_taken(call):
    for name in ("ok", "factory", "instrumentation"):
        assert call("check", f"{TARGETS}:{name}").returncode == 0
    assert call("check", "examples.load_runner:worker").returncode == 0


def test_a_chain_of_more_than_plain_steps_is_drawn_as_a_tree(call):
    done = call("check", f"{TARGETS}:composed", env={"PYTHONUTF8": "1"})
    assert (
        "steps           orders\n"
        "                ├─ 1 ok           up to 3 attempts\n"
        "                └─ 2 group\n"
        "                   ├─ 1 ok#2\n"
        "                   └─ 2 pay       chain, timeout 1s\n"
        "                      ├─ 1 ok#3\n"
        "                      └─ 2 fails\n"
        "params"
    ) in done.stdout
    assert "retries" not in done.stdout


def test_a_terminal_that_cannot_draw_lines_gets_a_tree_of_ascii(call):
    done = call("check", f"{TARGETS}:composed", env={"PYTHONIOENCODING": "ascii"})
    assert "`- 2 group\n                   |- 1 ok#2\n" in done.stdout
    assert "?" not in done.stdout


def test_the_plan_as_json_has_the_paths_of_the_steps_and_the_chain_they_are_in(call):
    plan = json.loads(call("check", f"{TARGETS}:composed", "--json").stdout)
    assert plan["steps"] == [
        "orders/1/ok",
        "orders/2/group/1/ok",
        "orders/2/group/2/pay/1/ok",
        "orders/2/group/2/pay/2/fails",
    ]
    (pay,) = [one for one in plan["chain"]["parts"][1]["parts"] if one["kind"] == "chain"]
    assert (pay["name"], pay["path"]) == ("pay", "orders/2/group/2/pay")
    assert pay["settings"] == {"timeout": "1s"}
    assert [one["name"] for one in pay["parts"]] == ["ok#3", "fails"]


def test_it_shows_the_deadlines_that_flags_and_the_environment_give(call):
    flags = ("--exec-timeout", "5s", "--in-flight", 9)
    done = call(
        "check", f"{TARGETS}:ok", *flags, "--json", env={"WORKERMANAGER_TICK_TIMEOUT": "2s"}
    )
    plan = json.loads(done.stdout)
    assert (plan["exec_timeout"], plan["tick_timeout"]) == ("5s", "2s")
    assert plan["in_flight"] is None  # of no use without an async step
    done = call("check", f"{TARGETS}:ok", "--exec-timeout", "soon")
    assert done.returncode == 2
    assert done.stderr.startswith("workermanager: --exec-timeout: 'soon' is not a duration")
    done = call("check", f"{TARGETS}:ok", "--tick-timeout", "0")
    assert done.returncode == 104
    assert "tick_timeout: 0 leaves no time for anything" in done.stderr
