"""A PHP program written against the original pool calls ours, and is not changed for it."""

import subprocess
import sys
from pathlib import Path

from tests.kit.process_pool import LONGEST_S, environment

PROGRAM = Path(__file__).with_name("calls_the_pool.php")
STAND_IN = f"""\
#!/bin/sh
exec {sys.executable} -m workermanager pool --compat "$@"
"""
KEYS = "(identifier,exit_code,result_body)"
PRINTED = f"""\
as an argument
  job 1: 0 "output of 1\\n" {KEYS}
  job 2: 0 "output of 2\\n" {KEYS}
  job 3: 0 "output of 3\\n" {KEYS}
  job 4: 0 "output of 4\\n" {KEYS}
  job 5: 0 "output of 5\\n" {KEYS}
  job 6: 0 "output of 6\\n" {KEYS}
  job 7: 0 "output of 7\\n" {KEYS}
  job 8: 0 "output of 8\\n" {KEYS}
from a file
  fails: 3 "partly\\n" {KEYS}
  is killed: -1 "" {KEYS}
  is unknown: 127 "" {KEYS}
  says no text: 0 "\\ufffd" {KEYS}
into a file
  fails: 3 "partly\\n" {KEYS}
  is killed: -1 "" {KEYS}
  is unknown: 127 "" {KEYS}
  says no text: 0 "\\ufffd" {KEYS}
status 0, results 8
of no tasks: [], status 0
"""


def test_it_runs_as_it_is(tmp_path):
    stand_in = tmp_path / "go-workerpool"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    done = subprocess.run(
        ["php", str(PROGRAM)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_S,
    )
    assert (done.returncode, done.stdout) == (0, PRINTED), done.stderr
    (told,) = set(done.stderr.splitlines())  # twice: why one of them could not be started
    assert "is unknown" in told
