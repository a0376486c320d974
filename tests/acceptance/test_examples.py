"""The examples do what they say."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing

from conftest import ROOT

BANK = ROOT / "examples" / "bank.py"
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


def test_the_pool_doubles_every_number_and_says_which_is_none(environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / "doubling.py"],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        env=environment,
    )
    assert (done.stdout, done.stderr) == (DOUBLED, "")


def test_titles_are_made_of_all_words_but_foo(tmp_path, environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / "titles.py"],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
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
