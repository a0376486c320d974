"""F12: the disk is full: one clear error, the run stops, and resume works once there is room."""

import resource

from tests.kit.seeding import TARGET, Seeding, dump, whole_chains

EXECS = 1_500
PLAN = ("--execs-per-tick", f"{EXECS},", "--tick-duration", "1s", "--seed", 7, "--run-id", "it")


def test_a_file_that_may_not_grow_stops_the_run_which_can_be_resumed(seed, tmp_path):
    quiet, url = f"sqlite:///{tmp_path}/undisturbed.db", f"sqlite:///{tmp_path}/small.db"
    seed(quiet, [EXECS], tick_duration="1s").run()
    where = ("--database", url)

    def allow_little():
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    exit_code, said, report = Seeding(
        tmp_path, "run", TARGET, *PLAN, *where, limits=allow_little
    ).end()
    assert exit_code == 1
    assert said.count("the run stops, because the database does not go on") == 1
    counts = report["counts"]
    assert 0 < counts["ok"] == whole_chains(url) < EXECS
    assert counts["due"] == counts["ok"] + counts["failed"] + counts["interrupted"]
    exit_code, said, report = Seeding(tmp_path, "resume", "it", *where).end()
    assert exit_code == 0, said
    assert report["counts"]["skipped"] == counts["ok"]
    assert dump(url) == dump(quiet)


def test_a_database_that_is_full_says_so(seed, tmp_path):
    quiet, url = f"sqlite:///{tmp_path}/undisturbed.db", f"sqlite:///{tmp_path}/small.db"
    seed(quiet, [EXECS], tick_duration="1s").run()
    target = f"{tmp_path}/small.py:worker"
    (tmp_path / "small.py").write_text(SMALL.format(target=TARGET))
    where = ("--database", url)
    exit_code, said, report = Seeding(tmp_path, "run", target, *PLAN, *where).end()
    assert exit_code == 1
    assert "database or disk is full" in said
    assert [error["example"] for error in report["errors"]] == ["database or disk is full"]
    exit_code, said, _ = Seeding(tmp_path, "resume", "it", TARGET, *where).end()
    assert exit_code == 0, said
    assert dump(url) == dump(quiet)


SMALL = """
from sqlalchemy import Engine, event

from workermanager.cli.target import find_worker

worker = find_worker({target!r})

@event.listens_for(Engine, "connect")
def allow_little(connection, record):
    connection.execute("PRAGMA max_page_count = 100")
"""
