"""Ways to run many processes, some at a time, with what they print kept: ours and others'."""

import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import ROOT
from tests.kit.process_pool import MEASURED, environment, lines_of, task

AT_ONCE = 8
FEW = 2 * AT_ONCE
NO_PROGRAM = "no-such-program"


def per_task(call, more, *argv):
    """What one more task costs, the start left out: the slope between few of them and more."""
    with TemporaryDirectory() as folder:
        took = [call(Path(folder), count, argv) for count in (FEW, FEW + more)]
    return {"ms": (took[1] - took[0]) / more * 1e3, "s": took[1]}


def ours(more, *argv):
    return per_task(call_ours, more, *argv)


def xargs(more, *argv):
    return per_task(call_xargs, more, *argv)


def parallel(more, *argv):
    if shutil.which("parallel") is None:
        raise ModuleNotFoundError(name="GNU parallel")
    return per_task(call_parallel, more, *argv)


def threads(more, *argv):
    return per_task(call_threads, more, *argv)


def call_ours(folder, count, argv):
    """One JSON document with every task's result, in order."""
    tasks, results = folder / "tasks", folder / "results"
    tasks.write_bytes(lines_of(task(str(number), *argv) for number in range(count)))
    pool = (sys.executable, "-m", "workermanager", "pool", "-t", str(AT_ONCE))
    took = timed([*pool, "-i", tasks, "-o", results])
    assert results.read_text().count('"ok"') == count
    return took


def call_xargs(folder, count, argv):
    """Everything into one pipe, whoever says it; exit codes are not told apart."""
    command, argument = (*argv, "")[:2]
    feed = f"{argument or 'it'}\n" * count
    return timed(["xargs", "-P", str(AT_ONCE), "-n", "1", command], input=feed.encode())


def call_parallel(folder, count, argv):
    """Each one's output together, in order."""
    command, argument = (*argv, "")[:2]
    feed = f"{argument or 'it'}\n" * count
    flags = ("--will-cite", "--keep-order", "-j", str(AT_ONCE))
    return timed(["parallel", *flags, command], input=feed.encode())


def call_threads(folder, count, argv):
    """Completed processes in a list, in order."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ended = list(
            pool.map(lambda _: subprocess.run(argv, capture_output=True, check=True), range(count))
        )
    assert len(ended) == count
    return time.perf_counter() - begun


def timed(argv, **how):
    begun = time.perf_counter()
    subprocess.run(
        list(map(str, argv)), cwd=ROOT, env=environment(), check=True, capture_output=True, **how
    )
    return time.perf_counter() - begun


def memory(count, *argv):
    """The most memory that the pool's own process had, of so many tasks in NDJSON."""
    with TemporaryDirectory() as folder:
        tasks, peak = Path(folder, "tasks"), Path(folder, "peak")
        with tasks.open("wb") as file:
            for number in range(count):
                file.write(lines_of([task(f"task {number}", *argv)]))
        begun = time.perf_counter()
        ended = subprocess.run(
            [
                *(sys.executable, "-c", MEASURED, "pool", "-t", str(AT_ONCE)),
                *("-i", tasks, "-o", "results"),
            ],
            cwd=folder,
            env=environment(),
            stderr=subprocess.PIPE,
            check=False,
        )
        took = time.perf_counter() - begun
        assert ended.returncode == (argv[0] == NO_PROGRAM), ended.stderr
        return {"MiB": int(peak.read_text()) / 1024, "s": took}


def modules(*argv):
    """How many modules the command imports, and how many of those that it has no use for."""
    program = (
        "import atexit, sys; from workermanager.cli import main; sys.argv[0] = 'workermanager';"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *argv],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    names = ended.stderr.split()
    return {
        "modules": len(names),
        "unwanted": len({"sqlalchemy", "faker", "apscheduler"} & set(names)),
    }
