"""A file of schedules says what runs, when and how; what is wrong with it is told in one line."""

import sys
from datetime import UTC, datetime

import pytest

from instrumentation.commands import Command
from instrumentation.errors import InvalidConfig
from workermanager.cli.declaring import declare, read_moment
from workermanager.cli.schedule_file import declare_target, read_schedules
from workermanager.timetables.moments import find_zone
from workermanager.timetables.timetable import at, cron, every

BERLIN = find_zone("Europe/Berlin")

TARGETS = """
from workermanager import Worker

def greet(ctx, params):
    pass

def other(ctx, params):
    pass

worker = Worker(greet)
"""


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Read a file of schedules beside ``targets_of_schedules.py``, from another folder."""
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "targets_of_schedules.py").write_text(TARGETS)
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.delitem(sys.modules, "targets_of_schedules", raising=False)

    def read(text):
        path = folder / "jobs.toml"
        path.write_text(text)
        return read_schedules(path, None)

    return read


def only(declaration):
    (one,) = declaration.schedules
    return one


def test_a_file_says_everything_of_a_schedule(read):
    declaration = read("""
        store = "sqlite:///jobs.db"
        threads = 3
        drain = "2s"
        [schedules.nightly]
        run = "targets_of_schedules.py:worker"
        cron = "30 2 * * *"
        tz = "Europe/Berlin"
        start = 2026-01-01T00:00:00
        end = "2027-01-01T00:00:00+00:00"
        jitter = "1m"
        misfire = "all(20)"
        overlap = "queue-one"
        grace = "1h"
        lost = "rerun"
        pause_after = 5
        pause_for = "2h"
        [schedules.nightly.params]
        greeting = "hello"
        since = 2026-01-01T00:00:00Z
    """)
    assert declaration.settings == ("sqlite:///jobs.db", 3, "2s")
    one = only(declaration)
    assert one.name == "nightly"
    assert one.target == "targets_of_schedules.py:worker"
    start, end = datetime(2026, 1, 1, tzinfo=BERLIN), datetime(2027, 1, 1, tzinfo=UTC)
    assert one.when == cron("30 2 * * *", tz=BERLIN, start=start, end=end, jitter="1m")
    schedule = one.as_schedule()
    assert str(schedule.misfire) == "all(20)"
    assert (schedule.overlap, schedule.lost, schedule.pause_after) == ("queue-one", "rerun", 5)
    assert (schedule.grace_ns, schedule.pause_for_ns) == (3_600 * 10**9, 7_200 * 10**9)
    arguments = one.what.instrumentation.task_arguments
    assert arguments == {"greeting": "hello", "since": datetime(2026, 1, 1, tzinfo=UTC)}


def test_what_it_does_not_say_is_as_everywhere(read):
    declaration = read('[schedules.often]\nrun = "targets_of_schedules:greet"\nevery = 1.5')
    assert declaration.settings == (None, None, None)
    one = only(declaration)
    assert one.when == every("1500ms")
    assert one.policies == {}


def test_a_command_runs_without_a_shell(read):
    one = only(read('[schedules.say]\ncommand = ["echo", "a b"]\nevery = "1m"\nimmediately = true'))
    assert one.what == Command("echo", "a b")
    assert one.target == "echo 'a b'"
    assert one.when == every("1m", immediately=True)


def test_the_file_s_zone_is_that_of_every_time_without_one(read):
    declaration = read("""
        tz = "Europe/Berlin"
        [schedules.daily]
        command = ["true"]
        cron = "@daily"
        [schedules.there]
        command = ["true"]
        cron = "@daily"
        tz = "Asia/Tokyo"
        [schedules.once]
        command = ["true"]
        at = 2026-12-24T18:00:00
        [schedules.often]
        command = ["true"]
        every = "1h"
        start = 2026-12-24T18:00:00
    """)
    daily, there, once, often = (one.when for one in declaration.schedules)
    eve = datetime(2026, 12, 24, 17, tzinfo=UTC)
    assert (daily.tz, there.tz) == ("Europe/Berlin", "Asia/Tokyo")
    assert once == at(eve)
    assert often == every("1h", start=eve)


def test_a_file_of_targets_is_executed_once(read):
    one, other = read("""
        [schedules.one]
        run = "targets_of_schedules.py:greet"
        every = "1m"
        [schedules.other]
        run = "targets_of_schedules.py:other"
        every = "1m"
    """).schedules
    greet, step = one.what.instrumentation, other.what.instrumentation
    assert greet.__globals__ is step.__globals__


def test_a_worker_may_say_itself_how_often():
    class Own:
        cron_scheduler_config = type("Config", (), {"interval_in_seconds": 2})

    assert declare("own", Own(), "x:y", {}).when == every(2, immediately=True)
    assert declare("own", Own(), "x:y", {"at": "2026-01-01T00:00Z"}).when == at(
        datetime(2026, 1, 1, tzinfo=UTC)
    )


def test_a_moment_without_a_zone_is_one_of_the_zone_s():
    assert read_moment("2026-07-01T12:00", "at", BERLIN) == datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert read_moment("2026-07-01T12:00Z", "at", BERLIN) == datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-07-01", "noon", "12:00", "", 7, None])
def test_what_is_no_date_and_time(text):
    with pytest.raises(InvalidConfig, match=r"at: .* is no date and time; write 2026-12-24T18:00"):
        read_moment(text, "at", BERLIN)


ONE = '[schedules.a]\ncommand = ["true"]\n'
REFUSED = [
    ("x = 1", "'x' is unknown; there are: schedules, store, threads, tz, drain"),
    ("thread = 1", "'thread' is unknown; did you mean threads?"),
    ("", "there is no schedule in it; write [schedules.NAME] above each"),
    ("schedules = 3", "there is no schedule in it"),
    ("[schedules]\na = 3", "schedules.a: 3: wanted a table: [schedules.a]"),
    ("x[", "is no TOML: Expected '='"),
    (f"x = {'[' * 5_000}", "is no TOML: nested too deeply"),
    ("store = 3", "store: 3: wanted the URL of a database"),
    ("threads = 0", "threads: 0: wanted a whole number of 1 or more"),
    ("threads = true", "threads: True: wanted a whole number"),
    ('drain = "soon"', "drain: 'soon' is not a duration"),
    ('tz = "Mars/One"', "tz: 'Mars/One' is no time zone"),
    ("[schedules.a]\nevery = 1", 'schedules.a: what? give either run = "path/file.py:worker"'),
    (f'{ONE}run = "x:y"\nevery = 1', "schedules.a: what? give either"),
    ("[schedules.a]\nrun = 3\nevery = 1", "schedules.a: run: 3: wanted path/file.py:name"),
    ('[schedules.a]\nrun = "x"\nevery = 1', "schedules.a: run: 'x': wanted path/file.py:name"),
    ('[schedules.a]\nrun = "no.py:x"\nevery = 1', "no file"),
    (
        '[schedules.a]\nrun = "targets_of_schedules:nothing"\nevery = 1',
        "schedules.a: target 'targets_of_schedules:nothing': targets_of_schedules has no 'nothing'",
    ),
    (
        '[schedules.a]\nrun = "targets_of_schedules:greet"\nevery = 1\nparams = 3',
        "schedules.a: params: 3: wanted a table",
    ),
    ('[schedules.a]\ncommand = "ls"\nevery = 1', "schedules.a: command: wanted a list of texts"),
    ("[schedules.a]\ncommand = []\nevery = 1", "schedules.a: command: wanted a list of texts"),
    (f"{ONE}every = 1\nparams = {{}}", "schedules.a: params go with run"),
    (f"{ONE}evry = 1", "schedules.a: 'evry' is unknown; did you mean every?"),
    (ONE, "schedules.a: when? give every, cron or at"),
    (f'{ONE}every = 1\ncron = "@daily"', "schedules.a: every and cron: one of them says when"),
    (f"{ONE}every = true", "schedules.a: every: True is not a duration"),
    (f"{ONE}every = 0", "schedules.a: every: 0 is out of range"),
    (f"{ONE}every = 1\nimmediately = 1", "schedules.a: immediately: 1: wanted true or false"),
    (f'{ONE}cron = "@daily"\nimmediately = true', "schedules.a: immediately does not go with cron"),
    (f"{ONE}at = 2026-12-24T18:00:00Z\nend = 3", "schedules.a: end does not go with at"),
    (
        f'{ONE}cron = "61 * * * *"',
        'schedules.a: cron "61 * * * *": minute: 61 is out of range: it must be from 0 to 59',
    ),
    (f"{ONE}cron = 5", "schedules.a: cron: 5: wanted text"),
    (f"{ONE}cron = \"@daily\"\ntz = 'Nowhere'", "schedules.a: tz: 'Nowhere' is no time zone"),
    (
        f"{ONE}at = 2026-12-24T18:00:00",
        "at: 2026-12-24T18:00:00 has no time zone; write 2026-12-24T18:00:00+01:00 or so, or give",
    ),
    (f"{ONE}at = 2026-12-24", "schedules.a: at: '2026-12-24' is no date and time"),
    (f"{ONE}every = 1\njitter = 'x'", "schedules.a: jitter: 'x' is not a duration"),
    (f"{ONE}every = 1\nmisfire = 'never'", "schedules.a: misfire: 'never' is unknown; use latest"),
    (f"{ONE}every = 1\noverlap = 3", "schedules.a: overlap: 3 is unknown; use skip"),
    (f"{ONE}every = 1\nlost = 'x'", "schedules.a: lost: 'x' is unknown; use report, rerun"),
    (f"{ONE}every = 1\ngrace = 'x'", "schedules.a: grace: 'x' is not a duration"),
    (f"{ONE}every = 1\npause_after = 0", "schedules.a: pause_after: 0: must be a whole number"),
    (f"{ONE}every = 1\npause_for = 1", "schedules.a: pause_for needs pause_after"),
    (f"[schedules.{'a' * 101}]\ncommand = ['true']\nevery = 1", "wanted up to 100 printable"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_a_mistake_is_one_line_that_says_where(text, message, read, tmp_path):
    with pytest.raises(InvalidConfig) as refused:
        read(text)
    told = str(refused.value)
    assert told.startswith(f"{tmp_path}/folder/jobs.toml: ")
    assert message in told
    assert "\n" not in told


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InvalidConfig, match=r"no\.toml: cannot be read: No such file"):
        read_schedules(tmp_path / "no.toml", None)


def test_a_target_is_known_by_its_name(read, tmp_path):
    target = str(tmp_path / "folder" / "targets_of_schedules.py:worker")
    one = only(declare_target(target, None, ["n=1"], None, {"every": "5m", "overlap": None}))
    assert (one.name, one.target, one.when) == ("worker", target, every("5m"))
    assert one.what.instrumentation.task_arguments == {"n": 1}
    assert only(declare_target(target, "mine", [], None, {"every": "5m"})).name == "mine"


def test_a_fire_reads_an_env_file_only_if_there_is_one(read, tmp_path):
    text = '[schedules.often]\nrun = "targets_of_schedules:greet"\nevery = 1'
    assert only(read(text)).what.env_file is None
    (tmp_path / "elsewhere" / ".env").write_text("GREETING=hello\n")
    assert only(read(text)).what.env_file is not None


@pytest.mark.parametrize("target", ["jobs", "jobs.py", ":x", "x:"])
def test_what_is_neither_a_file_nor_a_target(target):
    with pytest.raises(InvalidConfig, match=r"wanted module:name, .* or a \.toml file"):
        declare_target(target, None, [], None, {"every": "5m"})
