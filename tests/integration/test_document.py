"""The HTML report as text: what is in it, and what cannot get out of where it stands."""

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from instrumentation.errors import InvalidConfig
from tests.kit.watched import verdict
from workermanager.report import ErrorReport, load_report
from workermanager.web.document import render_html, save_html
from workermanager.web.packages import plotly_script, style_marks
from workermanager.worker import Worker

TOP = Path(__file__).parents[2]
HOSTILE = "</script><!--<script>alert(1)</script>&\u2028'\""


class Reader(HTMLParser):
    """The elements of a document, and the text of each script."""

    def __init__(self, document):
        super().__init__()
        self.elements = []
        self.scripts = []
        self.styles = []
        self.text = ""
        self._in = None
        self.feed(document)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._in = tag
        if tag in {"script", "style"}:
            getattr(self, f"{tag}s").append("")

    def handle_endtag(self, tag):
        self._in = None

    def handle_data(self, data):
        if self._in in {"script", "style"}:
            getattr(self, f"{self._in}s")[-1] += data
        else:
            self.text += data


@pytest.fixture(scope="module")
def report():
    def step(ctx, params):
        if ctx.n == 3:
            raise OSError("no route")

    return Worker(step, execs_per_tick=10, ticks=1, tick_duration=0, run_id="r-1", seed=7).run()


def source(text):
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_it_says_what_the_run_came_to(report):
    text = Reader(render_html(report)).text
    assert report.accounting in text
    for said in ("step", "failed", "r-1", "OSError", "no route", "exit code", "p99.9"):
        assert said in text


def test_only_its_own_scripts_and_style_may_run_and_nothing_may_be_fetched(report):
    page = Reader(render_html(report))
    (policy,) = [
        attributes["content"]
        for tag, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    data, *scripts = page.scripts
    assert rules["default-src"] == "'none'"
    assert "connect-src" not in rules
    assert rules["script-src"].split() == [source(script) for script in scripts]
    assert rules["style-src"] == source(page.styles[0])
    assert json.loads(data)[0]["ok"] == 9
    assert not [tag for tag, attributes in page.elements if "src" in attributes]
    links = [attributes["href"] for tag, attributes in page.elements if "href" in attributes]
    assert all(link.startswith("data:") for link in links)


def test_the_policy_comes_before_all_that_it_is_about(report):
    tags = [tag for tag, _ in Reader(render_html(report)).elements]
    names = [tag for tag in tags if tag in {"meta", "style", "script", "link"}]
    assert names[:2] == ["meta", "meta"]


def test_a_text_stays_a_text_wherever_it_stands(report):
    hostile = msgspec.structs.replace(
        report,
        run=msgspec.structs.replace(report.run, name=HOSTILE, id=HOSTILE, tags={HOSTILE: HOSTILE}),
        steps={HOSTILE: report.steps["step"]},
        errors=[ErrorReport(step=HOSTILE, type=HOSTILE, count=1, example=HOSTILE)],
        thresholds=[verdict(HOSTILE, unit=HOSTILE)],
        rows={HOSTILE: 1},
        series=[
            msgspec.structs.replace(window, steps={HOSTILE: window.steps["step"]})
            for window in report.series
        ],
        plan={HOSTILE: HOSTILE, "params": {HOSTILE: [HOSTILE]}},
        environment={HOSTILE: HOSTILE},
    )
    page, harmless = Reader(render_html(hostile)), Reader(render_html(report))
    assert len(page.scripts) == len(harmless.scripts) == 4
    assert page.text.count(HOSTILE) >= 12
    assert list(json.loads(page.scripts[0])[0]["steps"]) == [HOSTILE]
    kinds = {tag for tag, _ in page.elements}
    assert kinds <= {tag for tag, _ in harmless.elements} | {"span", "table", "tbody", "tr", "td"}


def test_a_report_from_before_there_were_series_is_shown_without_charts(report, tmp_path):
    old = report.to_dict()
    for name in ("series", "thresholds", "plan", "environment", "warmup", "database"):
        del old[name]
    for name in ("tags", "warmup_s", "resumed"):
        del old["run"][name]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old))
    document = render_html(load_report(path))
    page = Reader(document)
    assert page.scripts == []
    assert report.accounting in page.text
    assert "Throughput" not in page.text
    assert len(document) < 100_000


def test_steps_that_timed_out_are_counted_where_there_are_any(report):
    assert "timed out" not in render_html(report)
    late = msgspec.structs.replace(report.steps["step"], timed_out=1_234)
    document = render_html(msgspec.structs.replace(report, steps={"step": late}, stuck=2))
    row = re.search(r"<tr><td class=\"name indent\">step.*?</tr>", document)[0]
    assert row.endswith('<td class="n ">1,234</td></tr>')
    assert '<th class="n">timed out</th></tr>' in document
    assert "(2 stuck: timed out, and running yet)" in document


def test_the_plan_has_the_paths_of_the_steps_and_not_all_that_is_told_of_each(report):
    text = Reader(render_html(report)).text
    assert "step/1/step" in text
    assert "'kind'" not in text


def test_a_run_without_execs_has_dashes_for_times(report):
    nothing = msgspec.structs.replace(report.response, count=0)
    empty = msgspec.structs.replace(report, response=nothing, lag=nothing, service=nothing)
    row = re.search(r"<tr><td class=\"name\">response.*?</tr>", render_html(empty))[0]
    assert row.count(">-<") == 7


def test_thresholds_say_how_they_ended(report):
    judged = msgspec.structs.replace(
        report,
        thresholds=[
            verdict("lag.p99<10ms", value=None),
            verdict("rate>=990/s", value=1234.5, unit="/s"),
            verdict("failed<0.1%", value=7.0, unit="%", passed=False, at_s=65.0, aborted=True),
        ],
    )
    text = Reader(render_html(judged)).text
    for said in ("not measured", "1,234.5 /s", "kept", "7 %", "broken", "at 65 s, ended the run"):
        assert said in text
    assert "1 of 3 broken" in text


def test_it_is_written_to_a_file(report, tmp_path):
    save_html(report, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render_html(report)


def test_a_file_that_cannot_be_written_is_refused_on_one_line(report, tmp_path):
    with pytest.raises(InvalidConfig, match=r"--html: .*x/report\.html cannot be written: No such"):
        save_html(report, tmp_path / "x" / "report.html")


def test_plotly_is_found_without_being_imported():
    code = (
        "import sys; from workermanager.web.packages import plotly_script;"
        "print(plotly_script('--html').stat().st_size > 1_000_000, 'plotly' in sys.modules)"
    )
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_a_plotly_without_its_script_is_refused(monkeypatch):
    monkeypatch.setattr("workermanager.web.packages._SCRIPT", Path("nowhere.js"))
    with pytest.raises(InvalidConfig, match=r"has no nowhere\.js"):
        plotly_script("--html")


def test_plotly_finds_the_style_sheets_that_it_would_add():
    marks = style_marks(plotly_script("--html").read_text(encoding="utf-8"))
    assert re.fullmatch(r'(<meta id="[0-9a-f]{64}">\n?)+', marks)


def test_the_wheel_has_the_pages_files(tmp_path):
    subprocess.run(
        (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)),
        cwd=TOP,
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(name).name for name in archive.namelist() if "web/static/" in name}
    assert names == {path.name for path in (TOP / "workermanager/web/static").iterdir()}
    assert {"dashboard.html", "charts.js", "style.css"} <= names
