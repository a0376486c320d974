"""The live page in headless Chromium: what it shows, what it does, and what it does not let in."""

import http.server
import re
import threading

import pytest

from instrumentation.steps import Step
from tests.kit.browser import find_chromium, visits
from tests.kit.watched import show, verdict
from workermanager.worker import Worker

HOSTILE = "<img src=x onerror=alert(1)>"
HAS_MOVED = """before => [...document.querySelectorAll("[data-chart] .plot")]
    .every((plot, index) => plot.data?.[0]?.x.length > before[index])"""


def first(ctx, params):
    ctx.sleep(0.001)


def fails(ctx, params):
    if ctx.n % 50 == 49:
        raise ValueError(f"no luck with {HOSTILE}")


def make_worker():
    """A run of some minutes, with a failure now and then."""
    chain = [first, Step(lambda ctx, params: None, HOSTILE), Step(fails, f"</script>{HOSTILE}")]
    return Worker(chain, execs_per_tick=20, tick_duration=0.2, ticks=2_000, threads=4)


@pytest.fixture(scope="module")
def live():
    """A run for all tests that only look at it."""
    seen = {"tags": {HOSTILE: HOSTILE}, "verdicts": [verdict(HOSTILE, passed=False, unit=HOSTILE)]}
    with show(make_worker(), **seen) as served:
        yield served


@pytest.fixture(scope="module")
def looked_at(browser, live):
    """The page of `live`, once its charts are there."""
    dashboard, _ = live
    with visits(browser) as begin:
        one = begin()
        one.page.goto(dashboard.url)
        one.page.wait_for_function(HAS_MOVED, arg=[0, 0, 0, 0], timeout=20_000)
        yield one


def wait_for(page, selector, text):
    page.locator(selector, has_text=text).wait_for(timeout=20_000)


def test_the_charts_are_there_and_move(looked_at, count_points):
    page = looked_at.page
    before = count_points(page)
    assert all(count > 0 for count in before)
    page.wait_for_function(HAS_MOVED, arg=before, timeout=20_000)
    assert all(now > then for now, then in zip(count_points(page), before, strict=True))
    shown = page.locator("#figures").inner_text()
    assert all(name in shown for name in ("due", "ok", "failed", "rate now", "lag p99 now"))
    assert page.title() == "first, workermanager"


def test_nothing_is_asked_for_elsewhere(looked_at, live):
    dashboard, _ = live
    assert len(looked_at.requests) >= 6
    assert looked_at.foreign(f"http://{dashboard.address}/") == []


def test_the_stop_button_asks_and_then_drains_the_run(visit):
    with show(make_worker()) as (dashboard, run):
        one = visit()
        page = one.page
        page.goto(dashboard.url)
        page.locator("#stop-ask").click()
        page.locator("#stop-no").click()
        assert not run.is_stopping
        page.locator("#stop-ask").click()
        assert "let end what runs" in page.locator("#stop-question").inner_text()
        page.locator("#stop-yes").click()
        assert run.wait(20)
        report = run.finish()
        dashboard.end(report)
        wait_for(page, "#state", "interrupted")
    counts = report.counts
    assert report.outcome == "interrupted"
    assert counts["due"] == sum(
        counts[name] for name in ("ok", "failed", "dropped", "expired", "interrupted")
    )
    assert page.locator("#accounting").inner_text() == report.accounting
    assert "105" in page.locator("#figures").inner_text()
    assert not page.locator("#stop").is_visible()


def test_a_second_stop_does_not_wait(visit):
    worker = Worker(lambda ctx, params: ctx.sleep(60), execs_per_tick=2, ticks=1, tick_duration=0)
    with show(worker) as (dashboard, run):
        page = visit().page
        page.goto(dashboard.url)
        page.locator("#stop-ask").click()
        page.locator("#stop-yes").click()
        wait_for(page, "#state", "stopping")
        wait_for(page, "#stop-ask", "Stop now")
        assert not run.wait(0)
        page.locator("#stop-ask").click()
        page.locator("#stop-yes", has_text="Yes, stop now").click()
        assert run.wait(20)


def test_the_page_goes_on_showing_the_end_when_its_server_is_gone(visit, calls):
    with show(Worker(calls, execs_per_tick=30, ticks=2)) as (dashboard, run):
        page = visit().page
        page.goto(dashboard.url)
        page.locator("#state.running").wait_for()
        report = run.finish()
        dashboard.end(report)
    wait_for(page, "#state", "passed")
    page.wait_for_function(HAS_MOVED, arg=[0, 0, 0, 0], timeout=20_000)
    assert "60 due = 60 ok" in page.locator("#accounting").inner_text()
    assert not page.locator("#notice").is_visible()


def test_a_page_that_hears_nothing_any_more_says_so(visit):
    one = visit()
    with show(make_worker()) as (dashboard, _):
        one.page.goto(dashboard.url)
        one.page.locator("#state.running").wait_for()
    wait_for(one.page, "#notice", "does not answer")
    one.page.goto("about:blank")
    refused = [complaint for complaint in one.complaints if "ERR_" in complaint]
    assert refused == one.complaints  # the browser's own words, and no others
    one.complaints.clear()


def test_markup_in_names_and_errors_is_shown_as_text(looked_at):
    page = looked_at.page
    wait_for(page, "#errors", HOSTILE)
    assert page.locator("#steps td.name").all_inner_texts()[1:] == [
        HOSTILE,
        f"</script>{HOSTILE}",
    ]
    assert HOSTILE in page.locator("#thresholds").inner_text()
    assert page.locator(".tag").inner_text() == f"{HOSTILE}: {HOSTILE}"
    assert HOSTILE in page.locator("[data-chart=steps] .keys").inner_text()
    box = page.locator("[data-chart=steps] .plot").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.locator("[data-chart=steps] .hoverlayer", has_text="<img").wait_for(state="attached")
    assert page.locator("img").count() == page.locator("main script").count() == 0


def test_a_name_that_is_made_to_mean_this_machine_shows_nothing(visit, live):
    dashboard, _ = live
    one = visit()
    url = dashboard.url.replace("127.0.0.1", "rebound.example")
    assert one.page.goto(url).status == 400
    assert one.page.locator("main").count() == 0
    one.complaints.clear()  # the browser's line about the 400


@pytest.mark.parametrize("token", ["", "?token=", "?token=guess"])
def test_without_its_token_the_page_shows_nothing(visit, live, token):
    dashboard, _ = live
    one = visit()
    assert one.page.goto(f"http://{dashboard.address}/{token}").status == 403
    assert one.page.locator("main").count() == 0
    one.complaints.clear()  # the browser's line about the 403


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """A page of another site."""

    def do_GET(self):
        body = b"<!doctype html><title>elsewhere</title><link rel=icon href=data:,>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def elsewhere():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://elsewhere.example:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_page_of_another_site_cannot_stop_the_run(visit, live, elsewhere):
    dashboard, run = live
    one = visit()
    one.page.goto(elsewhere)
    stop = dashboard.url.replace("/?", "/stop?")
    read = one.page.evaluate(
        """url => Promise.all(["cors", "no-cors"].map(mode =>
            fetch(url, {mode, method: "POST"}).then(() => "read", () => "refused")))""",
        stop,
    )
    assert read == ["refused", "refused"]
    with one.page.expect_navigation() as there:  # what needs no leave to be sent
        one.page.evaluate(
            """url => {
                const form = document.createElement("form");
                form.method = "post";
                form.action = url;
                document.body.append(form);
                form.submit();
            }""",
            stop,
        )
    assert there.value.status == 403
    assert not run.is_stopping
    one.complaints.clear()  # the browser's lines about the refusals


def test_a_page_of_another_site_cannot_have_this_one_in_a_frame(visit, live, elsewhere):
    dashboard, _ = live
    one = visit()
    one.page.goto(elsewhere)
    one.page.evaluate(
        """url => new Promise(loaded => {
            const frame = document.createElement("iframe");
            frame.onload = loaded;
            frame.src = url;
            document.body.append(frame);
        })""",
        dashboard.url,
    )
    assert all(frame.query_selector("main") is None for frame in one.page.frames)
    assert any("frame-ancestors" in complaint for complaint in one.complaints)
    one.complaints.clear()


def test_dark_is_dark_and_light_is_light(looked_at):
    def brightness():
        colours = looked_at.page.evaluate(
            """() => [["body", "backgroundColor"], [".xtick text", "fill"]].map(
                ([name, property]) => getComputedStyle(document.querySelector(name))[property])"""
        )
        return [sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in colours]

    page, text = brightness()
    assert (page > 200, text < 130) == (True, True)
    looked_at.page.emulate_media(color_scheme="dark")
    page, text = brightness()
    assert (page < 50, text > 130) == (True, True)


def brightness(colour):
    return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(","))) / 3


def test_the_log_scale_and_the_keys_change_what_is_drawn(looked_at):
    card = looked_at.page.locator("[data-chart=response]")
    of_plot = "plot => [plot.layout.yaxis.type, plot.data.length]"
    assert card.locator(".plot").evaluate(of_plot) == ["linear", 3]
    card.locator(".switch").click()
    assert card.locator(".plot").evaluate(of_plot) == ["log", 3]
    card.locator(".key", has_text="p99").click()
    assert card.locator(".plot").evaluate(of_plot) == ["log", 2]
    card.locator(".key", has_text="p99").click()
    assert card.locator(".plot").evaluate(of_plot) == ["log", 3]


def test_a_zoom_into_one_chart_is_a_zoom_into_all(looked_at):
    page = looked_at.page
    page.wait_for_function(HAS_MOVED, arg=[2, 2, 2, 2], timeout=20_000)
    of_plots = """() => [...document.querySelectorAll("[data-chart] .plot")]
        .map(plot => plot.layout.xaxis.range.map(Date.parse))"""
    (_, whole), *_ = page.evaluate(of_plots)
    box = page.locator("[data-chart=waits] .nsewdrag").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60, steps=3)
    page.mouse.up()
    page.wait_for_function(f"whole => ({of_plots})().every(([a, b]) => b < whole)", arg=whole)
    ranges = page.evaluate(of_plots)
    assert all(range_ == ranges[0] for range_ in ranges)
    page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + 50)
    page.wait_for_function(f"whole => ({of_plots})().every(([a, b]) => b >= whole)", arg=whole)


def test_a_hidden_tab_draws_nothing(visit, live):
    dashboard, run = live
    page = visit().page
    page.add_init_script(
        "Object.defineProperty(Document.prototype, 'hidden', {get: () => window.isHidden});"
        "window.isHidden = true;"
    )
    page.goto(dashboard.url)
    page.wait_for_function("() => document.getElementById('name').textContent === 'first'")
    while len(run.watch.series.windows) < 2:
        page.wait_for_function("() => true")
    assert page.locator(".main-svg").count() == 0
    page.evaluate(
        "() => { window.isHidden = false; document.dispatchEvent(new Event('visibilitychange')); }"
    )
    page.wait_for_function(HAS_MOVED, arg=[0, 0, 0, 0], timeout=20_000)


def test_without_chromium_the_tests_fail_and_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"apt-get install .*chromium"):
        find_chromium()
