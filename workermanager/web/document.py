"""The report as one HTML file that needs nothing else: no network, and for its tables no script."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Final

import msgspec

from instrumentation.errors import InvalidConfig
from workermanager.web import tables
from workermanager.web.packages import plotly_script, style_marks
from workermanager.web.view import point

if TYPE_CHECKING:
    from workermanager.report import Report

__all__ = ["render_html", "save_html"]

_STATIC: Final = Path(__file__).parent / "static"
_STYLES: Final = ("theme.css", "style.css", "tables.css", "charts.css", "print.css")
_POLICY: Final = (
    "default-src 'none'; script-src {scripts}; style-src {styles}; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
_UNSAFE: Final = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
_ENDS_SCRIPT: Final = re.compile("<(?=/script|!--)", re.IGNORECASE)


def save_html(report: Report, path: Path, name: str = "--html") -> None:
    """Write the report as an HTML file; ``name`` is what a refusal calls that.

    Raises:
        InvalidConfig: Plotly is not installed, or the file cannot be written.
    """
    document = render_html(report, name)
    try:
        path.write_text(document, encoding="utf-8")
    except OSError as error:
        raise InvalidConfig(f"{name}: {path} cannot be written: {error.strerror}") from None


def render_html(report: Report, name: str = "--html") -> str:
    """The report as HTML, 5 MB where it has charts: most of that is Plotly's script.

    Raises:
        InvalidConfig: Plotly is not installed.
    """
    plotly = plotly_script(name).read_text(encoding="utf-8")
    has_charts = bool(report.series)
    scripts = [plotly, _static("charts.js"), _static("report.js")] if has_charts else []
    scripts = [_ENDS_SCRIPT.sub(r"\\x3C", script) for script in scripts]
    style = "\n".join(map(_static, _STYLES))
    return Template(_static("report.html")).substitute(
        policy=_POLICY.format(
            scripts=" ".join(map(_source, scripts)) or "'none'", styles=_source(style)
        ),
        title=escape(f"{report.run.name}, {report.run.outcome}"),
        style=style,
        styled=style_marks(plotly) if has_charts else "",
        content="\n".join(_content(report)),
        scripts="\n".join([_points(report), *(f"<script>{one}</script>" for one in scripts)])
        if has_charts
        else "",
    )


def _content(report: Report) -> list[str]:
    return [
        tables.head(report),
        tables.figures(report),
        tables.accounting(report),
        tables.thresholds(report.thresholds),
        _static("charts.html") if report.series else "",
        tables.times(report),
        tables.errors(report),
        tables.rows(report),
        '<div class="pair loose">',
        tables.plan(report.plan),
        tables.facts(report.environment),
        "</div>",
    ]


def _points(report: Report) -> str:
    """The charts' data; JSON, and nothing in it can end the element or begin another."""
    data = msgspec.json.encode([point(window) for window in report.series]).decode()
    return f'<script type="application/json" id="points">{data.translate(_UNSAFE)}</script>'


def _source(text: str) -> str:
    """What a Content-Security-Policy calls this very text: its hash."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{b64encode(digest).decode()}'"


def _static(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")
