"""Targets for the command line's tests."""

import time
from pathlib import Path

from workermanager import Instrumentation, Retry, Step, Worker, chain, group


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


def is_generator(ctx, params):
    yield


def broken_factory():
    raise RuntimeError("the factory\nis broken")


def factory():
    return Worker(ok, execs_per_tick=[2, 3], tick_duration=0)


instrumentation = Instrumentation(func_dispatcher=ok, nested_callback=[ok], func_name="both")
forty_two = 42


def logs_a_secret(ctx, params):
    ctx.log.bind(password="canary-5f2e").info('connecting with password="canary-5f2e" now')
    raise ValueError("as planned")


def _things():
    """Where the targets below insert; SQLAlchemy takes a while, so only they import it."""
    from sqlalchemy import Column, Integer, MetaData, String, Table

    schema = MetaData()
    columns = Column("id", Integer, primary_key=True), Column("name", String(40))
    return Table("things", schema, *columns)


def _inserts_into(things, **settings):
    def seeds(ctx, params):
        name = f"{ctx.uuid().hex[:8]} {params.get('size', 0)}"
        ctx.insert(things, {"id": ctx.n, "name": name})

    def afterwards(ctx, params):
        print("the callback ran")

    return Worker(seeds, schema=things.metadata, callback=afterwards, **settings)


def seeds_things():
    return _inserts_into(_things())


def holds_on():
    """As above, but from exec 20 on say so in a marker, and wait until the test allows more."""
    things = _things()

    def seeds_until(ctx, params):
        ctx.insert(things, {"id": ctx.n, "name": ctx.uuid().hex})
        if ctx.n >= 20:
            Path(params["marker"]).touch()
            while not Path(params["allow"]).exists():
                ctx.sleep(0.005)

    return Worker(seeds_until, schema=things.metadata)


def fails_unless_allowed():
    things = _things()

    def seeds_or_not(ctx, params):
        if ctx.n % 2 and not Path("allow").exists():
            raise ValueError("not yet")
        ctx.insert(things, {"id": ctx.n, "name": ctx.uuid().hex})

    return Worker(seeds_or_not, schema=things.metadata)


composed = Instrumentation(
    func_name="orders",
    func_dispatcher=[
        Step(ok, retry=Retry(attempts=3)),
        group(ok, chain(ok, fails, name="pay", timeout=1)),
    ],
)
