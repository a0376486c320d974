"""Rehearsals of chains with commands: no process is started, the test answers for them."""

import subprocess

import pytest

from instrumentation.errors import CommandFailed, InvalidConfig, TimedOut
from workermanager import Command, Retry, Step, Worker, as_json, group, param
from workermanager.processes.children import Children
from workermanager.testing import Completed, Invocation, Rehearsal


@pytest.fixture(autouse=True)
def _no_process_is_started(monkeypatch):
    def start(*args, **kwargs):
        raise AssertionError("a process was started")

    monkeypatch.setattr(Children, "__init__", start)
    monkeypatch.setattr(subprocess, "Popen", start)


def test_a_rehearsal_without_answers_refuses_commands_in_one_line():
    result = Rehearsal().run_once(Command("/usr/bin/convert"))
    assert isinstance(result.error.cause, InvalidConfig)
    assert str(result.error.cause) == (
        "convert: a rehearsal starts no process: "
        "say what it would print with Rehearsal(commands=lambda invocation: …)"
    )


def test_answers_are_what_commands_print():
    asked = []

    def answer(invocation):
        asked.append(invocation)
        return {"date": "today\n", "cat": invocation.stdin, "wc": b"3"}[invocation.command]

    chain = [
        Command("date", "-d", param("day"), into="date"),
        Command("cat", stdin=as_json("date"), parse="json", into="same"),
        Command("wc", parse="bytes", into="size"),
    ]
    result = Rehearsal(commands=answer).run_once(chain, day="now")
    assert result.params["date"] == "today"
    assert result.params["same"] == {"date": "today"}
    assert result.params["size"] == b"3"
    assert all(isinstance(one, Invocation) for one in asked)
    assert asked[0].args == ("-d", "now")
    assert asked[0].env["WORKERMANAGER_KEY"] == "rehearsal:0"


def test_an_answer_may_be_a_failure():
    def answer(invocation):
        return Completed(exit_code=3, stderr=b"no room")

    result = Rehearsal(commands=answer).run_once(Command("cp"))
    assert isinstance(result.error.cause, CommandFailed)
    assert str(result.error.cause) == "cp: exit code 3: no room"


def test_what_an_answer_raises_fails_the_step():
    def answer(invocation):
        raise LookupError("nobody answers")

    assert isinstance(Rehearsal(commands=answer).run_once(Command("cp")).error.cause, LookupError)


def test_each_attempt_is_answered():
    def answer(invocation):
        attempt = int(invocation.env["WORKERMANAGER_ATTEMPT"])
        return Completed(exit_code=0 if attempt == 3 else 1)

    tried = Step(Command("cp"), retry=Retry(attempts=3, when=lambda error: 60.0))
    result = Rehearsal(commands=answer).run_once([tried])
    assert result.outcome == "ok"
    assert result.service_ns == 120 * 10**9


def test_a_command_takes_its_time_and_no_more_than_its_timeout():
    def answer(invocation):
        rehearsal.clock.advance(invocation.args[0])
        return "done"

    rehearsal = Rehearsal(commands=answer)
    result = rehearsal.run_once(group(Command("nap", "2s"), Command("nap", "5s", timeout=5)))
    assert result.service_ns == 5 * 10**9
    result = rehearsal.run_once(Command("nap", "1h", timeout=5))
    assert isinstance(result.error.cause, TimedOut)
    assert str(result.error.cause) == "nap took longer than 5s"
    assert not result.error.cause.still_running
    assert result.service_ns == 5 * 10**9


def test_the_callback_s_commands_are_answered_too():
    asked = []

    def answer(invocation):
        asked.append(invocation.command)
        return ""

    worker = Worker(Command("one"), callback=Command("two"))
    assert Rehearsal(commands=answer).run(worker).outcome == "passed"
    assert asked == ["one", "two"]


@pytest.mark.parametrize("answered", [None, 3, ["a"]])
def test_an_answer_that_is_none_is_refused(answered):
    result = Rehearsal(commands=lambda invocation: answered).run_once(Command("cp"))
    assert "cp: Rehearsal(commands=…) answered" in str(result.error)


def test_what_answers_is_a_function():
    with pytest.raises(InvalidConfig, match="wanted a function of an invocation"):
        Rehearsal(commands="ls")
