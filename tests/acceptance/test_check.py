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
