import gc

import pytest

from workermanager.garbage import fewer_collections


@pytest.fixture(autouse=True)
def _threshold():
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_young_objects_are_collected_less_often_meanwhile():
    with fewer_collections():
        assert gc.get_threshold() == (50_000, 10, 10)
    assert gc.get_threshold() == (700, 10, 10)


def test_the_last_one_to_leave_puts_back_what_the_first_one_found():
    first, second = fewer_collections(), fewer_collections()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold() == (50_000, 10, 10)
    second.__exit__(None, None, None)
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("own", [(0, 10, 10), (90_000, 5, 5)])
def test_a_collector_that_is_off_or_rarer_already_stays_so(own):
    gc.set_threshold(*own)
    with fewer_collections():
        assert gc.get_threshold() == own
    assert gc.get_threshold() == own


def test_what_is_raised_meanwhile_does_not_keep_it():
    with pytest.raises(ValueError, match="x"), fewer_collections():
        raise ValueError("x")
    assert gc.get_threshold() == (700, 10, 10)
