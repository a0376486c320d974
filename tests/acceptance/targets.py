"""Targets for the command line's tests."""

import time
from pathlib import Path

from workermanager import Instrumentation, Worker


def ok(ctx, params):
    pass


def fails(ctx, params):
    raise ValueError("no luck today")


def fails_with_a_secret(ctx, params):
    raise ConnectionError("cannot reach postgresql://me:canary-5f2e@db/x?password=canary-5f2e")


def leaves(ctx, params):
    if ctx.n == 3:
        raise SystemExit(3)


def waits(ctx, params):
    """Say that an exec runs, then go on until the run is told to stop now."""
    Path(params["marker"]).touch()
    ctx.sleep(3_600)


def is_deaf(ctx, params):
    """As above, but look at nothing."""
    Path(params["marker"]).touch()
    time.sleep(3_600)


def until_allowed(ctx, params):
    """Say that an exec runs, then end once the test says so."""
    Path(params["marker"]).touch()
    while not Path(params["allow"]).exists():
        time.sleep(0.001)


def says(ctx, params):
    print(repr(params["greeting"]), type(params["greeting"]).__name__)


def tells_the_environment(ctx, params):
    print(ctx.run.env["GREETING"])


def takes_one(params):
    pass


async def is_async(ctx, params):
    pass


def broken_factory():
    raise RuntimeError("the factory\nis broken")


def factory():
    return Worker(ok, execs_per_tick=[2, 3], tick_duration=0)


instrumentation = Instrumentation(func_dispatcher=ok, nested_callback=[ok], func_name="both")
forty_two = 42


def logs_a_secret(ctx, params):
    ctx.log.bind(password="canary-5f2e").info('connecting with password="canary-5f2e" now')
    raise ValueError("as planned")
