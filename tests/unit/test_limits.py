"""Limits as values, and how many run at once: one line of threads and coroutines."""

import asyncio
import copy
import gc
import pickle
import subprocess
import sys
import threading
import weakref
from contextlib import contextmanager, suppress
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jumping_time import JumpingClock, run_jumping

import workermanager
from instrumentation import Cancelled, InvalidConfig, TimedOut
from workermanager.cancelling import Context, SystemClock
from workermanager.limits import Limit, check_limits

NUMBERS = count()


def new_limit(most):
    """A limit that no other test has: a failed test's frame may keep its own for a while."""
    return Limit(f"limit-{next(NUMBERS)}", most)


class TellingClock(SystemClock):
    """The machine's clock; tells of every thread that begins to wait."""

    __slots__ = ("waits",)

    def __init__(self):
        self.waits = threading.Semaphore(0)

    def wait(self, event, seconds):
        self.waits.release()
        return super().wait(event, seconds)

    def await_one(self):
        assert self.waits.acquire(timeout=10), "nobody waits"


class Entering:
    """A thread that enters a limit, and tells how that went."""

    def __init__(self, limit, clock):
        self.limit = limit
        self.context = Context(clock=clock)
        self.ended = threading.Event()
        self.error = None
        self.thread = threading.Thread(target=self._enter, daemon=True)
        self.thread.start()

    def _enter(self):
        try:
            self.limit.enter(self.context)
        except Cancelled as cancelled:
            self.error = cancelled
        self.ended.set()

    @property
    def is_in(self):
        return self.ended.is_set() and self.error is None


@contextmanager
def threads_at(*limits):
    """A thread for each limit, in line one behind the other."""
    clock = TellingClock()
    entering = []
    try:
        for limit in limits:
            entering.append(Entering(limit, clock))
            clock.await_one()
        yield entering
    finally:
        for one in entering:
            one.context.cancel("the test is over")
            one.thread.join(10)


def room_in(limit):
    """How much of a limit is free, found out from outside; nobody may be waiting."""
    held = 0
    with suppress(Cancelled):
        while True:
            limit.enter(Context(timeout="1s", clock=JumpingClock()))
            held += 1
    for _ in range(held):
        limit.leave()
    return held


async def pass_turns():
    """Let the loop do all that is ready, and what comes of that."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("",), r"Limit\(name=''\): must be a text"),
        ((5,), r"Limit\(name=5\)"),
        (("a", 0), "limit a: 0 cannot work; write a whole number from 1 at once, or a rate"),
        (("a", -1), "limit a: -1 cannot"),
        (("a", True), "limit a: True cannot"),
        (("a", 2.5), "limit a: 2.5 cannot"),
        (("a", None), "limit a: None cannot"),
        (("a", "5"), "limit a: '5' is not a rate; write 10/s, or a number for so many at once"),
        (("a", "often/s"), "limit a: 'often/s' is not a rate"),
        (("a", "0/s"), "limit a: '0/s' would let nothing begin"),
        (("a", "-1/s"), "limit a: '-1/s' is out of range"),
        (("a", 5, 2), "limit a, burst: 2 is for a rate"),
        (("a", "5/s", 0), "limit a, burst: 0 cannot"),
        (("a", "5/s", True), "limit a, burst: True cannot"),
        (("a", 5, 1, 6), "limit a, weight: 6 never fits; use at most 5$"),
        (("a", 5, 1, 0), "limit a, weight: 0 cannot"),
        (("a", "5/s", 2, 3), "limit a, weight: 3 never fits; use at most 2, or a larger burst"),
    ],
)
def test_a_limit_that_cannot_work_is_refused_in_one_line(arguments, told):
    name, most, *rest = (*arguments, 1)[:4] if len(arguments) < 2 else arguments
    with pytest.raises(InvalidConfig, match=told) as refused:
        Limit(name, most, *rest)
    assert "\n" not in str(refused.value)


def test_a_weight_that_never_fits_is_refused():
    with pytest.raises(InvalidConfig, match="limit payments, weight: 6"):
        Limit("payments", 5).weighing(6)


def test_limits_of_the_same_figures_are_equal_however_they_are_written():
    assert Limit("mail", "60/min") == Limit("mail", "1/s")
    assert len({Limit("mail", "60/min"), Limit("mail", "1/s"), Limit("mail", "1/s", 2)}) == 2
    assert Limit("payments", 5).weighing(3) == Limit("payments", 5, weight=3)
    assert Limit("payments", 5).weighing(3) != Limit("payments", 5)


def test_one_name_with_two_figures_is_a_mistake_and_another_weight_is_not():
    payments, mail = Limit("payments", 5), Limit("mail", "10/s")

    check_limits([payments, mail, payments.weighing(3), Limit("mail", "600/min")])
    with pytest.raises(InvalidConfig, match="limit payments: 5 at once here and 7 at once there"):
        check_limits(iter([payments, mail, Limit("payments", 7)]))
    with pytest.raises(InvalidConfig, match="mail: 10/s here and 10/s with a burst of 2 there"):
        check_limits([mail, Limit("mail", "10/s", burst=2)])


def test_limits_that_differ_in_weight_only_are_one():
    first = new_limit(5)
    first.weighing(4).enter(Context())

    assert room_in(Limit(first.name, 5)) == 1
    assert room_in(Limit(first.name, 6)) == 6
    assert room_in(new_limit(5)) == 5


def test_a_limit_that_nobody_keeps_is_gone():
    limit = new_limit(5)
    limit.enter(Context())
    state = weakref.ref(limit._state)

    other = limit.weighing(2)
    del limit
    assert room_in(other.weighing(1)) == 4
    del other

    assert state() is None


def test_a_limit_in_use_can_be_copied_and_pickled():
    limit = new_limit(5).weighing(2)
    limit.enter(Context())

    for twin in (copy.deepcopy(limit), pickle.loads(pickle.dumps(limit))):
        assert twin == limit
        assert room_in(twin.weighing(1)) == 3


def test_a_limit_is_offered_by_the_package():
    assert workermanager.Limit is Limit


def test_a_limit_of_threads_does_not_import_asyncio():
    code = (
        "import sys; from workermanager import Context, Limit\n"
        "Limit('payments', 5).enter(Context())\n"
        "assert 'asyncio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_who_finds_no_room_before_the_deadline_takes_nothing():
    limit, clock = new_limit(5), JumpingClock()
    limit.weighing(3).enter(Context())
    limit.enter(Context())

    with pytest.raises(Cancelled) as raised:
        limit.weighing(2).enter(Context(timeout="3s", name="charge", clock=clock))

    assert isinstance(raised.value.cause, TimedOut)
    assert str(raised.value) == "charge took longer than 3s"
    assert clock.ns == 3_000_000_000
    assert room_in(limit) == 1


def test_who_is_called_off_already_takes_nothing_where_there_is_room():
    limit, context = new_limit(5), Context()
    context.cancel("too late")

    with pytest.raises(Cancelled, match="too late"):
        limit.enter(context)
    with pytest.raises(Cancelled, match="too late"):
        asyncio.run(limit.enter_async(context))

    assert room_in(limit) == 5


def test_a_heavy_one_is_not_overtaken_by_a_light_one_that_would_fit():
    limit = new_limit(3)
    limit.enter(Context())
    limit.enter(Context())
    with threads_at(limit.weighing(3), limit, limit) as (heavy, light, lighter):
        limit.leave()
        limit.leave()
        assert heavy.ended.wait(10)
        assert not light.ended.is_set()
        limit.weighing(3).leave()
        assert light.ended.wait(10)
        assert lighter.ended.wait(10)
        assert (heavy.is_in, light.is_in, lighter.is_in) == (True, True, True)


def test_who_waits_behind_one_that_is_called_off_goes_on_at_once():
    limit = new_limit(3)
    limit.enter(Context())
    with threads_at(limit.weighing(3), limit, limit) as (heavy, light, lighter):
        heavy.context.cancel("enough")
        assert heavy.ended.wait(10)
        assert str(heavy.error) == "enough"
        assert light.ended.wait(10)
        assert lighter.ended.wait(10)
        assert (light.is_in, lighter.is_in) == (True, True)
    assert room_in(limit) == 0


def test_one_in_the_middle_of_the_line_can_be_called_off():
    limit = new_limit(1)
    limit.enter(Context())
    with threads_at(limit, limit, limit) as (first, middle, last):
        middle.context.cancel("enough")
        assert middle.ended.wait(10)
        limit.leave()
        assert first.ended.wait(10)
        assert not last.ended.is_set()
        limit.leave()
        assert last.ended.wait(10)
        assert (first.is_in, middle.is_in, last.is_in) == (True, False, True)


def test_who_is_called_off_does_not_enter_though_it_is_given_room_before_it_hears():
    limit, context = new_limit(1), Context()
    limit.enter(Context())

    async def main():
        entering = asyncio.create_task(limit.enter_async(context))
        await pass_turns()
        context.cancel("enough")
        limit.leave()
        with pytest.raises(Cancelled, match="enough"):
            await entering

    asyncio.run(main())
    assert room_in(limit) == 1


def test_an_interrupt_while_waiting_leaves_the_line():
    class Interrupting(JumpingClock):
        def wait(self, event, seconds):
            raise KeyboardInterrupt

    limit = new_limit(2)
    limit.enter(Context())
    with pytest.raises(KeyboardInterrupt):
        limit.weighing(2).enter(Context(clock=Interrupting()))

    assert room_in(limit) == 1


def test_an_interrupt_before_it_is_in_line_takes_nothing(monkeypatch):
    def interrupt(_state, _ticket):
        raise KeyboardInterrupt

    limit = new_limit(2)
    with monkeypatch.context() as patch:
        patch.setattr(type(limit._state), "ask", interrupt)
        with pytest.raises(KeyboardInterrupt):
            limit.enter(Context())

    assert room_in(limit) == 2


def test_threads_and_coroutines_wait_in_one_line():
    limit = new_limit(2)
    limit.weighing(2).enter(Context())

    async def main(heavy):
        light = asyncio.create_task(limit.enter_async(Context()))
        await pass_turns()
        limit.leave()
        await pass_turns()
        assert not light.done()
        limit.leave()  # the thread before it takes both
        await pass_turns()
        assert not light.done()
        await asyncio.to_thread(heavy.ended.wait, 10)
        threading.Thread(target=limit.weighing(2).leave).start()
        await asyncio.wait_for(light, 10)

    with threads_at(limit.weighing(2)) as (heavy,):
        asyncio.run(main(heavy))
        assert heavy.is_in
    assert room_in(limit) == 1


def test_a_context_that_ends_wakes_the_coroutine_that_waits_by_it():
    limit, clock = new_limit(1), JumpingClock()
    limit.enter(Context())

    async def main():
        context = Context(clock=clock)
        called_off = asyncio.create_task(limit.enter_async(context))
        await pass_turns()
        context.cancel("enough")
        with pytest.raises(Cancelled, match="enough"):
            await called_off
        with pytest.raises(Cancelled, match="charge took longer than 2s"):
            await limit.enter_async(Context(timeout="2s", name="charge", clock=clock))

    run_jumping(clock, main())
    assert clock.ns // 1_000 == 2_000_000
    limit.leave()
    assert room_in(limit) == 1


def test_a_task_that_is_cancelled_leaves_the_line():
    limit = new_limit(2)
    limit.enter(Context())

    async def main():
        heavy = asyncio.create_task(limit.weighing(2).enter_async(Context()))
        light = asyncio.create_task(limit.enter_async(Context()))
        await pass_turns()
        assert not light.done()
        heavy.cancel()
        await light
        assert heavy.cancelled()

    asyncio.run(main())
    assert room_in(limit) == 0


def test_a_task_that_is_cancelled_just_when_it_gets_room_gives_it_back():
    limit = new_limit(1)
    limit.enter(Context())

    async def main():
        unlucky = asyncio.create_task(limit.enter_async(Context()))
        behind = asyncio.create_task(limit.enter_async(Context()))
        await pass_turns()
        limit.leave()
        unlucky.cancel()
        await behind
        assert unlucky.cancelled()

    asyncio.run(main())
    assert room_in(limit) == 0


def test_a_coroutine_whose_loop_is_closed_gives_back_what_it_is_given():
    limit = new_limit(1)
    limit.enter(Context())
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # it would log the abandoned task
    task = loop.create_task(limit.enter_async(Context()))
    loop.run_until_complete(pass_turns())
    loop.close()

    limit.leave()
    del task
    gc.collect()

    assert room_in(limit) == 1


def test_who_has_waited_is_not_told_of_what_befalls_its_context_later():
    limit, context, clock = new_limit(1), Context(), JumpingClock()
    limit.enter(Context())

    async def main():
        entering = asyncio.create_task(limit.enter_async(context))
        await pass_turns()
        assert context._listeners
        limit.leave()
        await entering

    asyncio.run(main())
    short = Context(timeout=1, clock=clock)
    with pytest.raises(Cancelled):
        limit.enter(short)
    assert (context._listeners, short._listeners) == ({}, {})


def test_leaving_more_often_than_entering_is_an_error():
    limit = new_limit(2)
    limit.enter(Context())
    limit.leave()

    with pytest.raises(RuntimeError, match=f"{limit.name}: left more often than entered"):
        limit.leave()
    assert room_in(limit) == 2


def test_what_is_held_is_given_back_when_the_block_ends_or_fails():
    limit = new_limit(2)

    with limit.held(Context()):
        assert room_in(limit) == 1
    with suppress(ZeroDivisionError), limit.weighing(2).held(Context()):
        assert room_in(limit) == 0
        _ = 1 / 0
    assert room_in(limit) == 2


class Model:
    """What a limit does, as simply as can be said; everybody is known by a number."""

    def __init__(self, most):
        self.most, self.inside, self.line, self.out = most, {}, {}, set()

    def enter(self, who, weight):
        self.line[who] = weight
        self.admit()

    def call_off(self, who):
        self.line.pop(who, None)
        self.inside.pop(who, None)
        self.out.add(who)
        self.admit()

    def leave(self, who):
        del self.inside[who]
        self.admit()

    def admit(self):
        for who, weight in list(self.line.items()):
            if sum(self.inside.values()) + weight > self.most:
                return
            self.inside[who] = self.line.pop(who)


MOST = 4
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "enter", "leave", "call off", "cancel task"]),
        st.integers(0, 15),
        st.booleans(),
    ),
    max_size=40,
)


class Play:
    """A limit and its model, to which the same things are done."""

    def __init__(self):
        self.limit, self.model = new_limit(MOST), Model(MOST)
        self.contexts, self.tasks = [], []

    async def play(self, actions):
        for what, figure, is_hasty in actions:
            if what == "enter":
                self.enter(figure % MOST + 1)
            elif figure < len(self.tasks):
                self.end(what, figure)
            if not is_hasty:  # or the next one comes before anybody has heard of this one
                await self.compare()
        await self.compare()
        while self.model.inside:
            for who in list(self.model.inside):
                self.end("leave", who)
            await self.compare()

    def enter(self, weight):
        self.model.enter(len(self.tasks), weight)
        self.contexts.append(Context())
        entering = self.limit.weighing(weight).enter_async(self.contexts[-1])
        self.tasks.append(asyncio.create_task(entering))

    def end(self, what, who):
        has_heard = self.tasks[who].done()
        if what == "leave" and has_heard and who in self.model.inside:
            self.limit.weighing(self.model.inside[who]).leave()
            self.model.leave(who)
        elif what != "leave" and not has_heard:
            self.tasks[who].cancel() if what == "cancel task" else self.contexts[who].cancel()
            self.model.call_off(who)

    async def compare(self):
        await pass_turns()
        waiting = {who for who, task in enumerate(self.tasks) if not task.done()}
        ended = {*range(len(self.tasks))} - waiting
        out = {who for who in ended if self.tasks[who].cancelled() or self.tasks[who].exception()}
        assert (waiting, ended - out) == ({*self.model.line}, {*self.model.inside, *self.left()})
        assert out == self.model.out

    def left(self):
        known = {*self.model.line, *self.model.inside, *self.model.out}
        return {*range(len(self.tasks))} - known


@given(ACTIONS)
def test_whatever_enters_leaves_and_is_called_off_a_limit_does_as_its_model(actions):
    play = Play()
    run_jumping(JumpingClock(), play.play(actions))
    assert room_in(play.limit) == MOST
