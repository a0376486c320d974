"""Params and tags as the command line gives them: from files, and one by one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrumentation.errors import InvalidConfig
from workermanager.cli.target import parse_params, parse_tags, read_params

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.text(min_size=1).filter(lambda name: "=" not in name and name == name.strip())


def in_file(folder, text, name="params.json"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_the_assignments_are_all():
    assert read_params(None, ["a=1", "b=x"]) == ("a=1", "b=x")


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_params_of_a_json_file_come_through_as_they_are(tmp_path_factory, params):
    path = in_file(tmp_path_factory.getbasetemp(), json.dumps(params))
    assert parse_params(read_params(path, [])) == params


def test_assignments_are_above_the_file(tmp_path):
    path = in_file(tmp_path, '{"a": 1, "b": 2}')
    assert parse_params(read_params(path, ["b=3", "c=x"])) == {"a": 1, "b": 3, "c": "x"}


def test_text_that_looks_like_a_number_stays_text_from_a_file(tmp_path):
    path = in_file(tmp_path, '{"zip": "01234", "yes": "true"}')
    assert parse_params(read_params(path, [])) == {"zip": "01234", "yes": "true"}


def test_tables_and_dates_of_toml_become_objects_and_text(tmp_path):
    path = in_file(tmp_path, 'at = 2026-01-02T03:04:05Z\n[of]\nname = "x"\n', "params.toml")
    assert parse_params(read_params(path, [])) == {
        "at": "2026-01-02 03:04:05+00:00",
        "of": {"name": "x"},
    }


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("p.json", "", "cannot be read: Expecting value"),
        ("p.json", "a = 1", "cannot be read: Expecting value"),
        ("p.json", '"text"', "wanted an object of params"),
        ("p.json", "null", "wanted an object of params"),
        ("p.json", '{"": 1}', "'' is no name for a param"),
        ("p.toml", "a: 1", "cannot be read: "),
        ("p.toml", '"a=b" = 1', "'a=b' is no name for a param"),
    ],
)
def test_a_file_that_has_no_params_is_told_by_its_name(tmp_path, name, text, told):
    path = in_file(tmp_path, text, name)
    with pytest.raises(InvalidConfig) as refusal:
        read_params(path, [])
    assert str(refusal.value).startswith(f"--params {path}: {told}")


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InvalidConfig, match=r"nosuch\.json: cannot be read: .*No such file"):
        read_params(tmp_path / "nosuch.json", [])


@pytest.mark.parametrize(
    ("assignments", "tags"),
    [
        ([], {}),
        (["a=b"], {"a": "b"}),
        (["a=b", "a=c"], {"a": "c"}),
        ([" a = b c "], {"a": "b c"}),
        (["a=b=c"], {"a": "b=c"}),
        (["a="], {"a": ""}),
        (["n=5"], {"n": "5"}),
    ],
)
def test_a_tag_is_a_name_and_a_text(assignments, tags):
    assert parse_tags(assignments) == tags


@pytest.mark.parametrize("text", ["", "a", "=b", "  =b"])
def test_a_tag_without_a_name_or_a_text_is_told(text):
    with pytest.raises(InvalidConfig, match=f"^--tag '{text}': wanted name=text$"):
        parse_tags([text])
