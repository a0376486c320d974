import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrumentation.chains import Instrumentation, as_instrumentation, follow
from instrumentation.composing import branch, each, group, on_error
from instrumentation.errors import InvalidConfig, InvalidStep
from instrumentation.params import TaskParams
from instrumentation.steps import Step


def first(ctx, params):
    params["first"] = dict(params)


def second(ctx, params):
    pass


def third(ctx, params):
    pass


def names(steps):
    return [step.name for step in steps]


def chain_of(*parts, **more):
    return Instrumentation(func_dispatcher=parts, **more)


class Called:
    def __call__(self, ctx, params):
        return None

    def method(self, ctx, params):
        return None


# Names


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (second, "second"),
        (Called(), "Called"),
        (Called().method, "method"),
        (functools.partial(second), "partial"),
    ],
)
def test_a_step_is_named_after_its_function(fn, name):
    assert Step(fn).name == name


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"name": 3}, r"Step\(name=3\): wanted a name on one line"),
        ({"name": "two\nlines"}, r"Step\(name='two\\nlines'\): wanted a name on one line"),
        ({"retry": 3}, "step 'second': retry=3 is no Retry"),
        ({"limit": 5}, "step 'second': limit=5 is no Limit"),
    ],
)
def test_a_step_refuses_settings_of_other_types(setting, message):
    with pytest.raises(InvalidConfig, match=message):
        Step(second, **setting)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"func_name": 3}, r"func_name=3\): wanted a name on one line"),
        ({"func_name": "two\nlines"}, "wanted a name on one line"),
        ({"task_arguments": {1: 2}}, r"task_arguments=…\): 1 is no name"),
    ],
)
def test_an_instrumentation_refuses_names_that_are_none(setting, message):
    with pytest.raises(InvalidConfig, match=message):
        chain_of(second, **setting)


def test_a_coroutine_that_a_plain_function_returned_is_closed_and_told_of():
    async def fetch(ctx, params):
        raise AssertionError("it is never awaited")

    returned = fetch(None, None)
    with pytest.raises(InvalidStep, match="step 'fetch' is no async function, but returned a cor"):
        follow(returned, TaskParams(), "fetch")
    assert returned.cr_frame is None


def test_a_partial_of_an_async_object_is_async():
    class Fetch:
        async def __call__(self, url, ctx, params):
            return None

    (link,) = chain_of(functools.partial(functools.partial(Fetch()), "url")).links()
    assert link.is_async


def test_thousands_of_steps_of_one_name_are_numbered_in_no_time():
    numbered = 0

    class Name(str):
        __slots__ = ()

        def __format__(self, spec):
            nonlocal numbered
            numbered += 1
            return super().__format__(spec)

    links = chain_of(*[Step(second, Name("second"))] * 3_000, func_name="c").links()
    assert [link.name for link in links[:3]] == ["second", "second#2", "second#3"]
    assert len({link.name for link in links}) == 3_000
    assert numbered < 10_000  # paths take one each


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ([first, [second, None]], r"^part 2: part 2: not a step: .* found NoneType$"),
        (group(first, 3), "^c/1/group/2: not a step: .* found 3$"),
        (group(first, [second, 3]), "^c/1/group/2: part 2: not a step: .* found 3$"),
        (each("x", over="xs"), r"^c/1/each/\*: not a step: .* found 'x'$"),
        (branch(first, second, {}), "^c/1/branch/2: not a step: .* found dict$"),
        (on_error(first, []), "^c/1/on_error/2: a chain inside another has no step$"),
    ],
)
def test_what_is_no_step_is_told_by_its_place(part, message):
    with pytest.raises(InvalidStep, match=message):
        Instrumentation(func_dispatcher=part, func_name="c").links()


def test_a_given_name_wins():
    assert Step(second, "adds a user").name == "adds a user"


def test_an_instrumentation_is_named_after_its_first_step():
    assert chain_of(second, third).func_name == "second"


def test_a_given_func_name_wins():
    assert chain_of(second, func_name="addCompanies").func_name == "addCompanies"


# The chain, flat


def test_the_dispatcher_runs_before_its_nested_callbacks():
    chain = Instrumentation(func_dispatcher=first, nested_callback=[second, third])
    assert names(chain.links()) == ["first", "second", "third"]


NESTED = st.recursive(
    st.sampled_from([first, second, third]),
    lambda part: st.lists(part, max_size=4) | st.lists(part, max_size=4).map(tuple),
    max_leaves=20,
)


def flat(chain):
    if not isinstance(chain, list | tuple):
        return [chain.__name__]
    return [name for part in chain for name in flat(part)]


@given(NESTED)
def test_nested_lists_run_in_the_order_they_are_written(chain):
    assert [part.name for part in Instrumentation(func_dispatcher=chain).parts()] == flat(chain)


def test_an_instrumentation_within_a_chain_brings_its_steps():
    inner = Instrumentation(func_dispatcher=second, nested_callback=third)
    assert names(chain_of(first, inner, first).links()) == ["first", "second", "third", "first#2"]


def test_an_instrumentation_within_a_chain_brings_its_arguments_to_its_first_step():
    inner = chain_of(first, second, task_arguments={"country": "SE"})
    params = TaskParams(country="NO", id=1)
    step = chain_of(third, inner).links()[1]
    step.fn(None, params)
    assert params["first"] == {"country": "SE", "id": 1}


def test_any_chain_becomes_an_instrumentation():
    assert names(as_instrumentation([first, second]).links()) == ["first", "second"]


def test_an_instrumentation_stays_as_it_is():
    chain = chain_of(first)
    assert as_instrumentation(chain) is chain


# Links


def test_a_path_has_the_chain_the_place_and_the_step():
    links = chain_of(first, second, func_name="addCompanies").links()
    assert [link.path for link in links] == ["addCompanies/1/first", "addCompanies/2/second"]


def test_a_step_that_comes_again_gets_a_name_of_its_own():
    assert names(chain_of(first, second, first, first).links()) == [
        "first",
        "second",
        "first#2",
        "first#3",
    ]


@given(st.lists(st.sampled_from(["a", "a#2", "a#3", "b"]), min_size=1, max_size=6))
def test_the_names_and_the_paths_in_a_chain_are_unique_whatever_its_steps_are_called(given_names):
    links = chain_of(*(Step(second, name) for name in given_names)).links()
    assert len({link.name for link in links}) == len(links)
    assert len({link.path for link in links}) == len(links)


def test_an_empty_chain_is_refused_by_its_name():
    with pytest.raises(InvalidStep, match=r"^seed: the chain has no step$"):
        chain_of(func_name="seed").links()


def no_params(ctx):
    pass


def three(ctx, params, more):
    pass


def keyword_only(ctx, *, params):
    pass


async def coroutine(ctx, params):
    pass


def generator(ctx, params):
    yield


async def async_generator(ctx, params):
    yield


@pytest.mark.parametrize("fn", [no_params, three, keyword_only])
def test_a_function_of_another_signature_is_refused_before_it_runs(fn):
    with pytest.raises(InvalidStep, match=rf"^step '{fn.__name__}' takes .*wanted \(ctx, params\)"):
        chain_of(fn).links()


@pytest.mark.parametrize(
    ("fn", "kind"),
    [(generator, "a generator"), (async_generator, "a generator")],
)
def test_a_function_that_would_not_run_when_called_is_refused(fn, kind):
    with pytest.raises(InvalidStep, match=f"is {kind}; a step is a plain function"):
        chain_of(fn).links()


class CalledAsync:
    async def __call__(self, ctx, params):
        pass


@pytest.mark.parametrize(
    "fn", [coroutine, functools.partial(coroutine), CalledAsync(), CalledAsync().__call__]
)
def test_whatever_gives_a_coroutine_is_an_async_step(fn):
    assert [link.is_async for link in chain_of(fn, second).links()] == [True, False]


def test_a_step_around_what_cannot_be_called_is_refused():
    with pytest.raises(InvalidStep):
        chain_of(Step(5, "five")).links()


@pytest.mark.parametrize("fn", [second, Called(), Called().method, functools.partial(three, None)])
def test_whatever_can_be_called_with_ctx_and_params_is_a_step(fn):
    assert len(chain_of(fn).links()) == 1


@pytest.mark.parametrize("part", ["second", 5, None, {"a": 1}, int, b"x"])
def test_what_is_no_step_is_refused_when_the_chain_is_made(part):
    with pytest.raises(InvalidStep, match="not a step"):
        chain_of(part)


def test_task_arguments_must_be_a_mapping():
    with pytest.raises(InvalidConfig, match=r"task_arguments=…\): wanted a mapping, found list"):
        chain_of(first, task_arguments=[("a", 1)])


# What a step returns


def test_none_leaves_the_params_as_they_are():
    params = TaskParams(a=1)
    assert follow(None, params, "step") == ()
    assert params == {"a": 1}


def test_the_params_themselves_change_nothing():
    params = TaskParams(a=1)
    assert follow(params, params, "step") == ()
    assert params == {"a": 1}


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers()),
    st.dictionaries(st.sampled_from("abc"), st.integers()),
)
def test_returned_params_are_merged_on(before, returned):
    params = TaskParams(before)
    assert follow(returned, params, "step") == ()
    assert params == {**before, **returned}


@pytest.mark.parametrize(
    ("returned", "following"),
    [
        (second, ["second"]),
        (Step(second, "named"), ["named"]),
        ([second, third], ["second", "third"]),
        ((second, third), ["second", "third"]),
        (chain_of(second, third), ["second", "third"]),
        ([], []),
    ],
)
def test_a_returned_chain_is_what_runs_next(returned, following):
    params = TaskParams(a=1)
    assert names(follow(returned, params, "step")) == following
    assert params == {"a": 1}


@pytest.mark.parametrize(
    ("returned", "following", "merged"),
    [
        (({"b": 2}, second), ["second"], {"a": 1, "b": 2}),
        (({"b": 2}, [second, third]), ["second", "third"], {"a": 1, "b": 2}),
        (({"b": 2}, None), [], {"a": 1, "b": 2}),
        ((None, second), ["second"], {"a": 1}),
        ((None, None), [], {"a": 1}),
    ],
)
def test_a_pair_is_params_to_merge_and_what_runs_next(returned, following, merged):
    params = TaskParams(a=1)
    assert names(follow(returned, params, "step")) == following
    assert params == merged


@pytest.mark.parametrize("returned", [True, 5, "next", int, (second, 5), [None], object()])
def test_anything_else_is_refused_and_names_the_step_that_returned_it(returned):
    found = type(returned).__name__
    with pytest.raises(InvalidStep, match=rf"^step 'add_user' returned {found}; a step returns"):
        follow(returned, TaskParams(), "add_user")


def test_params_with_what_is_no_next_step_are_refused():
    with pytest.raises(InvalidStep):
        follow(({"a": 1}, 5), TaskParams(), "add_user")
