"""What docs/testing.md shows are tests, and they pass."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(
    r"^```python\n(.*?)^```",
    (ROOT / "docs/testing.md").read_text(),
    re.DOTALL | re.MULTILINE,
)
SHOWN = re.findall(r"^def (test_\w+)", "".join(BLOCKS), re.MULTILINE)


def test_there_is_something_to_show():
    assert len(SHOWN) == 8


@pytest.mark.parametrize("name", SHOWN)
def test_a_shown_test_passes(name):
    names = {}
    exec(compile("".join(BLOCKS), "docs/testing.md", "exec"), names)
    names[name]()
