import pickle
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID, SafeUUID

import pytest
from loguru import logger

from instrumentation.errors import Cancelled, InvalidConfig
from instrumentation.execution import Exec, Outcome, Result
from instrumentation.params import TaskParams
from instrumentation.seeds import derive_seed, seeded_random


@dataclass(frozen=True)
class Table:
    name: str


USERS, PICTURES = Table("users"), Table("pictures")


def draw(ctx):
    """Something from each source of randomness that a step has."""
    return ctx.random.random(), ctx.uuid(), ctx.uuid(), ctx.faker.name(), ctx.random.random()


# Everything random is derived from (seed, n, path)


def test_an_exec_draws_the_same_again(make_exec):
    assert draw(make_exec(3)) == draw(make_exec(3))


@pytest.mark.parametrize(
    "other", [{"n": 4}, {"path": "chain/2/step"}, {"seed": 8}], ids=["n", "path", "seed"]
)
def test_another_exec_step_or_seed_draws_other_values(make_exec, other):
    here, there = draw(make_exec(3)), draw(make_exec(**{"n": 3, **other}))
    assert all(ours != theirs for ours, theirs in zip(here, there, strict=True))


def test_an_exec_draws_the_same_on_any_thread_and_in_any_order(make_exec):
    expected = {n: draw(make_exec(n)) for n in range(40)}
    found = {}

    def work(numbers):
        for n in numbers:
            found[n] = draw(make_exec(n))

    threads = [threading.Thread(target=work, args=(range(39 - k, -1, -4),)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_every_attempt_of_a_step_draws_the_same_from_the_beginning(make_exec):
    ctx = make_exec()
    once = draw(ctx)
    ctx.attempt = 2
    assert draw(ctx) == once


def test_draws_go_on_within_an_attempt(make_exec):
    ctx = make_exec()
    assert ctx.random.random() != ctx.random.random()
    assert ctx.uuid() != ctx.uuid()


def test_every_step_of_an_exec_draws_for_itself(make_exec):
    ctx = make_exec(path="chain/1/first")
    draw(ctx)
    ctx.path = "chain/2/second"
    assert draw(ctx) == draw(make_exec(path="chain/2/second"))


def test_what_one_source_gave_does_not_change_another(make_exec):
    ctx = make_exec()
    ctx.uuid()
    ctx.faker.name()
    assert ctx.random.random() == make_exec().random.random()


def test_what_one_exec_draws_does_not_change_another(make_exec):
    alone = [make_exec(1).random.random(), make_exec(1).uuid()]
    one, other = make_exec(1), make_exec(2)
    together = []
    for source in (lambda ctx: ctx.random.random(), lambda ctx: ctx.uuid()):
        source(other)
        together.append(source(one))
    assert together == alone


def test_uuids_are_random_ones_by_the_book_and_never_repeat(make_exec):
    drawn = [make_exec(n).uuid() for n in range(2_000)]
    assert {(one.version, one.variant) for one in drawn} == {(4, "specified in RFC 4122")}
    assert len(set(drawn)) == len(drawn)


def test_faker_is_unweighted(make_exec):
    faker = make_exec().faker
    drawn = Counter(faker.first_name() for _ in range(5_000))
    # Weighted, the commonest of 700 names would come about 110 times, not 7 times on average.
    assert drawn.most_common(1)[0][1] < 30


def test_a_step_that_starts_runs_seeds_each_differently_but_repeatably(make_exec):
    ctx, again = make_exec(), make_exec()
    seeds = [ctx.child_seed() for _ in range(100)]
    assert len(set(seeds)) == 100
    assert seeds == [again.child_seed() for _ in range(100)]


# Seeds


def test_seeds_stay_what_they_were_in_earlier_releases_so_that_rows_do():
    assert derive_seed(7, 0, "chain/1/step", "random") == 3_149_678_238_327_912_230
    assert seeded_random(7, "poisson", 0, "length").random() == 0.03626408988588836


def test_seeds_of_different_purposes_differ():
    seeds = {derive_seed(7, n, what) for n in range(1_000) for what in ("random", "faker")}
    assert len(seeds) == 2_000
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert max(seeds) > 2**63


# Identity and time


def test_the_key_names_the_run_and_the_exec(make_exec):
    assert make_exec(12, id="run-9").key == "run-9:12"


def test_now_is_the_planned_moment_not_the_real_one(make_exec):
    epoch = datetime(2020, 2, 29, 23, 59, 59, tzinfo=UTC)
    ctx = make_exec(3, epoch=epoch, planned_ns=lambda n: n * 500_000_999)
    assert ctx.now == epoch + timedelta(seconds=1, microseconds=500_002)
    assert ctx.now.tzinfo is UTC


def test_log_lines_say_which_exec_and_step_they_come_from(make_exec):
    lines = []
    sink = logger.add(lambda message: lines.append(message.record["extra"]))
    try:
        make_exec(5, path="chain/1/step").log.info("hello")
    finally:
        logger.remove(sink)
    assert lines == [{"run": "run-1", "tick": 0, "exec": 5, "n": 5, "step": "chain/1/step"}]


# Cancelling


def test_a_run_that_goes_on_cancels_nothing(make_exec):
    ctx = make_exec()
    ctx.check()
    assert not ctx.cancelled


def test_a_step_sees_that_its_run_was_stopped(make_exec):
    ctx = make_exec()
    ctx.run.cancelled = True
    assert ctx.cancelled
    with pytest.raises(Cancelled):
        ctx.check()


def test_a_step_sleeps_as_long_as_it_asks_for(make_exec):
    slept = []
    make_exec(sleep=slept.append).sleep(1.5)
    assert slept == [1.5]


def test_a_sleep_that_a_stop_cuts_short_raises_cancelled(make_exec):
    def stop(_seconds):
        ctx.run.cancelled = True

    ctx = make_exec(sleep=stop)
    with pytest.raises(Cancelled):
        ctx.sleep(60)


# Rows


def test_rows_are_kept_in_the_order_they_were_inserted(make_exec):
    ctx = make_exec()
    ctx.insert(USERS, {"id": 1})
    ctx.insert(PICTURES, {"id": 2})
    ctx.insert(USERS, {"id": 3})
    assert ctx.rows == [(USERS, {"id": 1}), (PICTURES, {"id": 2}), (USERS, {"id": 3})]


def test_execs_do_not_share_rows(make_exec):
    one, other = make_exec(1), make_exec(2)
    one.insert(USERS, {"id": 1})
    assert not other.rows


def test_an_insert_without_a_database_says_how_to_get_one(make_exec):
    with pytest.raises(InvalidConfig, match=r"Worker\(database=…\) or --database URL"):
        make_exec(transact=None).insert(USERS, {"id": 1})


# Results


def test_lag_service_and_response_are_three_different_times():
    result = Result(
        n=0,
        tick=0,
        exec=0,
        outcome=Outcome.OK,
        params=TaskParams(),
        error=None,
        due_ns=100,
        started_ns=130,
        ended_ns=1_130,
    )
    assert (result.lag_ns, result.service_ns, result.response_ns) == (30, 1_000, 1_030)


def test_outcomes_are_the_closed_set_that_counts_are_made_of():
    assert [str(one) for one in Outcome] == ["ok", "failed", "dropped", "expired", "interrupted"]


# Keys in order


def test_keys_of_version_7_are_in_the_order_of_time_and_then_of_n(make_exec):
    ids = [make_exec(n, planned_ns=lambda n: n // 3 * 1_000_000).uuid7() for n in range(3_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_a_key_of_version_7_has_the_planned_moment_in_it(make_exec):
    key = make_exec(2).uuid7()
    assert (key.version, key.variant) == (7, RFC_4122)
    moment = datetime.fromtimestamp((key.int >> 80) / 1_000, UTC)
    assert moment == datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC)


def test_keys_of_either_version_never_repeat_within_an_exec(make_exec):
    ctx = make_exec(3)
    ids = [make() for _ in range(500) for make in (ctx.uuid, ctx.uuid7)]
    assert len(set(ids)) == 1_000
    assert {key.version for key in ids} == {4, 7}
    again = make_exec(3)
    assert ids == [make() for _ in range(500) for make in (again.uuid, again.uuid7)]


def test_a_uuid_is_one_like_any_other(make_exec):
    key = make_exec(3).uuid()
    assert (key, hash(key), str(key)) == (UUID(str(key)), hash(UUID(str(key))), str(UUID(str(key))))
    assert pickle.loads(pickle.dumps(key)) == key
    assert key.is_safe is SafeUUID.unknown


# Values made once


def test_a_pooled_value_is_one_that_faker_makes_and_repeats(make_exec):
    run = make_exec(0).run
    values = {Exec(run, n, 0, n).pooled("name", of=8) for n in range(300)}
    assert len(values) <= 8
    other = make_exec(5)
    assert other.pooled("name", of=8) == make_exec(5).pooled("name", of=8) in values


def test_each_value_of_a_pool_comes_about_as_often(make_exec):
    run = make_exec(0).run
    run.pools.table("pyint", 16, (), {})
    drawn = Counter()
    for n in range(2_000):
        ctx = Exec(run, n, 0, n)
        drawn.update(ctx._source().pick(range(16)) for _ in range(20))
    assert len(drawn) == 16
    assert all(2_200 < count < 2_800 for count in drawn.values())


def test_arguments_of_a_provider_make_a_pool_of_their_own(make_exec):
    ctx = make_exec(1)
    low = {ctx.pooled("pyint", of=50, min_value=0, max_value=9) for _ in range(100)}
    high = {ctx.pooled("pyint", 10, 19, of=50) for _ in range(100)}
    assert max(low) < 10 <= min(high)


def test_threads_make_a_pool_once(make_exec):
    pools = make_exec(1).run.pools
    barrier, tables = threading.Barrier(8), []

    def ask():
        barrier.wait(10)
        tables.append(pools.table("company", 100, (), {}))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(table) for table in tables}) == 1


@pytest.mark.parametrize(
    ("provider", "of", "message"),
    [
        ("compny", 10, "no provider 'compny'"),
        ("name", 0, "must be 1 or more"),
        ("date_time_this_year", 10, "clock"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(make_exec, provider, of, message):
    with pytest.raises(InvalidConfig, match=message):
        make_exec(1).pooled(provider, of=of)


# Values that are unique


def test_a_unique_text_is_unique_in_and_among_execs_and_runs(make_exec):
    made = []
    for seed in (7, -7, 2**40):
        for n in range(40):
            ctx = make_exec(n, seed=seed)
            made += [ctx.unique("bob@example.com") for _ in range(3)]
    assert len(set(made)) == len(made) == 360
    assert made[0] == "bob.7-0-0@example.com"
    assert make_exec(41).unique("bob") == "bob.7-15-0"
