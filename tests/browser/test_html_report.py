"""The HTML report in headless Chromium, as a file: charts, text, paper, and no request."""

import msgspec
import pytest

from instrumentation.steps import Step
from tests.kit.browser import visits
from tests.kit.watched import verdict
from workermanager.web.document import save_html
from workermanager.worker import Worker

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def report():
    """The report of a real run of two seconds, its first one warm-up."""

    def fails(ctx, params):
        if ctx.n % 7 == 6:
            raise ValueError(f"no luck with {HOSTILE}")

    chain = [Step(lambda ctx, params: ctx.sleep(0.002), "first"), Step(fails, HOSTILE)]
    done = Worker(chain, execs_per_tick=40, ticks=4, tick_duration="600ms", threads=4).run()
    first, *rest = done.series
    late = msgspec.structs.replace(done.steps["first"], timed_out=7)
    return msgspec.structs.replace(
        done,
        steps={**done.steps, "first": late},
        run=msgspec.structs.replace(done.run, tags={"branch": HOSTILE}, warmup_s=first.at_s),
        series=[msgspec.structs.replace(first, is_warmup=True), *rest],
        thresholds=[verdict(), verdict("failed<0.1%", value=14.2, unit="%", passed=False, at_s=2)],
        warmup={"due": 40, "ok": 35, "failed": 5},
        plan={"name": HOSTILE, "execs": 160},
        environment={"python": "3.11"},
    )


@pytest.fixture(scope="module")
def file(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    save_html(report, path)
    return path.as_uri()


@pytest.fixture(scope="module")
def opened(browser, file):
    with visits(browser) as begin:
        one = begin(color_scheme="dark")
        one.page.goto(file)
        yield one


def test_the_file_has_all_charts_and_asks_for_nothing(opened, file, count_points):
    assert all(count > 0 for count in count_points(opened.page))
    assert opened.foreign(file) == []
    texts = opened.page.locator(".annotation-text").all_text_contents()
    assert texts == ["warm-up"] * 4


def test_markup_in_names_and_errors_is_shown_as_text(opened):
    page = opened.page
    assert page.locator("td.name.indent").all_inner_texts() == ["first", HOSTILE]
    assert page.locator(".tag").inner_text() == f"branch: {HOSTILE}"
    assert f"no luck with {HOSTILE}" in page.locator("main").inner_text()
    assert page.locator("[data-chart=steps] .key span").all_inner_texts() == ["first", HOSTILE]
    assert page.locator("img").count() == 0


def test_it_can_be_read_without_javascript(visit, file, report):
    page = visit(java_script_enabled=False).page
    page.goto(file)
    text = page.locator("main").inner_text()
    for said in (
        report.accounting,
        "p99.9",
        "failed<0.1%",
        "broken",
        "The charts need JavaScript",
    ):
        assert said in text
    assert not page.locator(".charts").is_visible()


def test_it_prints_on_paper_in_light_colours_and_nothing_is_cut_off(opened):
    page = opened.page
    assert page.pdf(format="A4", print_background=True).startswith(b"%PDF")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 690, "height": 980})
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    cut = page.evaluate(
        """() => [...document.querySelectorAll(".card")].filter(card => {
            const edge = card.getBoundingClientRect().right;
            return [...card.querySelectorAll("table, .main-svg, p")]
                .some(one => one.getBoundingClientRect().right > edge + 1);
        }).map(card => card.innerText)"""
    )
    assert cut == []


def test_a_script_that_is_not_ours_would_not_run(opened):
    opened.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'taken over'";
            document.body.append(script);
        }"""
    )
    assert opened.page.title() != "taken over"
    assert any("Content Security Policy" in complaint for complaint in opened.complaints)
    opened.complaints.clear()
