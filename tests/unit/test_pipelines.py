"""Pipelines as values: what cannot work is refused before anything runs."""

import functools

import pytest

from instrumentation import SKIP, InvalidConfig
from instrumentation.pipelines import Layout, Skip, Source, Stage
from workermanager import Pipeline, PipelineFailed, Retry


def same(item):
    return item


async def same_later(item):
    return item


async def count_later():
    return [1]


async def yields_later():
    yield 1


def open_later():
    return yields_later()


def start_later(item):
    return same_later(item)


def yields(item):
    yield item


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"workers": 0}, "stage 'same': workers=0: must be 1 or more"),
        ({"workers": True}, "stage 'same': workers=True: must be 1 or more"),
        ({"workers": None}, "stage 'same': workers=None: must be 1 or more"),
        ({"buffer": 0}, "stage 'same': buffer=0: must be 1 or more"),
        ({"timeout": 0}, "stage 'same': timeout=0.0: must be more than 0 seconds"),
        ({"timeout": "soon"}, "stage 'same': timeout: 'soon' is not a duration"),
        ({"retry": 3}, "stage 'same': retry=3: wanted Retry"),
        ({"dead_letters": 5}, "stage 'same': dead_letters=5: wanted a list or a function"),
        ({"dead_letters": same_later}, "stage 'same': dead_letters is async; give a list or a"),
        ({"name": "x", "timeout": "soon"}, "stage 'x': timeout: 'soon' is not a duration"),
        ({"name": "x", "workers": -1}, "stage 'x': workers=-1"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(settings, told):
    with pytest.raises(InvalidConfig, match=told):
        Pipeline([1]).stage(same, **settings)


@pytest.mark.parametrize(
    ("fn", "settings", "told"),
    [
        (5, {}, "wanted a function"),
        (yields, {}, "'yields' yields; a stage returns one result"),
        (same_later, {"processes": True}, "'same_later' is async; processes are for plain"),
    ],
)
def test_what_is_no_stage_is_refused(fn, settings, told):
    with pytest.raises(InvalidConfig, match=told):
        Pipeline([1]).stage(fn, **settings)


def test_what_is_no_source_is_refused():
    with pytest.raises(InvalidConfig, match="int is no source"):
        Pipeline(5)
    with pytest.raises(
        InvalidConfig, match=r"count_later.* is an async function that does not yield"
    ):
        Pipeline(count_later)
    with pytest.raises(InvalidConfig, match="Pipeline: retry=1"):
        Pipeline([], retry=1)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (lambda: 3, "its source function gave int, which cannot be iterated over"),
        (open_later, "gave async_generator, which is async; give the function that"),
    ],
)
def test_a_function_that_gives_no_source_is_told_so(source, told):
    with pytest.raises(PipelineFailed) as failed:
        Pipeline(source).stage(same).run()
    (error,) = failed.value.exceptions
    assert isinstance(error, InvalidConfig)
    assert told in str(error)


def test_nothing_comes_after_a_sink():
    with pytest.raises(InvalidConfig, match="'same' comes after the sink"):
        Pipeline([1]).sink(print).stage(same)


def test_a_pipeline_without_a_stage_is_not_run():
    with pytest.raises(InvalidConfig, match="it has no stage"):
        Pipeline([1]).run()


def test_a_function_that_cannot_be_sent_to_a_process_is_refused_before_anything_runs():
    read = []
    with pytest.raises(InvalidConfig, match="cannot be sent to a process"):
        Pipeline(read.append).stage(lambda item: item, processes=True).run()
    assert read == []


def test_a_pipeline_with_a_sink_has_no_results_to_iterate_over():
    pipeline = Pipeline([1]).sink(same)
    with pytest.raises(InvalidConfig, match="go to its sink"):
        list(pipeline)


def test_a_stage_leaves_the_pipeline_before_it_as_it_was():
    first = Pipeline([1, 2]).stage(same)
    second = first.stage(str)
    assert (list(first), list(second)) == ([1, 2], ["1", "2"])


def test_stages_of_one_name_are_told_apart():
    layout = Layout(Source([])).add(Stage(fn=same)).add(Stage(fn=same)).add(Stage(fn=same))
    assert [stage.name for stage in layout.stages] == ["same", "same#2", "same#3"]


def test_async_functions_are_known_in_every_form():
    class Called:
        async def __call__(self, item):
            return item

    assert Stage(fn=same_later).is_async
    assert Stage(fn=functools.partial(same_later)).is_async
    assert Stage(fn=Called()).is_async
    assert not Stage(fn=same).is_async
    assert not Stage(fn=print).is_async


@pytest.mark.parametrize(
    "settings", [{}, {"workers": 3}, {"timeout": 5}, {"retry": Retry(attempts=2)}]
)
def test_a_coroutine_is_no_result_as_nobody_would_run_it(settings):
    sent = Pipeline([1, 2]).sink(start_later, name="send", **settings)
    with pytest.raises(PipelineFailed) as failed:
        sent.run()
    told = "stage 'send' returns a coroutine, which nobody runs; write it as an async def"
    assert str(failed.value.exceptions[0]) == told
    assert failed.value.report.delivered == 0


def test_every_coroutine_becomes_a_dead_letter_where_there_are_some():
    rejected = []
    stage = Pipeline(range(1_000)).stage(start_later, dead_letters=rejected)
    assert list(stage) == []
    assert [letter.item for letter in rejected] == list(range(1_000))


def test_skip_is_one_of_its_kind():
    assert SKIP is Skip.SKIP
