import os
from dataclasses import FrozenInstanceError, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrumentation.errors import InvalidConfig
from workermanager.config import PREFIX, Config, Environment, parse_setting

SETTINGS = {
    "EXECS_PER_TICK": ("10,20,0", (10, 20, 0)),
    "TICKS": ("5", 5),
    "TICK_DURATION": ("500ms", "500ms"),
    "RATE": ("90/min", "90/min"),
    "DURATION": ("1m", "1m"),
    "COUNT": ("1000", 1_000),
    "STAGES": ("0:0/s,30s:100/s", "0:0/s,30s:100/s"),
    "WARMUP": ("5s", "5s"),
    "THRESHOLDS": ("p99<200ms, failed<0.1%", ("p99<200ms", "failed<0.1%")),
    "ABORT_ON": ("failed<5%", ("failed<5%",)),
    "TAGS": ("env=ci, branch=main", ("env=ci", "branch=main")),
    "HISTORY": ("off", "off"),
    "SPREAD": ("Poisson", "poisson"),
    "OVERRUN": ("late:500ms", "late:500ms"),
    "THREADS": ("8", 8),
    "IN_FLIGHT": ("500", 500),
    "EXEC_TIMEOUT": ("5s", "5s"),
    "TICK_TIMEOUT": ("500ms", "500ms"),
    "SEED": ("-7", -7),
    "DATABASE": ("sqlite:///a.db", "sqlite:///a.db"),
    "STORE": ("sqlite:///s.db", "sqlite:///s.db"),
    "GRACE": ("1m30s", "1m30s"),
    "LOG_LEVEL": ("DEBUG", "debug"),
    "LOG_FORMAT": ("json", "json"),
}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for variable in list(os.environ):
        if variable.startswith(PREFIX):
            monkeypatch.delenv(variable)


@pytest.fixture
def env_file(tmp_path):
    """A ``.env`` to write to; every write changes its time, however fast they follow."""

    class EnvFile:
        path = tmp_path / ".env"
        _writes = 0

        def write(self, text):
            self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
            self._writes += 1
            os.utime(self.path, (1_000 + self._writes,) * 2)

    return EnvFile()


# Settings


@pytest.mark.parametrize(("name", "text", "value"), [(n, *pair) for n, pair in SETTINGS.items()])
def test_every_setting_is_read(name, text, value):
    assert getattr(Config.load({PREFIX + name: text}), name.lower()) == value


def test_there_is_a_test_for_every_setting():
    assert {name.lower() for name in SETTINGS} == {field.name for field in fields(Config)}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("environment", [{}, {"": ""}])
def test_what_the_environment_does_not_set_is_none(name, environment):
    environment = {PREFIX + name: ""} if "" in environment else environment
    assert getattr(Config.load(environment), name.lower()) is None


def test_a_config_cannot_be_changed():
    config = Config.load({})
    with pytest.raises(FrozenInstanceError):
        config.threads = 5


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("THREADS", "many", "'many' is not a whole number"),
        ("THREADS", "0", "0 is out of range: it must be 1 or more"),
        ("IN_FLIGHT", "0", "0 is out of range: it must be 1 or more"),
        ("EXEC_TIMEOUT", "soon", "'soon' is not a duration; write 500ms, 1s"),
        ("THREADS", "2.5", "'2.5' is not a whole number"),
        ("TICKS", "-1", "-1 is out of range: it must be 1 or more"),
        ("SEED", "seven", "'seven' is not a whole number"),
        ("EXECS_PER_TICK", "0", "0 is out of range: it must be 1 or more"),
        ("EXECS_PER_TICK", "1,-2", "-2 is out of range: it must be 0 or more"),
        ("EXECS_PER_TICK", "1,two", "'two' is not a whole number"),
        ("TICK_DURATION", "soon", "'soon' is not a duration; write 500ms, 1s"),
        ("GRACE", "-1s", "'-1s' is not a duration"),
        ("SPREAD", "wide", "'wide' is unknown; use even, burst, poisson"),
        ("OVERRUN", "late", "'late' is unknown; use queue, drop, or late:500ms"),
        ("LOG_LEVEL", "loud", "'loud' is unknown; use trace, debug, info, warning, error"),
        ("LOG_FORMAT", "xml", "'xml' is unknown; use text, json"),
    ],
)
def test_a_wrong_value_names_the_variable_and_what_is_wrong(name, text, why):
    with pytest.raises(InvalidConfig) as caught:
        Config.load({PREFIX + name: text})
    assert str(caught.value).startswith(f"{PREFIX}{name}: {why}")


def test_a_mistyped_name_is_refused_with_the_one_that_was_meant():
    with pytest.raises(InvalidConfig) as caught:
        Config.load({"WORKERMANAGER_THREAD": "8"})
    expected = "WORKERMANAGER_THREAD is no setting; did you mean WORKERMANAGER_THREADS?"
    assert str(caught.value) == expected


def test_a_name_like_none_is_refused_with_all_there_are():
    with pytest.raises(InvalidConfig) as caught:
        Config.load({"WORKERMANAGER_XYZZYQQQ": "8"})
    assert f"behind {PREFIX}:" in str(caught.value)
    assert all(name in str(caught.value) for name in SETTINGS)


def test_variables_of_others_and_of_the_tests_are_none_of_ours():
    assert Config.load({"PATH": "/bin", "THREADS": "x", PREFIX + "TEST_URL": "x"}) == Config()


@pytest.mark.parametrize("name", ["KEY", "PATH", "ATTEMPT"])
def test_a_command_that_is_a_run_itself_does_not_mind_whose_it_is(name):
    assert Config.load({PREFIX + name: "x"}) == Config()


@given(st.integers())
def test_a_seed_can_be_any_whole_number(seed):
    assert parse_setting("seed", str(seed), "--seed") == seed


@given(st.lists(st.integers(0, 10**9), min_size=2))
def test_a_list_of_execs_has_one_number_for_each_tick(execs):
    text = " , ".join(map(str, execs))
    assert parse_setting("execs_per_tick", text, "--execs-per-tick") == tuple(execs)


def test_a_flag_is_read_like_a_variable_and_called_by_its_own_name():
    assert parse_setting("threads", " 8 ", "--threads") == 8
    with pytest.raises(InvalidConfig, match=r"^--threads: 'x' is not a whole number$"):
        parse_setting("threads", "x", "--threads")


# The environment over a file


def test_the_environment_wins_over_the_file(env_file, monkeypatch):
    monkeypatch.setenv("WORKERMANAGER_SEED", "1")
    env_file.write("WORKERMANAGER_SEED=2\nWORKERMANAGER_THREADS=3\nAPI_KEY=abc\n")
    values = Environment(env_file.path).values
    config = Config.load(values)
    assert (config.seed, config.threads, values["API_KEY"]) == (1, 3, "abc")


def test_values_have_the_environment_and_cannot_be_changed(env_file, monkeypatch):
    monkeypatch.setenv("HOME_TOWN", "Uppsala")
    values = Environment(None).values
    assert values["HOME_TOWN"] == "Uppsala"
    with pytest.raises(TypeError):
        values["HOME_TOWN"] = "Lund"


def test_comments_quotes_and_names_without_a_value_are_understood(env_file):
    env_file.write("# a comment\nA='one two'\nexport B=3\nNOTHING\n")
    values = Environment(env_file.path).values
    assert (values["A"], values["B"], "NOTHING" in values) == ("one two", "3", False)


def test_a_missing_file_is_an_empty_one(tmp_path):
    assert dict(Environment(tmp_path / ".env").values) == dict(os.environ)


def test_an_unchanged_file_is_not_read_again(env_file):
    env_file.write("A=1\n")
    environment = Environment(env_file.path)
    values = environment.values
    assert environment.refresh() is False
    assert environment.values is values


@pytest.mark.parametrize("text", ["A=2\n", "A=1\nB=2\n", ""])
def test_a_changed_file_is_read_again_once(env_file, text):
    env_file.write("A=1\n")
    environment = Environment(env_file.path)
    env_file.write(text)
    assert environment.refresh() is True
    assert environment.values.get("A") == {"A=2\n": "2", "A=1\nB=2\n": "1", "": None}[text]
    assert environment.refresh() is False


def test_a_file_that_appears_and_one_that_goes_are_changes(env_file):
    environment = Environment(env_file.path)
    env_file.write("A=1\n")
    assert environment.refresh() is True
    assert environment.values["A"] == "1"
    env_file.path.unlink()
    assert environment.refresh() is True
    assert "A" not in environment.values


def test_a_file_replaced_by_another_is_a_change(env_file, tmp_path):
    env_file.write("A=1\n")
    environment = Environment(env_file.path)
    stamp = env_file.path.stat()
    other = tmp_path / "other"
    other.write_text("A=2\n")
    os.utime(other, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    other.rename(env_file.path)
    assert environment.refresh() is True
    assert environment.values["A"] == "2"


def test_without_a_file_nothing_ever_changes():
    assert Environment(None).refresh() is False


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A=1\nB=2\n=oops\n", r"\.env:3: wanted NAME=value$"),
        (b"A=\xff\n", r"\.env: cannot be read: "),
        ("WORKERMANAGER_THREADS=many\n", r"^WORKERMANAGER_THREADS: 'many' is not"),
        ("WORKERMANAGER_THREDS=8\n", r"^WORKERMANAGER_THREDS is no setting; did you mean"),
    ],
)
def test_a_bad_file_is_refused_and_says_where(env_file, text, why):
    env_file.write(text)
    with pytest.raises(InvalidConfig, match=why):
        Environment(env_file.path)


def test_a_directory_is_no_env_file(tmp_path):
    with pytest.raises(InvalidConfig, match=r"cannot be read: "):
        Environment(tmp_path)


def test_a_file_that_turns_bad_changes_nothing_until_it_is_mended(env_file):
    env_file.write("A=1\n")
    environment = Environment(env_file.path)
    env_file.write("A=2\nWORKERMANAGER_THREADS=many\n")
    with pytest.raises(InvalidConfig):
        environment.refresh()
    assert environment.values["A"] == "1"
    assert environment.refresh() is False
    env_file.write("A=3\n")
    assert environment.refresh() is True
    assert environment.values["A"] == "3"
