"""The examples do what they say."""

import json
import sqlite3
from contextlib import closing

from conftest import ROOT

BANK = ROOT / "examples" / "bank.py"
DOUBLING = ROOT / "examples" / "doubling.py"
LISTENING = ROOT / "examples" / "listening.py"
TRIP = ROOT / "examples" / "trip.py"
UPKEEP = ROOT / "examples" / "upkeep.py"
DATABASE = ("--database", "sqlite:///bank.db", "--quiet")


def test_the_bank_s_transfers_keep_the_sum_of_all_balances(call, tmp_path):
    assert call("run", f"{BANK}:opening", *DATABASE).returncode == 0
    before = balances(tmp_path)
    load = ("--rate", "200/s", "--count", "60", "--warmup", "50ms", "--json", "-")
    done = call("run", f"{BANK}:transfers", *DATABASE, *load)
    assert done.returncode in (0, 99), done.stderr  # how fast it is, is the machine's business
    report = json.loads(done.stdout)
    assert report["counts"]["ok"] + report["warmup"]["ok"] == 60
    assert {"look_up.transact", "transfer.transact"} < set(report["steps"])
    assert len(report["thresholds"]) == 5
    after = balances(tmp_path)
    assert sum(after) == sum(before)
    assert after != before


def balances(folder):
    with closing(sqlite3.connect(folder / "bank.db")) as connection:
        return [row[0] for row in connection.execute("SELECT balance FROM accounts ORDER BY id")]


HEARD = """\
MESSAGE 0
MESSAGE 1
MESSAGE 2
MESSAGE 3
MESSAGE 4
MESSAGE 5
loading: 6 due = 6 ok + 0 failed + 0 dropped + 0 expired + 0 interrupted
listening: 6 due = 6 ok + 0 failed + 0 dropped + 0 expired + 0 interrupted
heard, says the database: 6
"""


def test_what_was_loaded_is_heard_by_the_worker_of_the_callback(execute):
    done = execute(LISTENING)
    assert (done.stdout, done.stderr) == (HEARD, "")


def test_what_was_loaded_into_a_file_is_marked_there_as_heard(call, tmp_path):
    done = call("run", f"{LISTENING}:loading", "--database", "sqlite:///messages.db", "--quiet")
    assert (done.returncode, done.stdout) == (0, HEARD), done.stderr
    with closing(sqlite3.connect(tmp_path / "messages.db")) as connection:
        rows = connection.execute("SELECT text, heard FROM messages ORDER BY id").fetchall()
    assert rows == [(f"message {n}", 1) for n in range(6)]


BOOKED = """\
Rome, mailed: flight, hotel, car booked; tickets: Ann to Rome, Bob to Rome
Oslo, mailed: sorry, no hotel in Oslo; given back: flight
Lima, mailed: sorry, Cem has no passport; given back: car, hotel, flight
Nice, mailed: flight, hotel booked; tickets: Dan to Nice
flight: Nice, Rome
hotel: Nice, Rome
car: Rome
"""


def test_a_trip_is_booked_as_a_whole_or_given_back_from_the_latest_to_the_first(execute):
    done = execute(TRIP)
    assert (done.stdout, done.stderr) == (BOOKED, "")


DOUBLED = """\
job 0: 0
job 1: 2
job 2: 4
job 3: 6
job 4: 8
job 5: TypeError: 'five' is no number
job 6: 12
job 7: 14
job 8: 16
job 9: 18
10 taken, 10 delivered
"""


def test_the_pool_doubles_every_number_and_says_which_is_none(execute):
    done = execute(DOUBLING)
    assert (done.stdout, done.stderr) == (DOUBLED, "")


def test_titles_are_made_of_all_words_but_foo(execute):
    done = execute(ROOT / "examples" / "titles.py")
    assert done.stdout.splitlines() == [
        "failed: 'foo' is no word for a title",
        "of all that was read, it alone failed: True",
        "Hello",
        "Pipeline",
        "Bar",
        "Good Bye",
        "title rejected 'foo': 'foo' is no word for a title",
        "tried 3 times: foo",
        "5 read = 4 delivered + 1 failed",
    ]


def test_the_upkeep_of_a_shop_accounts_for_its_fires_in_a_program(execute, tmp_path):
    done = execute(UPKEEP)
    *summed, accounts = done.stdout.splitlines()
    assert accounts.endswith(" + 0 failed + 0 running + 0 waiting")
    assert len(summed) >= 2
    with closing(sqlite3.connect(tmp_path / "orders.db")) as connection:
        (orders,) = connection.execute("SELECT count(*) FROM orders").fetchone()
        (sums,) = connection.execute("SELECT count(*) FROM sums").fetchone()
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    assert (orders % 20, sums) == (0, len(summed))
    assert "workermanager_runs" not in tables  # a fire that is never run again has no ledger


def test_the_upkeep_of_a_shop_goes_on_from_its_store(call, tmp_path):
    for _ in range(2):
        jobs = UPKEEP.with_suffix(".toml")
        done = call("schedule", jobs, "--fires", "2", "--json", "report.json")
        assert done.returncode == 0, done.stderr
        counts = json.loads((tmp_path / "report.json").read_text())["counts"]
        assert counts["ran"] + counts["late"] >= 2
    listed = call("schedule", "list", "--store", "sqlite:///schedules.db", "--json")
    entries = {entry["name"]: entry for entry in json.loads(listed.stdout)}
    assert sorted(entries) == ["disk", "shop", "summing", "upkeep"]
    assert sum(entry["counts"]["ran"] + entry["counts"]["late"] for entry in entries.values()) >= 4
