"""The fence around a step that may time out."""

import pytest

from instrumentation import Cancelled
from workermanager.fencing import Fence


def test_what_passes_before_is_let_through_and_what_comes_after_is_not():
    fence = Fence()
    with fence.passing():
        assert not fence.close(), "a commit is under way"
        assert not fence.is_closed

    assert fence.close()
    with pytest.raises(Cancelled, match="timed out"), fence.passing():
        pytest.fail("the fence is closed")


def test_an_error_inside_leaves_it_usable():
    fence = Fence()
    with pytest.raises(ValueError, match="bad"), fence.passing():
        raise ValueError("bad")

    assert fence.close()
    assert fence.close(), "closing it twice is closing it"
