import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrumentation.errors import ParamError
from instrumentation.params import TaskParams

MAPPINGS = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=5)


@given(MAPPINGS)
def test_params_are_a_dict(mapping):
    params = TaskParams(mapping)
    assert params == mapping
    assert isinstance(params, dict)


def test_a_clone_can_change_and_the_original_does_not():
    original = TaskParams(name="a")
    clone = original.clone()
    clone["name"] = "b"
    clone["more"] = 1
    assert original == {"name": "a"}
    assert isinstance(clone, TaskParams)


def test_a_clone_shares_the_values():
    shared = ["big"]
    assert TaskParams(value=shared).clone()["value"] is shared


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("x", str),
        (3, int),
        (2.5, float),
        (True, bool),
        ([1], list),
        (None, type(None)),
        (1, object),
    ],
)
def test_a_value_of_the_type_asked_for_is_given_as_it_is(value, kind):
    assert TaskParams(key=value).get_as("key", kind) is value


def test_an_int_serves_where_a_float_is_asked_for():
    found = TaskParams(rate=3).get_as("rate", float)
    assert (found, type(found)) == (3.0, float)


def test_an_instance_of_a_subclass_serves():
    assert TaskParams(params=TaskParams(a=1)).get_as("params", dict) == {"a": 1}


@pytest.mark.parametrize(
    ("value", "kind"),
    [("3", int), (3, str), (True, int), (False, float), (2.5, int), (None, str), ([1], tuple)],
)
def test_a_value_of_another_type_names_the_key_what_was_wanted_and_what_is_there(value, kind):
    with pytest.raises(ParamError) as caught:
        TaskParams(key=value).get_as("key", kind)
    error, found = caught.value, type(value)
    assert str(error) == f"param 'key': wanted {kind.__name__}, found {found.__name__}"
    assert (error.key, error.wanted, error.found) == ("key", kind, found)


def test_a_mistyped_param_does_not_fall_back_to_the_default():
    with pytest.raises(ParamError):
        TaskParams(count="many").get_as("count", int, 5)


def test_a_value_is_not_shown_in_a_refusal_because_it_may_be_a_secret():
    with pytest.raises(ParamError) as caught:
        TaskParams(password="hunter2").get_as("password", int)
    assert "hunter2" not in str(caught.value)


def test_a_missing_param_names_the_key_and_what_is_there():
    with pytest.raises(ParamError) as caught:
        TaskParams(b=1, a=2).get_as("company_id", str)
    error = caught.value
    assert str(error) == "param 'company_id' is missing: wanted str; the params are: a, b"
    assert (error.key, error.wanted, error.found) == ("company_id", str, None)


def test_a_missing_param_among_none_says_so():
    with pytest.raises(ParamError, match=r"the params are: none$"):
        TaskParams().get_as("id", str)


@pytest.mark.parametrize("default", [5, None, "other", 0])
def test_a_missing_param_gives_the_default(default):
    assert TaskParams().get_as("id", int, default) is default


def test_a_present_param_wins_over_the_default():
    assert TaskParams(id=1).get_as("id", int, 5) == 1


def test_the_repr_tells_params_from_a_plain_dict():
    assert repr(TaskParams(a=1)) == "TaskParams({'a': 1})"
