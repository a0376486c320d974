"""Walks driven on the calling thread, in virtual time: what happens at once is done in turn.

Each walk goes on at its own moment, the earliest first. A step that is called moves the clock on as
it waits; the clock is then put back for the others, and its walk goes on when the step has ended.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from instrumentation.errors import Cancelled, TimedOut
from workermanager.cancelling import Context
from workermanager.joining import Join
from workermanager.runner import Runner
from workermanager.strands import Call, Enter, Pause, throwable
from workermanager.testing.agenda import Agenda
from workermanager.testing.looping import VirtualLoop
from workermanager.testing.waiting import Wait, entering, pausing, sleeping

if TYPE_CHECKING:
    from collections.abc import Callable

    from workermanager.assignment import Assignment
    from workermanager.errands import Desk, Errand
    from workermanager.handoff import Handoff
    from workermanager.runner import Woven
    from workermanager.strands import Strand
    from workermanager.telemetry import Phases
    from workermanager.testing.clock import StageClock

__all__ = ["Stage"]


class Came(NamedTuple):
    """What came of a step: what it returned, or its error."""

    returned: object = None
    error: BaseException | None = None


_NOTHING: Final = Came()


class Stage:
    """Takes execs as they fall due and brings them to their ends, ``places`` at the same time.

    ``ended`` is the moment of the last thing that happened in the run.
    """

    def __init__(
        self,
        assignment: Assignment,
        phases: Phases,
        handoff: Handoff,
        clock: StageClock,
        places: int,
    ) -> None:
        self.agenda = Agenda(clock)
        self._loop = VirtualLoop(clock, self.agenda)
        self._assignment = assignment
        self._phases = phases
        self._handoff = handoff
        self._clock = clock
        self._free = places
        self._measured = self._make_runner(phases.warm_end)
        self._warming_up = self._make_runner(0) if phases.warm_end else self._measured
        self._playing: dict[Strand, tuple[Woven, Runner]] = {}
        self._parents: dict[Join[Strand], Strand] = {}
        self._next_due: int | None = None
        self._asked = 0
        self._stuck_until: list[int] = []
        self.ended = clock.now()

    def _make_runner(self, n: int) -> Runner:
        runner = Runner(self._assignment, self._phases, _never)
        runner.record_into(self._phases.of(n))
        return runner

    @property
    def stopper(self) -> BaseException | None:
        """What a step raised to leave the run (SystemExit, KeyboardInterrupt)."""
        return self._measured.stopper or self._warming_up.stopper

    @property
    def stuck(self) -> int:
        """How many steps that have timed out run yet when the run has ended."""
        return sum(until > self.ended for until in self._stuck_until)

    @property
    def is_over(self) -> bool:
        """True when nothing runs and nothing will."""
        return not self._playing and self._handoff.is_over

    def play(self) -> None:
        """Run every exec; the clock shows then when the last one ended.

        Raises:
            RuntimeError: execs wait for what never comes.
        """
        try:
            while True:
                self._hand_out()
                self._loop.go_on()
                if not self.agenda.play_moment():
                    break
        finally:
            self._loop.close()
        if self._playing:
            waiting = sorted(strand.ctx.n for strand in self._playing)
            raise RuntimeError(f"these execs wait for ever, for a limit with no room: {waiting}")
        self._clock.turn_to(self.ended)

    # Taking execs

    def _hand_out(self) -> None:
        """Begin what is due, as far as there is a place for it."""
        cursor, elapsed = self._handoff.cursor, self._elapsed()
        while self._free and (batch := cursor.take(elapsed, self._free, 1)) is not None:
            self._asked = elapsed
            for n in batch:
                self._begin(n)
        due = cursor.next_due()
        if self._free and due is not None and due != self._next_due:
            self._next_due = due
            self.agenda.enter(self._assignment.began + due, _look)

    def _begin(self, n: int) -> None:
        runner = self._warming_up if n < self._phases.warm_end else self._measured
        begun = runner.begin(n)
        self.ended = max(self.ended, self._clock.now())
        if begun is None:
            return
        woven = runner.weave(begun, self._assignment.nodes, None)
        strand = woven.stack[0]
        strand.desk = runner
        self._free -= 1
        self._playing[strand] = (woven, runner)
        self._go(strand)

    def _settle(self, strand: Strand, error: BaseException | None) -> None:
        """An exec has ended: its place is free for what falls due now, not for what did before."""
        woven, runner = self._playing.pop(strand)
        runner.settle(woven, error)
        self.ended = max(self.ended, self._clock.now())
        if not self._free and self._handoff.cursor.overrun.kind == "drop":
            self._asked = max(self._asked, self._elapsed() - 1)
            self._handoff.cursor.take(self._asked, 0, 1)
        self._free += 1

    def _elapsed(self) -> int:
        return self._clock.now() - self._assignment.began

    # Driving walks

    def _go(self, strand: Strand, sent: object = None, error: BaseException | None = None) -> None:
        """Go on with a walk until it has to wait, or has ended."""
        error = None if error is None else throwable(error)
        while True:
            try:
                wanted = strand.walk.send(sent) if error is None else strand.walk.throw(error)
            except StopIteration:
                self._end(strand, None)
                return
            except BaseException as failure:  # noqa: BLE001 - it is the strand's outcome
                self._end(strand, failure)
                return
            if type(wanted) is not Call:
                self._wait(wanted, strand)
                return
            if wanted.link.is_async:
                self._begin_async(wanted, strand)
                return
            came = self._call(wanted, strand)
            if came is None:
                return
            sent, error = came.returned, came.error

    def _go_now(self, strand: Strand, came: Came = _NOTHING) -> None:
        """Go on with a walk once whoever runs now has done what it does."""
        self.agenda.enter(self._clock.now(), lambda: self._go(strand, *came))

    def _end(self, strand: Strand, error: BaseException | None) -> None:
        if strand.join is None:
            self._settle(strand, error)
        else:
            strand.join.finish(strand, error)
            self._fill(strand.join)

    def _fill(self, join: Join[Strand]) -> None:
        """Begin what members there is room for; after the last one, go on with who waits."""
        parent = self._parents[join]
        while (member := join.take()) is not None:
            member.join, member.desk = join, parent.desk
            self._go_now(member)
        if join.is_done:
            del self._parents[join]
            self._go_now(parent, Came(None, join.error))

    def _wait(self, wanted: Any, strand: Strand) -> None:
        if type(wanted) is Join:
            self._parents[wanted] = strand
            self._fill(wanted)
            return
        wait = self._make_wait(wanted.scope, lambda error: self._go(strand, None, error))
        if type(wanted) is Pause:
            wait.begin(pausing(wanted))
        else:
            assert type(wanted) is Enter  # noqa: S101 - for the type checker
            wait.begin(entering(wanted, wait.look))

    def _make_wait(self, scope: Context, on_end: Callable[[BaseException | None], None]) -> Wait:
        return Wait(self.agenda, self._clock, scope, on_end)

    # Calling steps

    def _call(self, call: Call, strand: Strand) -> Came | None:
        """Call a step, and put the clock back; None if its walk goes on when it has ended."""
        ctx, clock = call.ctx, self._clock
        returned, error, begun = None, None, clock.now()
        clock.sleeps = []
        try:
            returned = call.link.fn(ctx, call.params)
        except BaseException as failure:  # noqa: BLE001 - it belongs to the walk
            error = failure
        came, ended = Came(returned, error), clock.now()
        clock.turn_to(begun)
        deadline = None if ctx.fence is None or ctx.scope is None else ctx.scope.deadline_ns
        if deadline is not None and ended > deadline:
            give_up = partial(self._give_up, call, strand, ended)
            self.agenda.enter(max(begun, deadline), give_up)
        elif ended > begun:
            self._call_on(call, strand, came, ended)
        else:
            _record(call, strand, 0, error)
            return came
        return None

    def _call_on(self, call: Call, strand: Strand, came: Came, ended: int) -> None:
        """A step takes its time: what came of it counts when that is over."""
        begun, scope = self._clock.now(), call.ctx.scope
        sleeps, self._clock.sleeps = self._clock.sleeps, []
        assert isinstance(scope, Context)  # noqa: S101 - for the type checker

        def end(called_off: BaseException | None) -> None:
            last = came if called_off is None else Came(None, called_off)
            _record(call, strand, self._clock.now() - begun, last.error)
            self._go(strand, *last)

        self._make_wait(scope, end).begin(sleeping(scope, ended, sleeps))

    def _begin_async(self, call: Call, strand: Strand) -> None:
        begun = self._clock.now()

        def end(returned: object, error: BaseException | None) -> None:
            _record(call, strand, self._clock.now() - begun, error)
            self._go_now(strand, Came(returned, error))

        self._loop.begin(call.link.fn, call.ctx, call.params, end)

    def _give_up(self, call: Call, strand: Strand, ended: int) -> None:
        """A step has passed its deadline: its exec goes on there, as if a thread were stuck in it.

        That is what `errands.Desk.expire` does when the moment comes.
        """
        scope = call.ctx.scope
        assert isinstance(scope, Context)  # noqa: S101 - for the type checker
        if call.ctx.fence is not None:
            call.ctx.fence.close()
        cause = scope.cause
        if isinstance(cause, TimedOut):  # others may have it too, who are not stuck
            cause = TimedOut(str(cause), cause.seconds, still_running=True)
        scope.cancel(cause or "it took too long")
        self._stuck_until.append(ended)
        if call.link.limit is not None:
            self.agenda.enter(ended, call.link.limit.leave)
        self._go(strand, None, Cancelled(cause or "it took too long"))


def _record(call: Call, strand: Strand, service: int, error: BaseException | None) -> None:
    """Record how long a step took; not one that was called off."""
    if error is None or isinstance(error, Exception):
        strand.desk.figures(call.link.name).service.record(service)


def _look() -> None:
    """Nothing but a moment to look what is due."""


def _never(_desk: Desk, _errand: Errand, _error: Cancelled) -> None:
    """No step is called in a way that this would hear of."""
