"""F1: kill -9 at any point, resume, and the database is the one that nobody killed."""

from random import Random

import pytest

from tests.kit.seeding import TARGET, Seeding, dump, whole_chains
from workermanager.database.store import read_run

EXECS = 1_500


@pytest.fixture
def undisturbed(seed, tmp_path):
    url = f"sqlite:///{tmp_path}/undisturbed.db"
    assert seed(url, [EXECS], tick_duration="1s").run().counts["ok"] == EXECS
    return dump(url)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("threads", [1, 16])
def test_killed_anywhere_and_resumed_the_database_is_the_same(
    threads, make_url, undisturbed, tmp_path, is_long
):
    random = Random(threads)
    for attempt in range(20 if is_long else 3):
        url, folder = make_url(), tmp_path / str(attempt)
        folder.mkdir()
        plan = ("--execs-per-tick", f"{EXECS},", "--tick-duration", "1s", "--threads", threads)
        where = ("--database", url)
        run = Seeding(folder, "run", TARGET, "--seed", 7, "--run-id", "it", *plan, *where)
        run.kill_after(random.randrange(1, EXECS))
        check_what_is_there(url, run)
        if attempt % 2:  # one resume is killed too
            resumed = Seeding(folder, "resume", "it", "--threads", threads, *where)
            resumed.kill_after(random.randrange(1, EXECS // 4))
            check_what_is_there(url, resumed)
        exit_code, said, report = Seeding(folder, "resume", "it", *where).end()
        assert (exit_code, report["counts"]["failed"]) == (0, 0), said
        assert report["counts"]["skipped"] + report["counts"]["ok"] == EXECS
        assert dump(url) == undisturbed
        assert read_run(url, "it").state == "finished"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["composed", "awaiting"])
def test_chains_that_fan_out_are_whole_and_the_same_too(name, make_url, tmp_path, is_long):
    target = TARGET.replace(":worker", f":{name}")
    plan = ("--execs-per-tick", f"{EXECS // 3},", "--tick-duration", "1s", "--seed", 7)
    undisturbed = f"sqlite:///{tmp_path}/undisturbed.db"
    alone = Seeding(tmp_path, "run", target, *plan, "--threads", 1, "--database", undisturbed)
    exit_code, said, _ = alone.end()
    assert exit_code == 0, said
    assert whole_chains(undisturbed) == EXECS // 3
    random = Random(name)
    for attempt in range(10 if is_long else 2):
        url, folder = make_url(), tmp_path / str(attempt)
        folder.mkdir()
        run = Seeding(folder, "run", target, "--run-id", "it", *plan, "--database", url)
        run.kill_after(random.randrange(1, EXECS // 3))
        check_what_is_there(url, run)
        exit_code, said, report = Seeding(folder, "resume", "it", "--database", url).end()
        assert (exit_code, report["counts"]["failed"]) == (0, 0), said
        assert dump(url) == dump(undisturbed)


def check_what_is_there(url, killed):
    """No acknowledged exec is missing, no chain is partial, and the ledger tells the truth."""
    durable = read_run(url, "it").durable
    assert not [n for n in killed.acknowledged() if n not in durable]
    assert whole_chains(url) == len(durable)
