"""Random chains, run for real, do what the model says: outcome, order, params, rows and counts."""

import itertools
from collections import Counter
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instrumentation.composing import branch, chain, compensate, each, finally_, group, on_error
from instrumentation.errors import StepError
from instrumentation.steps import Retry, Step
from tests.unit.chain_model import Model
from workermanager import Instrumentation, Limit, Worker

EXECS = 2
ENGINE_KEYS = {"current_tick", "ticks_left", "current_exec"}
ONE_AT_ONCE = Limit("one at once", 1)

schema = sa.MetaData()
table = sa.Table(
    "notes",
    schema,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run", sa.Text),
    sa.Column("n", sa.Integer),
    sa.Column("text", sa.Text),
    sa.Column("once", sa.Text, unique=True),
)


class Wrong(Exception):
    pass


class Worse(Exception):
    pass


@dataclass(eq=False)
class Act:
    """A step, a handler or a predicate: what it does is all drawn beforehand."""

    label: str
    log: list
    writes: str | None = None
    row: bool = False
    bad_attempts: int = 0
    error: type[Exception] = Wrong
    then: object = None
    passes_on: bool = False
    busy: list = field(default_factory=list)
    is_alone: bool = False

    def __post_init__(self):
        self.__name__ = self.label

    def __call__(self, ctx, params):
        if self.is_alone:
            self.busy.append(self)
            assert len(self.busy) == 1, "two at once within a limit of one"
        try:
            return self.act(ctx, params)
        finally:
            if self.is_alone:
                self.busy.pop()

    def act(self, ctx, params):
        is_real = hasattr(ctx, "run")
        if is_real:
            drawn = (ctx.random.random(), ctx.uuid())
            self.log.append((ctx.n, ctx.path, ctx.attempt, dict(params), ctx.error, drawn))
        else:
            ctx.effects.append((ctx.path, ctx.attempt, dict(params), ctx.error, ctx.lane))
        if self.writes:
            params[self.writes] = self.label
        if self.row and is_real:
            mine = {"run": ctx.run.id, "n": ctx.n, "text": f"{self.label} {ctx.attempt}"}
            ctx.insert(table, {**mine, "once": f"{ctx.run.id} {ctx.unique('x')}"})
        elif self.row:
            ctx.rows.append(f"{self.label} {ctx.attempt}")
        if ctx.attempt <= self.bad_attempts:
            raise self.error(self.label)
        if self.passes_on and ctx.error is not None:
            raise ctx.error
        return self.then


class Maker:
    """Draws a chain; ``log`` is where its steps tell of themselves."""

    def __init__(self, draw):
        self.draw, self.log, self.busy = draw, [], []
        self.numbers = itertools.count(1)

    def pick(self, *values):
        return self.draw(st.sampled_from(values))

    def label(self, prefix):
        return f"{prefix}{next(self.numbers)}"

    def act(self, prefix, then=None, **more):
        return Act(
            label=self.label(prefix),
            log=self.log,
            writes=self.pick(None, "a", "b"),
            row=self.pick(0, 1) == 1,
            bad_attempts=self.pick(*[0] * 10, 1, 2, 9),
            error=self.pick(Wrong, Worse),
            then=then,
            busy=self.busy,
            **more,
        )

    def step(self, prefix, depth=0, **more):
        then = self.pick(*[None] * 10, {"c": "given"}, {}, 42, "next", "next", "both")
        if then in ("next", "both"):
            grown = self.part(f"g{prefix}", depth + 1) if depth < 3 else None
            then = grown if then == "next" else ({"c": "both"}, grown)
        kind = self.pick("plain", "plain", "retry", "when", "limit", "timeout", "all")
        act = self.act(prefix, then, is_alone=kind in ("limit", "all"), **more)
        if kind == "plain":
            return act
        when = (lambda error: isinstance(error, Wrong)) if kind == "when" else None
        return Step(
            act,
            retry=Retry(attempts=2, base=0, when=when)
            if kind in ("retry", "when", "all")
            else None,
            limit=ONE_AT_ONCE if act.is_alone else None,
            timeout=60 if kind in ("timeout", "all") else None,
        )

    def part(self, prefix, depth):
        kinds = ["step"] * (1 + depth)
        if depth < 3:
            kinds += ["list", "chain", "group", "each", "branch", "on_error", "compensate"]
            kinds += ["instrumentation", "compensate"]
        return getattr(self, self.pick(*kinds))(prefix, depth)

    def list(self, prefix, depth):
        parts = [self.part(prefix, depth + 1) for _ in range(self.pick(2, 3, 4, 1))]
        finals = self.pick(0, 0, 0, 1, 2)
        return parts + [
            finally_(self.part(prefix, depth + 1), name=self.label(prefix)) for _ in range(finals)
        ]

    def chain(self, prefix, depth):
        name = self.pick("", self.label(prefix))
        return chain(*self.list(prefix, depth), name=name, timeout=self.pick(None, None, 60))

    def instrumentation(self, prefix, depth):
        line = self.list(prefix, depth)
        arguments = self.pick({}, {"a": "argument", "d": 1})
        return Instrumentation(
            func_dispatcher=line, task_arguments=arguments, func_name=self.label(prefix)
        )

    def together(self, prefix):
        return {
            "errors": (errors := self.pick("raise", "collect")),
            "most": self.pick(1, 1, 2, 3),
            "into": self.label("into") if errors == "collect" else self.pick(None, "into"),
            "name": self.label(prefix),
            "timeout": self.pick(None, None, 60),
        }

    def group(self, prefix, depth):
        parts = [self.part(prefix, depth + 1) for _ in range(self.pick(1, 2, 3))]
        return group(*parts, **self.together(prefix))

    def each(self, prefix, depth):
        over = self.pick("items", "items", lambda _params: range(3), "none", "missing")
        part, item = self.part(prefix, depth + 1), self.label("item")
        return each(part, over=over, item=item, **self.together(prefix))

    def branch(self, prefix, depth):
        then = self.part(prefix, depth + 1)
        otherwise = self.pick(None, self.part(prefix, depth + 1))
        predicate = self.act(prefix, self.pick(0, 1))
        return branch(predicate, then, otherwise, name=self.label(prefix))

    def on_error(self, prefix, depth):
        handler = self.pick(
            self.step(prefix, depth + 1, passes_on=self.pick(0, 1) == 1),
            self.part(prefix, depth + 1),
        )
        when = self.pick(Exception, Wrong, (Worse, KeyError))
        part = self.part(prefix, depth + 1)
        return on_error(part, handler, when=when, name=self.label(prefix))

    def compensate(self, prefix, depth):
        part, undo = self.part(prefix, depth + 1), self.part(prefix, depth + 1)
        return compensate(part, undo, name=self.label(prefix))


@st.composite
def chains(draw):
    maker = Maker(draw)
    line = maker.list("s", 0)
    whole = Instrumentation(
        func_dispatcher=line, task_arguments={"items": ["x", "y"], "none": ()}, func_name="root"
    )
    return whole, maker.log


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('chains')}/notes.db"


def run(whole, database, threads):
    results = {}
    report = Worker(
        whole,
        execs_per_tick=EXECS,
        ticks=1,
        tick_duration=0,
        seed=1,
        threads=threads,
        database=database,
        schema=schema,
        ledger=False,
        on_result=lambda result: results.setdefault(result.n, result),
    ).run()
    return report, results


def rows_of(database, report):
    engine = sa.create_engine(database)
    with engine.connect() as connection:
        mine = sa.select(table).where(table.c.run == report.run.id).order_by(table.c.id)
        found = connection.execute(mine).all()
    engine.dispose()
    return {
        n: [(row.text, row.once.split()[1]) for row in found if row.n == n] for n in range(EXECS)
    }


def place_of(path):
    """A path; of what joined the chain as it ran, only the step's name."""
    last = path.rpartition("/")[2]
    return last if last.startswith("g") else path


def told(value):
    """A param or an error as what can be compared."""
    if isinstance(value, StepError):
        return ("failed", place_of(value.path), value.attempt, type(value.cause), len(notes(value)))
    if isinstance(value, dict):
        return {key: told(one) for key, one in value.items() if key not in ENGINE_KEYS}
    return [told(one) for one in value] if isinstance(value, list) else value


def notes(error):
    return getattr(error, "__notes__", ())


def may_be_beside(lane, other):
    """True if one is in a member that runs beside the other's."""
    return any(one[0] == two[0] and one[1] != two[1] for one in lane for two in other)


def effect_of(path, attempt, params, error):
    behind = error and (place_of(error.path), error.attempt)
    return (place_of(path), attempt, told(params), behind)


def check_effects(model, real):
    """The same calls with the same params, in the same order but for members side by side."""
    expected = [effect_of(*effect[:4]) for effect in model.effects]
    found = [effect_of(*effect[1:5]) for effect in real]
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    places = {}
    for place, effect in enumerate(found):
        places.setdefault(repr(effect), []).append(place)
    order = [places[repr(effect)].pop(0) for effect in expected]
    lanes = [effect[4] for effect in model.effects]
    for later, earlier in itertools.combinations(range(len(order) - 1, -1, -1), 2):
        is_in_order = order[earlier] < order[later]
        assert is_in_order or may_be_beside(lanes[earlier], lanes[later]), (found, expected)


def check_counts(model, report, whole):
    outcome = "ok" if model.error is None else "failed"
    assert report.counts["due"] == report.counts[outcome] == EXECS
    for name in {link.name for link in whole.links()} | set(model.steps):
        count, figures = model.steps.get(name, Counter()), report.steps.get(name)
        reported = (0, 0, 0) if figures is None else (figures.ok, figures.failed, figures.retried)
        expected = tuple(EXECS * count[one] for one in ("ok", "failed", "retried"))
        assert (name, *reported) == (name, *expected)


bounded = settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
)


@bounded
@given(drawn=chains(), threads=st.integers(1, 4))
def test_a_chain_does_what_the_model_says(drawn, threads, database):
    whole, log = drawn
    model = Model(whole, {"current_tick": 0, "ticks_left": 1, "current_exec": 0})
    report, results = run(whole, database, threads)
    counts = report.counts
    assert counts["due"] == counts["ok"] + counts["failed"] == EXECS
    if model.is_racing:
        return
    check_counts(model, report, whole)
    rows = rows_of(database, report)
    for n in range(EXECS):
        real = [effect for effect in log if effect[0] == n]
        assert len({effect[1:3] for effect in real}) == len(real), "a path comes again"
        check_effects(model, real)
        assert told(results[n].error) == told(model.error)
        assert told(results[n].params) == told(model.params)
        assert [text for text, _once in rows[n]] == (model.rows if model.error is None else [])


@settings(bounded, max_examples=40)
@given(drawn=chains())
def test_a_seed_fixes_draws_and_rows_at_any_number_of_threads(drawn, database):
    whole, log = drawn
    if Model(whole, {"current_tick": 0, "ticks_left": 1, "current_exec": 0}).is_racing:
        return

    def come_to(threads):
        log.clear()
        report, _results = run(whole, database, threads)
        draws = {(n, path, attempt): drawn for n, path, attempt, *_seen, drawn in log}
        return draws, rows_of(database, report)

    assert come_to(1) == come_to(8)
