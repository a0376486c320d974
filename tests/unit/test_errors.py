import pickle

import pytest

from instrumentation import errors
from instrumentation.errors import (
    AccountingError,
    Cancelled,
    InvalidConfig,
    InvalidStep,
    ParamError,
    RunFailed,
    StepError,
    TimedOut,
    WorkerManagerError,
    WriteError,
)


@pytest.mark.parametrize(
    "kind",
    [AccountingError, InvalidConfig, InvalidStep, ParamError, RunFailed, StepError, WriteError],
)
def test_the_root_catches_everything_raised_on_purpose(kind):
    assert issubclass(kind, WorkerManagerError)


def test_a_swallowing_step_does_not_swallow_cancelled():
    def step():
        try:
            raise Cancelled
        except Exception:  # noqa: BLE001 - what a user's step does
            return "swallowed"

    with pytest.raises(Cancelled):
        step()


def test_cancelled_is_no_failure_of_ours():
    assert not issubclass(Cancelled, WorkerManagerError)


def test_an_invalid_step_is_caught_as_invalid_config():
    assert issubclass(InvalidStep, InvalidConfig)


def test_a_param_error_is_a_lookup_error_that_says_what_was_wanted_and_found():
    error = ParamError("param 'id' …", key="id", wanted=str, found=int)
    assert isinstance(error, LookupError)
    assert (str(error), error.key, error.wanted, error.found) == ("param 'id' …", "id", str, int)


def test_a_step_error_keeps_its_cause_for_tracebacks():
    cause = ValueError("bad")
    error = StepError("chain/1/step", 1, cause)
    assert error.cause is cause
    assert error.__cause__ is cause


def test_a_step_error_names_the_step_and_the_cause():
    error = StepError("chain/2/add_user", 1, ValueError("bad name"))
    assert str(error) == "step chain/2/add_user failed: ValueError: bad name"


def test_a_step_error_tells_the_attempt_from_the_second_on():
    error = StepError("chain/2/add_user", 3, ValueError("bad name"))
    assert str(error) == "step chain/2/add_user failed on attempt 3: ValueError: bad name"


def test_a_step_error_has_a_text_where_its_cause_has_none():
    class Mute(Exception):
        def __str__(self):
            return self.text

    told = "step chain/1/step failed: Mute: (no text: its __str__ raises AttributeError)"
    assert str(StepError("chain/1/step", 1, Mute())) == told
    assert str(Cancelled(Mute())) == "(no text: its __str__ raises AttributeError)"


@pytest.mark.parametrize("still_running", [True, False])
def test_a_timeout_survives_the_way_to_another_process(still_running):
    sent = TimedOut("it took longer than 1s", 1.0, still_running=still_running)
    received = pickle.loads(pickle.dumps(sent))
    assert (str(received), received.seconds) == ("it took longer than 1s", 1.0)
    assert received.still_running is still_running


def test_a_step_error_survives_the_way_to_another_process():
    sent = StepError("chain/1/step", 2, ValueError("bad"))
    received = pickle.loads(pickle.dumps(sent))
    assert (received.path, received.attempt) == (sent.path, sent.attempt)
    assert str(received) == str(sent)


def test_the_module_lists_every_exception_it_defines():
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, BaseException)
    }
    assert defined == set(errors.__all__) - {"text_of"}
