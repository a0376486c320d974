"""What the tests in a browser share: the browser, pages that must not complain, and runs."""

from contextlib import contextmanager

import pytest

from tests.kit.watched import WatchedRun
from workermanager.web.address import Address
from workermanager.web.server import Dashboard

CHARTS = ("throughput", "response", "waits", "steps")


@pytest.fixture(scope="session")
def browser():
    """One Chromium for all tests; a missing one fails them, and says what to install."""
    from tests.kit.browser import open_browser

    with open_browser() as browser:
        yield browser


@contextmanager
def visits(browser):
    """Opens pages; at the end, none of them may have had an error or a violation to tell."""
    from tests.kit.browser import Visit

    begun = []

    def begin(**options):
        begun.append(Visit(browser, **options))
        return begun[-1]

    yield begin
    complaints = [complaint for one in begun for complaint in one.complaints]
    for one in begun:
        one.context.close()
    assert complaints == []


@pytest.fixture
def visit(browser):
    with visits(browser) as begin:
        yield begin


@contextmanager
def show(worker, **seen):
    """Starts a worker and its page; whatever happens, the run is over at the end."""
    with Dashboard(Address("127.0.0.1", 0)) as dashboard:
        run = WatchedRun(worker.start(), **seen)
        try:
            dashboard.show(run)
            yield dashboard, run
        finally:
            run.stop(now=True)
            run.finish()


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
