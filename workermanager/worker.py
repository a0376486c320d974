"""Worker: an Instrumentation, when to run it, and on how many threads."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, cast

from instrumentation.chains import as_instrumentation
from instrumentation.errors import InvalidConfig
from instrumentation.nodes import every_node, links_of
from workermanager.around import workplace
from workermanager.cancelling import refuse_on_loop
from workermanager.clock import bend, lay_out
from workermanager.cursor import Overrun
from workermanager.durations import Duration, parse_duration
from workermanager.limits import Limit, check_limits
from workermanager.middleware import check_middleware, wrap_with
from workermanager.plan import (
    DEFAULT_THREADS,
    Plan,
    check_context,
    check_execs,
    check_in_flight,
    check_run_id,
    check_seconds,
    check_seed,
    check_spread,
    check_tags,
    check_threads,
    check_warmup,
)
from workermanager.record import check_same, describe_facts
from workermanager.run import Run
from workermanager.shapes import Shape, Ticks
from workermanager.stages import format_stages, make_layout
from workermanager.thresholds import Threshold, parse_threshold

if TYPE_CHECKING:
    from sqlalchemy import MetaData
    from typing_extensions import TypeVar

    from instrumentation.composing import Chain
    from instrumentation.execution import Result
    from instrumentation.nodes import Node
    from workermanager.cancelling import Context
    from workermanager.clock import Layout, Spread
    from workermanager.middleware import Middleware
    from workermanager.report import Report
    from workermanager.scheduler.classic import CronSchedulerConfig

    R_co = TypeVar("R_co", covariant=True, default=Report)
else:
    from typing import TypeVar

    R_co = TypeVar("R_co", covariant=True)

__all__ = ["Worker"]


class _Load(NamedTuple):
    """When execs are due before the spread bends it, and how that is written."""

    layout: Layout
    execs_per_tick: int | tuple[int, ...] | None
    shape: str | None


_SEEDED_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, eq=False, slots=True)
class Worker(Generic[R_co]):
    """Runs an Instrumentation ``execs_per_tick`` times on every tick, on a pool of threads.

    Args:
        instrumentation: what to run; a function or a list of functions will do.
        execs_per_tick: a number for every tick, or a list with one for each. Not given: one exec
            on each of ``ticks`` ticks, and one exec in all if that is not given either.
        shape: instead of ``execs_per_tick``, a rate line: ``Rate("100/s", "1m")``, ``Ramp("0/s",
            "100/s", "30s")``, ``Ticks``, a list of them one after the other, or its text
            (``"0:10/s,30s:100/s,60s:100/s"``).
        tick_duration: how long a tick is (``"500ms"``, seconds, a timedelta; default 1 s). With 0,
            everything is due at once.
        callback: a chain to run once, after the last exec, unless the run was stopped; its params
            have the run's ``report``.
        ticks: how many ticks, where ``execs_per_tick`` is a number; without it, the run has no end.
        spread: ``even`` over the tick, all at its start (``burst``), or seeded ``poisson``.
        warmup: how long the run goes before anything counts (``"5s"``): execs due before are in no
            figure and no threshold, but in counts of their own.
        thresholds: what the run must keep to, such as ``"p99<200ms"``, ``"addUser.p95<50ms"``,
            ``"failed<0.1%"`` or ``"rate>=990/s over 10s"``; it fails if one is broken. One on
            ``failed`` says how many may fail.
        abort_on: thresholds that end the run as soon as they are broken.
        tags: what to know the run by in reports and exports.
        overrun: when no thread is free: ``queue``, ``drop``, or ``late:500ms`` (wait, but expire).
        threads: how many execs run at once (default 16).
        in_flight: with async steps, how many execs run at once (default 10,000); their plain steps
            run on the threads.
        exec_timeout: how long one exec may take, from its start; it fails with TimedOut then.
        tick_timeout: by when the execs of a tick must have ended, from the tick's start.
        source_context: a `Context` that ends the run when it is cancelled, or its deadline passes.
        middleware: functions ``(call_next, ctx)`` around every attempt of every step, the first one
            outermost.
        seed: makes everything an exec draws from its ctx repeatable; drawn at random if not given.
        epoch: where ``ctx.now`` starts; with a seed, 2026-01-01 UTC, else when the run starts.
        database: a URL that ``ctx.insert`` writes to.
        schema: SQLAlchemy metadata whose missing tables are created before the run.
        ledger: keep a record of durable execs in the database, so that the run can be resumed.
        run_id: the run's id in reports and in the ledger; made up if not given.
        grace: how long running execs may go on after a stop (default 30 s).
        env_file: a ``.env`` file below ``ctx.run.env``, read again when a tick begins.
        on_result: called with the Result of every exec that ran to its end, from several threads.
        cron_scheduler_config: runs the whole Worker once in so many seconds, and says what `run`
            gives then; for more than that there is `Scheduler`.

    Raises:
        InvalidConfig: something given cannot work; the message says what.
    """

    instrumentation: Chain
    _: KW_ONLY
    execs_per_tick: int | Sequence[int] | None = None
    shape: Shape | None = None
    tick_duration: Duration = "1s"
    callback: Chain | None = None
    ticks: int | None = None
    spread: Spread = "even"
    warmup: Duration = 0
    thresholds: Sequence[str] = ()
    abort_on: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    overrun: str = "queue"
    threads: int | None = None
    in_flight: int | None = None
    exec_timeout: Duration | None = None
    tick_timeout: Duration | None = None
    source_context: Context | None = None
    middleware: Collection[Middleware] = ()
    seed: int | None = None
    epoch: datetime | None = None
    database: str | None = None
    schema: MetaData | None = None
    ledger: bool = True
    run_id: str | None = None
    grace: Duration = "30s"
    env_file: str | Path | None = None
    on_result: Callable[[Result], None] | None = None
    cron_scheduler_config: CronSchedulerConfig[R_co] | None = None

    def __post_init__(self) -> None:
        self.plan()
        if self.callback is not None:
            as_instrumentation(self.callback).links()
        if self.epoch is not None and getattr(self.epoch, "tzinfo", None) is None:
            raise InvalidConfig(f"epoch: {self.epoch!r} is no datetime with a time zone")
        check_run_id(self.run_id)
        if self.on_result is not None and not callable(self.on_result):
            raise InvalidConfig(f"on_result: {self.on_result!r} cannot be called")
        self._check_scheduled()

    def _check_scheduled(self) -> None:
        if self.cron_scheduler_config is None:
            return
        from workermanager.scheduler.classic import (  # noqa: PLC0415 - only who asks pays for it
            CronSchedulerConfig,
        )

        given: object = self.cron_scheduler_config
        if not isinstance(given, CronSchedulerConfig):
            raise InvalidConfig(f"cron_scheduler_config: {given!r} is no CronSchedulerConfig")

    def plan(self, seed: int | None = None) -> Plan:
        """What a run will do. ``seed`` serves where the Worker has none of its own."""
        instrumentation = as_instrumentation(self.instrumentation)
        check_spread(self.spread)
        threads = check_threads(self.threads) or DEFAULT_THREADS
        seed = check_seed(self.seed) if self.seed is not None else seed
        seed = secrets.randbits(32) if seed is None else seed
        load = self._load()
        due = bend(load.layout, self.spread, seed)
        nodes = instrumentation.nodes()
        links = links_of(nodes)
        middleware = check_middleware(self.middleware, links)
        if middleware:
            nodes = instrumentation.nodes(wrap_with(middleware))
        check_limits(link.limit for link in links if isinstance(link.limit, Limit))
        return Plan(
            instrumentation=instrumentation,
            nodes=nodes,
            arrivals=due,
            execs_per_tick=load.execs_per_tick,
            shape=load.shape,
            spread=self.spread,
            overrun=Overrun.parse(self.overrun),
            threads=threads if due.total is None else min(threads, due.total),
            seed=seed,
            has_own_seed=self.seed is not None,
            grace_ns=parse_duration(self.grace, "grace"),
            epoch=self.epoch or (None if self.seed is None else _SEEDED_EPOCH),
            database=self.database,
            schema=self.schema,
            has_ledger=self.ledger,
            run_id=self.run_id,
            env_file=None if self.env_file is None else Path(self.env_file),
            callback=None if self.callback is None else as_instrumentation(self.callback),
            on_result=self.on_result,
            exec_timeout=check_seconds(self.exec_timeout, "exec_timeout"),
            tick_timeout=check_seconds(self.tick_timeout, "tick_timeout"),
            source_context=check_context(self.source_context),
            middleware=middleware,
            in_flight=check_in_flight(self.in_flight),
            warmup_ns=check_warmup(parse_duration(self.warmup, "warmup"), due),
            thresholds=self._parse_thresholds(nodes),
            tags=check_tags(self.tags),
        )

    def _load(self) -> _Load:
        tick_ns = parse_duration(self.tick_duration, "tick_duration")
        shape, execs, ticks = self.shape, self.execs_per_tick, self.ticks
        if shape is not None and (execs is not None or ticks is not None):
            raise InvalidConfig("shape: it says how many execs: give no execs_per_tick, no ticks")
        if isinstance(shape, Ticks):
            execs, ticks, tick_ns, shape = shape.execs, shape.ticks, shape.tick_ns, None
        if shape is not None:
            return _Load(make_layout(shape, tick_ns), None, format_stages(shape))
        execs, ticks = check_execs(execs, ticks, tick_ns)
        return _Load(lay_out(execs, ticks, tick_ns), execs, None)

    def _parse_thresholds(self, nodes: Sequence[Node]) -> tuple[Threshold, ...]:
        for name in ("thresholds", "abort_on"):
            given = getattr(self, name)
            if isinstance(given, str) or not isinstance(given, Collection):
                raise InvalidConfig(f"{name}: {given!r} is no list of expressions")
        links = links_of(nodes)
        known = [
            *(node.name for node in every_node(nodes)),
            *(f"{link.name}.limit" for link in links if link.limit is not None),
            *(f"{link.name}.transact" for link in links),
        ]
        tables = None if self.schema is None else [one.name for one in self.schema.tables.values()]
        kept = [parse_threshold(text, known, tables, "threshold") for text in self.thresholds]
        aborting = [
            parse_threshold(text, known, tables, "abort_on", aborts=True) for text in self.abort_on
        ]
        return (*kept, *aborting)

    def start(
        self,
        *,
        resume: str | None = None,
        force: bool = False,
        origin: Mapping[str, Any] | None = None,
    ) -> Run:
        """Start a run and come back at once; the Run can be watched, stopped and finished.

        ``resume`` and ``force`` are those of `run`. ``origin`` is kept in the ledger: whatever
        will help to start the run again, as JSON-ready values.

        Raises:
            InvalidConfig: the database cannot be opened, or the run cannot be resumed.
        """
        return self.prepare(resume=resume, force=force, origin=origin).start()

    def prepare(
        self,
        *,
        resume: str | None = None,
        force: bool = False,
        origin: Mapping[str, Any] | None = None,
        scope: Context | None = None,
    ) -> Run:
        """A run as `start` would start it, to be started, so that all of it can be watched.

        It may go on until ``scope`` is cancelled; one that is nested, as long as its exec.

        Raises:
            InvalidConfig: the run cannot be resumed.
        """
        if resume is not None:
            return self._resume(resume, force=force, scope=scope)
        around = workplace.nesting()
        if around is None:
            return Run(self.plan(), origin=origin, scope=scope)
        plan = self.plan(around.seed)
        if plan.run_id is None:  # the same again when its exec runs again, for ctx.key
            plan = replace(plan, run_id=f"{around.run.context.id}.{around.seed:016x}")
        return Run(plan, around.run, scope=around.scope)

    def _resume(self, run_id: str, *, force: bool, scope: Context | None) -> Run:
        if self.database is None:
            raise InvalidConfig(f"run {run_id} cannot be resumed without a database")
        from workermanager.database.store import read_run  # noqa: PLC0415 - 200 ms of SQLAlchemy

        record = read_run(self.database, run_id)
        if record.planned is not None and record.durable.end > record.planned:
            raise InvalidConfig(
                f"run {run_id} cannot be resumed: its ledger is damaged, exec "
                f"{record.durable.end - 1} of {record.planned} is durable"
            )
        worker = replace(
            self,
            run_id=run_id,
            seed=record.seed if self.seed is None else self.seed,
            epoch=record.epoch if self.epoch is None else self.epoch,
        )
        plan = worker.plan()
        epoch = worker.epoch or record.epoch
        check_same(run_id, record.facts, describe_facts(plan, epoch), force=force)
        return Run(plan, resumed=record, scope=scope)

    def run(self, *, resume: str | None = None, force: bool = False) -> R_co:
        """Run every exec to its end and report; or, with a ``cron_scheduler_config``, as that says.

        ``resume`` is the id of a run that is to be finished: only execs that the ledger has not as
        durable are run, none is dropped, with the seed and the epoch of that run. One whose plan,
        seed, steps, params, schema or Faker version differ is refused; ``force`` overlooks what
        does not change which exec is which.

        Ctrl-C stops new arrivals and waits for the running execs, a second one does not wait;
        KeyboardInterrupt is raised when the accounts are made. SystemExit or KeyboardInterrupt
        from a step does the same.

        Raises:
            InvalidConfig: the database cannot be opened, or the run cannot be resumed.
            AccountingError: the counts do not add up (a bug of ours).
        """
        if workplace.nesting() is not None:
            refuse_on_loop("a Worker's run()", "await run_async()")
        if self.cron_scheduler_config is not None:
            return self._run_on_schedule(self.cron_scheduler_config, resume)
        run = self.start(resume=resume, force=force)
        report = run.finish()
        run.raise_for_stop(report)
        return cast("R_co", report)

    def _run_on_schedule(self, config: CronSchedulerConfig[R_co], resume: str | None) -> R_co:
        if resume is not None:
            raise InvalidConfig("resume: a Worker with a cron_scheduler_config is no single run")
        from workermanager.scheduler.classic import (  # noqa: PLC0415 - only who asks pays for it
            run_on_schedule,
        )

        return cast("R_co", run_on_schedule(self, config))

    async def run_async(self, *, resume: str | None = None, force: bool = False) -> Report:
        """Run as `run` does, from a coroutine: async steps run on its event loop, beside it.

        If it is cancelled, the run is stopped now, and its accounts are closed before it ends.

        Raises:
            InvalidConfig: as in `run`.
            AccountingError: as in `run`.
        """
        loop, is_called_off, begun = asyncio.get_running_loop(), False, list[Run]()

        def conduct() -> Report:
            run = self.prepare(resume=resume, force=force)
            run.use_loop(loop)
            run.start()
            begun.append(run)
            if is_called_off:
                run.stop(now=True)
            return run.finish()

        # A thread of its own: the loop's are few, and the steps may want them.
        own = ThreadPoolExecutor(1, "run_async")
        finishing = loop.run_in_executor(own, copy_context().run, conduct)
        cancelled = None
        while not finishing.done():
            try:
                await asyncio.wait((finishing,))
            except asyncio.CancelledError as error:
                cancelled, is_called_off = error, True
                for run in begun:
                    run.stop(now=True)
        own.shutdown()
        report = finishing.result()
        if cancelled is not None:
            raise cancelled
        begun[0].raise_for_stop(report)
        return report
