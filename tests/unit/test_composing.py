"""Compositions as values: what is refused, and what every part is called and where it stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrumentation.chains import Instrumentation, place
from instrumentation.composing import (
    Finally,
    branch,
    chain,
    compensate,
    each,
    finally_,
    group,
    on_error,
)
from instrumentation.errors import InvalidConfig, InvalidStep
from instrumentation.nodes import Knot, Link, every_node, links_of
from instrumentation.steps import Step


def a(ctx, params):
    pass


def b(ctx, params):
    pass


def c(ctx, params):
    pass


def nodes_of(*parts):
    return Instrumentation(func_dispatcher=list(parts), func_name="root").nodes()


def paths_of(*parts):
    return [node.path for node in every_node(nodes_of(*parts))]


def names_of(*parts):
    return [node.name for node in every_node(nodes_of(*parts))]


# What is refused


@pytest.mark.parametrize("make", [chain, group])
def test_nothing_is_no_chain_and_no_group(make):
    with pytest.raises(InvalidStep, match=rf"^{make.__name__}\(\): wanted at least one step"):
        make()


@pytest.mark.parametrize("timeout", [0, -1, "5", True, float("nan"), float("inf"), 1e10])
@pytest.mark.parametrize(
    "make",
    [
        lambda timeout: chain(a, timeout=timeout),
        lambda timeout: group(a, timeout=timeout),
        lambda timeout: each(a, over="items", timeout=timeout),
        lambda timeout: Step(a, timeout=timeout),
    ],
)
def test_a_timeout_is_seconds_above_0(make, timeout):
    with pytest.raises(InvalidConfig, match=r"timeout=.*: must be seconds, above 0"):
        make(timeout)


@pytest.mark.parametrize("most", [0, -1, 1.5, True, "3"])
def test_most_is_a_whole_number_above_0(most):
    with pytest.raises(InvalidConfig, match=r"^group\(most="):
        group(a, most=most)
    with pytest.raises(InvalidConfig, match=r"^each\(most="):
        each(a, over="items", most=most)


def test_a_group_may_have_no_bound_and_an_each_has_one():
    assert group(a, most=None).most is None
    assert each(a, over="items").most == 16
    with pytest.raises(InvalidConfig, match=r"^each\(most=None\)"):
        each(a, over="items", most=None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"errors": "ignore"}, r"\(errors='ignore'\): is unknown; use raise or collect"),
        ({"errors": "collect"}, r'\(errors="collect"\): into="…" must name a param'),
        ({"into": ""}, r"\(into=''\): wanted the name of a param"),
        ({"into": 3}, r"\(into=3\): wanted the name of a param"),
        ({"name": ""}, r"\(name=''\): wanted a name on one line"),
        ({"name": "two\nlines"}, r"\(name=.*\): wanted a name on one line"),
        ({"name": None}, r"\(name=None\): wanted a name on one line"),
    ],
)
def test_a_setting_that_cannot_work_is_named(settings, message):
    with pytest.raises(InvalidConfig, match=f"^group{message}"):
        group(a, **settings)
    with pytest.raises(InvalidConfig, match=f"^each{message}"):
        each(a, over="items", **settings)


@pytest.mark.parametrize(
    "make",
    [
        lambda name: branch(a, b, name=name),
        lambda name: on_error(a, b, name=name),
        lambda name: finally_(a, name=name),
        lambda name: compensate(a, b, name=name),
        lambda name: chain(a, name=name),
    ],
)
@pytest.mark.parametrize("name", ["two\nlines", 3])
def test_every_name_is_text_on_one_line(make, name):
    with pytest.raises(InvalidConfig, match=r"wanted a name on one line"):
        make(name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"over": ""}, r"^each\(over=''\)"),
        ({"over": ["x"]}, r"^each\(over=\['x'\]\): wanted the name of a param, or a function"),
        ({"over": "items", "item": ""}, r"^each\(item=''\): wanted the name of a param"),
    ],
)
def test_what_is_gone_through_is_a_param_or_a_function(settings, message):
    with pytest.raises(InvalidConfig, match=message):
        each(a, **settings)


def test_a_predicate_is_a_function():
    with pytest.raises(InvalidStep, match=r"^branch: the predicate is no function: it is 'yes'"):
        branch("yes", a)


@pytest.mark.parametrize(
    "when", [BaseException, KeyboardInterrupt, "ValueError", (ValueError, 3), ValueError()]
)
def test_errors_are_recovered_from_by_their_types(when):
    with pytest.raises(InvalidConfig, match=r"^on_error\(when=.*wanted a type of exceptions"):
        on_error(a, b, when=when)


@pytest.mark.parametrize(
    "parts",
    [
        [finally_(a), b],
        [a, finally_(a, name="closing"), b, finally_(a)],
        [chain(a, finally_(a), b, name="inner")],
        [group([finally_(a), b], c)],
        [chain([a, finally_(a), b])],
    ],
)
def test_nothing_comes_after_a_finally(parts):
    with pytest.raises(InvalidStep, match=r"'b' comes after finally_, which ends its chain"):
        nodes_of(*parts)


def test_several_finals_may_end_a_chain_and_a_list_that_has_one_is_a_chain_of_its_own():
    assert paths_of(a, finally_(b), finally_(c)) == [
        "root/1/a",
        "root/2/finally",
        "root/2/finally/1/b",
        "root/3/finally",
        "root/3/finally/1/c",
    ]
    assert paths_of([a, finally_(b)], c) == [
        "root/1/chain",
        "root/1/chain/1/a",
        "root/1/chain/2/finally",
        "root/1/chain/2/finally/1/b",
        "root/2/c",
    ]


@pytest.mark.parametrize(
    "empty",
    [
        group([], a),
        each([], over="items"),
        on_error([], a),
        on_error(a, []),
        compensate(a, []),
        finally_([]),
        branch(a, []),
    ],
)
def test_an_empty_member_is_refused(empty):
    with pytest.raises(InvalidStep, match=r"has no step"):
        nodes_of(empty)


@pytest.mark.parametrize("wrong", [3, "a", None, int])
@pytest.mark.parametrize("put", [lambda it: group(a, it), lambda it: chain(it, name="x"), finally_])
def test_what_is_no_step_is_refused_wherever_it_stands(put, wrong):
    with pytest.raises(InvalidStep, match=r"not a step: wanted a function \(ctx, params\)"):
        nodes_of(put(wrong))


def test_a_predicate_of_another_signature_is_refused():
    with pytest.raises(InvalidStep, match=r"wanted \(ctx, params\)"):
        nodes_of(branch(lambda params: True, a))


def nested(levels, put):
    whole = a
    for _ in range(levels):
        whole = put(whole)
    return whole


PUTS = {
    "list": lambda inner: [inner],
    "chain": chain,
    "named chain": lambda inner: chain(inner, name="x"),
    "group": group,
    "each": lambda inner: each(inner, over="items"),
    "branch": lambda inner: branch(a, inner),
    "on_error": lambda inner: on_error(inner, a),
    "compensate": lambda inner: compensate(inner, a),
    "finally": finally_,
    "instrumentation": lambda inner: Instrumentation(func_dispatcher=inner, func_name="x"),
    "with arguments": lambda inner: Instrumentation(
        func_dispatcher=group(inner), task_arguments={"k": 1}, func_name="x"
    ),
}


@pytest.mark.parametrize("put", PUTS.values(), ids=PUTS)
def test_forty_levels_are_no_trouble_and_a_thousand_are_refused(put):
    assert links_of(nodes_of(nested(40, put)))
    with pytest.raises(InvalidStep, match=r"nested more than 100 levels deep"):
        nodes_of(nested(1_000, put))


# Names and paths


def test_the_path_of_everything():
    whole = [
        a,
        chain(b, group(a, [b, c], name="both"), name="inner"),
        each([a, branch(b, c, a)], over="items"),
        on_error(a, chain(b, c)),
        compensate(a, b),
        each(each(a, over="others"), over="items", name="outer"),
        finally_(c),
    ]
    assert paths_of(*whole) == [
        "root/1/a",
        "root/2/inner",
        "root/2/inner/1/b",
        "root/2/inner/2/both",
        "root/2/inner/2/both/1/a",
        "root/2/inner/2/both/2/chain",
        "root/2/inner/2/both/2/chain/1/b",
        "root/2/inner/2/both/2/chain/2/c",
        "root/3/each",
        "root/3/each/*/chain",
        "root/3/each/*/chain/1/a",
        "root/3/each/*/chain/2/branch",
        "root/3/each/*/chain/2/branch/0/b",
        "root/3/each/*/chain/2/branch/1/c",
        "root/3/each/*/chain/2/branch/2/a",
        "root/4/on_error",
        "root/4/on_error/1/a",
        "root/4/on_error/2/chain",
        "root/4/on_error/2/chain/1/b",
        "root/4/on_error/2/chain/2/c",
        "root/5/compensate",
        "root/5/compensate/1/a",
        "root/5/compensate/2/b",
        "root/6/outer",
        "root/6/outer/*/each",
        "root/6/outer/*/each/*/a",
        "root/7/finally",
        "root/7/finally/1/c",
    ]


def test_a_chain_without_a_name_stands_in_the_one_around_it():
    assert paths_of(chain(a, [b, chain(c)]), a) == ["root/1/a", "root/2/b", "root/3/c", "root/4/a"]


def test_a_chain_with_a_name_or_a_timeout_has_a_place_of_its_own():
    assert paths_of(chain(a, name="x"))[0] == "root/1/x"
    assert paths_of(chain(a, timeout=1))[0] == "root/1/chain"


def test_what_comes_again_has_a_name_of_its_own():
    assert names_of(group(a, a), group(a), a) == ["group", "a", "a#2", "group#2", "a#3", "a#4"]


def test_an_instrumentation_brings_its_arguments_before_its_first_composition():
    inner = Instrumentation(func_dispatcher=group(a), task_arguments={"k": 1}, func_name="inner")
    (knot,) = nodes_of(inner)
    assert (knot.path, knot.part.arguments) == ("root/1/inner", {"k": 1})


def test_what_joins_a_chain_later_is_counted_on():
    (node,) = place((Step(a),), "root", 7)
    assert node.path == "root/7/a"


def test_a_wrapper_goes_around_every_step_also_within_compositions():
    wrapped = []

    def wrap(fn):
        wrapped.append(fn)
        return fn

    whole = [a, group(b, each(c, over="items")), branch(a, b), finally_(c)]
    Instrumentation(func_dispatcher=whole).nodes(wrap)
    assert wrapped == [a, b, c, a, b, c]


@pytest.mark.parametrize(
    ("whole", "name"),
    [
        (group(a, b), "a"),
        (chain(b, a, name="x"), "x"),
        (chain([b], a), "b"),
        (branch(a, b), "b"),
        (each(c, over="items"), "c"),
        (on_error(chain(a), b), "a"),
        (compensate(b, a), "b"),
        ([finally_(c)], "c"),
        (group(chain(b, name="x")), "x"),
    ],
)
def test_an_instrumentation_is_called_as_the_first_step_of_its_first_part(whole, name):
    assert Instrumentation(func_dispatcher=whole).func_name == name


PARTS = st.recursive(
    st.sampled_from([a, b, Step(a, name="c")]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: chain(*parts, name="c")),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: [*parts, finally_(parts[0])]),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: group(*parts)),
        inner.map(lambda part: each(part, over="items")),
        st.tuples(inner, inner).map(lambda parts: branch(a, *parts)),
        st.tuples(inner, inner).map(lambda parts: on_error(*parts)),
        st.tuples(inner, inner).map(lambda parts: compensate(*parts)),
        inner.map(lambda part: Instrumentation(func_dispatcher=part, task_arguments={"k": 1})),
    ),
    max_leaves=12,
)


@given(part=PARTS)
def test_names_and_paths_are_unique_and_each_is_below_its_own(part):
    nodes = list(every_node(nodes_of(part)))
    assert len({node.name for node in nodes}) == len(nodes)
    assert len({node.path for node in nodes}) == len(nodes)
    for node in nodes:
        assert isinstance(node, Link | Knot)
        for member in getattr(node, "members", ()):
            assert member.path.startswith(f"{node.path}/")
        if isinstance(node, Knot):
            finals = [isinstance(getattr(one, "part", None), Finally) for one in node.members]
            assert finals == sorted(finals)
