"""Functions around every step."""

import asyncio

import pytest

from workermanager import InvalidConfig, Retry, Step, StepError, TaskParams, Worker, group


def once(chain, **settings):
    results = []
    report = Worker(chain, on_result=results.append, **settings).run()
    return report, results[0]


def test_the_first_is_outermost_and_all_see_the_step():
    seen = []

    def noting(name):
        def note(call_next, ctx):
            seen.append(f"{name} > {ctx.path}")
            returned = call_next()
            seen.append(f"{name} < {ctx.path}")
            return returned

        return note

    def first(ctx, params):
        seen.append("first")

    once([first], middleware=[noting("a"), noting("b")])
    path = "first/1/first"
    assert seen == [f"a > {path}", f"b > {path}", "first", f"b < {path}", f"a < {path}"]


def test_it_runs_once_for_each_attempt_and_within_compositions():
    attempts = []

    def note(call_next, ctx):
        attempts.append((ctx.path.rpartition("/")[2], ctx.attempt))
        return call_next()

    def second_time_lucky(ctx, params):
        if ctx.attempt == 1:
            raise ValueError

    def other(ctx, params):
        return later

    def later(ctx, params):
        pass

    chain = [group(Step(second_time_lucky, retry=Retry(base=0)), most=1), other]
    report, _ = once(chain, middleware=[note])
    assert report.counts["ok"] == 1
    assert attempts == [
        ("second_time_lucky", 1),
        ("second_time_lucky", 2),
        ("other", 1),
        ("later", 1),
    ]


def test_it_may_answer_for_the_step_change_what_it_returns_and_see_the_params():
    def answer(call_next, ctx):
        if ctx.params.get("cached"):
            return {"answer": "from the cache"}
        return {**call_next(), "seen": True, "cached": True}

    def step(ctx, params):
        return {"answer": "computed"}

    _, result = once([step, step], middleware=[answer])
    assert result.params["answer"] == "from the cache"
    assert result.params["seen"] is True


def test_what_it_raises_is_the_step_s_error():
    def refuse(call_next, ctx):
        raise PermissionError("not you")

    report, result = once(lambda ctx, params: None, middleware=[refuse])
    assert report.counts["failed"] == 1
    assert isinstance(result.error, StepError)
    assert isinstance(result.error.cause, PermissionError)


def test_async_middleware_goes_around_async_steps():
    seen = []

    async def note(call_next, ctx):
        seen.append("before")
        returned = await call_next()
        seen.append("after")
        return returned

    async def step(ctx, params):
        await asyncio.sleep(0)
        seen.append("step")
        return TaskParams(done=True)

    _, result = once(step, middleware=[note])
    assert seen == ["before", "step", "after"]
    assert result.params["done"] is True


@pytest.mark.parametrize("middleware", ["text", 5, [5]])
def test_what_is_no_middleware_is_refused(middleware):
    with pytest.raises(InvalidConfig, match=r"^middleware: .*\(call_next, ctx\)"):
        Worker(lambda ctx, params: None, middleware=middleware)


def test_plain_middleware_may_give_the_result_of_an_async_step_without_calling_it():
    async def fetch(ctx, params):
        raise AssertionError("it was to be left out")

    report, result = once([group(fetch, fetch)], middleware=[lambda call_next, ctx: {"got": 7}])
    assert report.counts["ok"] == 1
    assert result.params["got"] == 7


def test_an_async_object_around_a_plain_step_is_refused():
    class Awaits:
        async def __call__(self, call_next, ctx):
            return await call_next()

    with pytest.raises(InvalidConfig, match="is async, but step 'plain' is not"):
        Worker(Step(lambda ctx, params: None, "plain"), middleware=[Awaits()])


def test_middleware_of_other_parameters_is_refused_by_its_name():
    def tell(ctx):
        raise AssertionError

    with pytest.raises(InvalidConfig, match=r"tell takes \(ctx\); wanted \(call_next, ctx\)"):
        Worker(lambda ctx, params: None, middleware=[tell])


def test_async_middleware_around_a_plain_step_is_refused_by_its_name():
    async def awaits(call_next, ctx):
        return await call_next()

    def plain(ctx, params):
        pass

    with pytest.raises(InvalidConfig, match="awaits is async, but step 'plain' is not"):
        Worker(plain, middleware=[awaits])
