"""One step of a walk: its attempts, its limit, its deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instrumentation.errors import Cancelled, StepError, TimedOut
from instrumentation.seeds import seeded_random
from workermanager.cancelling import Context
from workermanager.fencing import Fence
from workermanager.strands import Call, Enter, Pause

if TYPE_CHECKING:
    from instrumentation.nodes import Link
    from instrumentation.steps import Retry
    from workermanager.strands import Attempt, Strand

__all__ = ["failed_step", "own_timeout", "take_step", "too_long"]


def take_step(link: Link, strand: Strand) -> Attempt:
    """Run a step until it succeeds, or its retry policy gives up."""
    ctx, params, retry = strand.ctx, strand.params, link.retry
    ctx.path = strand.path_of(link.path)
    ctx.attempt = 1
    if retry is None:
        try:
            return (yield from _attempt(link, strand))
        except Exception as error:
            raise failed_step(link, strand, error) from error
    before, bookmark, begun = params.clone(), ctx.bookmark(), strand.desk.now()
    while True:
        try:
            returned = yield from _attempt(link, strand)
        except Exception as error:
            wait = _wait_after(error, retry, begun, strand)
            if wait is None:
                raise failed_step(link, strand, error) from error
            if isinstance(wait, Exception):  # the policy's own
                raise failed_step(link, strand, wait) from wait
        else:
            ctx.attempt = 1
            return returned
        strand.desk.figures(link.name).retried += 1
        yield Pause(wait, strand.scope)
        ctx.attempt += 1
        params.clear()
        params.update(before)
        ctx.rewind(bookmark)


def _wait_after(
    error: Exception, retry: Retry, begun: int, strand: Strand
) -> float | Exception | None:
    """Seconds to wait after an attempt; None to give up, or what the policy itself failed with."""
    ctx, elapsed = strand.ctx, (strand.desk.now() - begun) / 1e9
    random = seeded_random(ctx.run.seed, ctx.n, ctx.path, "retry", ctx.attempt)
    try:
        return retry.wait(ctx.attempt, elapsed, error, random)
    except Exception as failure:  # noqa: BLE001 - the user's predicate failed: the step has
        return failure


def _attempt(link: Link, strand: Strand) -> Attempt:
    """Run a step once, within its limit and its deadline."""
    limit = link.limit
    if limit is None:
        return (yield from _in_time(link, strand))
    begun = strand.desk.now()
    yield Enter(limit, strand.scope)
    strand.desk.figures(f"{link.name}.limit").service.record(strand.desk.now() - begun)
    fence = Fence()
    try:
        return (yield from _in_time(link, strand, fence))
    finally:
        if not fence.is_closed:  # or its thread was given up, and leaves when it comes back
            limit.leave()


def _in_time(link: Link, strand: Strand, fence: Fence | None = None) -> Attempt:
    """Run a step once; where there is a deadline, apart, so that nothing of a late one is seen."""
    ctx, params = strand.ctx, strand.params
    scope = strand.scope
    if link.timeout is None and scope.deadline_ns is None:
        return (yield Call(link, ctx, params))
    own = Context(scope, timeout=link.timeout, name=f"step {ctx.path}")
    apart, theirs = ctx.apart(own, fence or Fence()), params.clone()
    begun, returned, failure = strand.desk.now(), None, None
    try:
        returned = yield Call(link, apart, theirs)
    except Cancelled as cancelled:
        late = own_timeout(own, cancelled)
        if late is None:
            raise
        figures = strand.desk.figures(link.name)
        figures.service.record(strand.desk.now() - begun)  # a call that is left is not recorded
        figures.timed_out += 1
        raise late from None
    except Exception as error:  # noqa: BLE001 - it is raised below, unless it is too late
        failure = error
    finally:
        own.release()
    _refuse_late(own, link, strand, failure)
    ctx.adopt(apart)
    params.clear()
    params.update(theirs)
    if failure is not None:
        raise failure
    return None if returned is theirs else returned


def _refuse_late(own: Context, link: Link, strand: Strand, error: Exception | None) -> None:
    """Overlook what came of a step that ended after a deadline: its own, or one further out."""
    if own.remaining == 0:
        if own.is_owner and isinstance(own.cause, TimedOut):
            strand.desk.figures(link.name).timed_out += 1
            raise own.cause from error
        own.check()


def own_timeout(own: Context | None, cancelled: Cancelled) -> TimedOut | None:
    """What was called off ran out of the time of ``own`` itself: the TimedOut; else None."""
    if own is None or not own.is_owner or own.remaining != 0:
        return None
    return cancelled.cause if isinstance(cancelled.cause, TimedOut) else None


def too_long(path: str, late: TimedOut, cancelled: Cancelled, name: str = "") -> StepError:
    """How a part fails that took too long, with the notes on what happened while it was left."""
    error = StepError(path, 1, late, name)
    for note in getattr(cancelled, "__notes__", ()):
        error.add_note(note)
    return error


def failed_step(link: Link, strand: Strand, error: Exception) -> Exception:
    """How a step fails whose last attempt raised ``error``."""
    ctx = strand.ctx
    strand.desk.figures(link.name).failed += 1
    attempt, ctx.attempt = ctx.attempt, 1
    if isinstance(error, StepError) and error is ctx.error:
        return error  # a handler raised again what it was to handle
    return StepError(ctx.path, attempt, error, link.name)
