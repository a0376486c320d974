"""Makes the pictures of the live page and of the report, from a run that takes a minute.

::

    .venv/bin/python -m docs.make_screenshots

It needs Chromium, as the tests do. Nothing in the pictures is made up but the steps, which sleep
for as long as a small shop's database might take, and fail now and then.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.kit.browser import open_browser
from workermanager import Step, Worker
from workermanager.web.address import Address
from workermanager.web.document import save_html
from workermanager.web.server import Dashboard

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PICTURES = Path(__file__).parent / "pictures"
ORDERS = "0:20/s,12s:180/s,24s:180/s,24s:250/s,30s:250/s,30s:180/s,45s:180/s,60s:60/s"
SHOT_AT = 45
HEIGHT = 1010
LOADED = "() => document.querySelectorAll('.plot .scatterlayer .trace').length >= 12"


def find_customer(ctx, params):
    """Reads one row, mostly at once."""
    ctx.sleep(0.002 + ctx.random.expovariate(700))
    params["customer"] = ctx.random.randrange(10_000)


def place_order(ctx, params):
    """Writes a few rows; once in a while somebody else has locked them."""
    is_locked = ctx.random.random() < 0.01  # noqa: PLR2004 - one in a hundred
    ctx.sleep(0.006 + ctx.random.expovariate(200) + is_locked * 0.08)
    if ctx.random.random() < 0.003:  # noqa: PLR2004 - three in a thousand
        raise TimeoutError(f"no answer for customer {params['customer']} within 250 ms")


def make_worker() -> Worker:
    """A ramp, a plateau, and a spike that the threads are not quite enough for."""
    return Worker(
        [find_customer, Step(place_order)],
        shape=ORDERS,
        spread="poisson",
        warmup="4s",
        thresholds=["p99<250ms", "failed<1%", "place_order.p95<40ms over 10s"],
        tags={"branch": "main", "database": "small"},
        overrun="late:500ms",
        threads=5,
        seed=7,
    )


def open_page(browser: Browser, url: str) -> Page:
    """A page, as wide as a picture in a README can be read."""
    page = browser.new_page(viewport={"width": 1240, "height": HEIGHT}, color_scheme="light")
    page.goto(url)
    return page


def main() -> None:
    """Run, and take the pictures on the way."""
    PICTURES.mkdir(exist_ok=True)
    with open_browser() as browser, Dashboard(Address("127.0.0.1", 0)) as dashboard:
        run = make_worker().start()
        dashboard.show(run)
        page = open_page(browser, dashboard.url)
        run.wait(SHOT_AT)
        page.wait_for_function(LOADED)
        for name, scheme in (("dashboard", "light"), ("dashboard-dark", "dark")):
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=PICTURES / f"{name}.png")
        report = run.finish()
        dashboard.end(report)
        with TemporaryDirectory() as folder:
            save_html(report, Path(folder) / "report.html")
            page = open_page(browser, (Path(folder) / "report.html").as_uri())
            page.screenshot(path=PICTURES / "report.png")


if __name__ == "__main__":
    main()
