"""What the tests in a browser share: the browser, and pages that must not complain."""

import pytest

from tests.kit.browser import open_browser, visits

CHARTS = ("throughput", "response", "waits", "steps")


@pytest.fixture(scope="module")
def browser():
    """A Chromium for the tests of a file; a missing one fails them, and says what to install.

    Not for all: as long as it is there, an event loop runs in this thread, and later tests want to.
    """
    with open_browser() as browser:
        yield browser


@pytest.fixture
def visit(browser):
    with visits(browser) as begin:
        yield begin


@pytest.fixture
def count_points():
    """How many points each chart of a page has in its first line, drawn as a path."""

    def count(page):
        return page.evaluate(
            """names => names.map(name => {
                const plot = document.querySelector(`[data-chart=${name}] .plot`);
                const path = plot.querySelector(".scatterlayer .trace path.js-line, .js-fill");
                return path?.getAttribute("d")?.length > 1 ? plot.data[0].x.length : 0;
            })""",
            CHARTS,
        )

    return count
