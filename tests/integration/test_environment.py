"""``.env`` is read again at a tick's start if it changed; a bad one is not taken."""

import os

import pytest

from workermanager import Worker


def watch(env_file, write):
    """What two ticks of one exec each see in ``ctx.run.env``; the first one writes the file."""
    seen = []

    def step(ctx, params):
        seen.append(ctx.run.env.get("GREETING"))
        if ctx.n == 0:
            env_file.write_text(write)

    Worker(step, execs_per_tick=[1, 1], tick_duration="5ms", threads=1, env_file=env_file).run()
    return seen


@pytest.fixture
def env_file(tmp_path):
    path = tmp_path / ".env"
    path.write_text("GREETING=hello\n")
    return path


def test_the_next_tick_sees_the_change(env_file):
    assert watch(env_file, "GREETING=good morning\n") == ["hello", "good morning"]


@pytest.mark.parametrize("bad", ["WORKERMANAGER_THREADS=many\n", "GREETING=x\nwhat is this?\n"])
def test_a_bad_file_is_not_taken(env_file, bad):
    assert watch(env_file, bad) == ["hello", "hello"]


def test_the_environment_wins_over_the_file(env_file, monkeypatch):
    monkeypatch.setenv("GREETING", "from outside")
    assert watch(env_file, "GREETING=other\n") == ["from outside", "from outside"]


def test_reading_it_changes_no_environment(env_file):
    watch(env_file, "GREETING=hi\n")
    assert "GREETING" not in os.environ
