"""What a run puts out on the command line: reports, exports, the live page; and its flags."""

from __future__ import annotations

import io
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import rich_click as click

from workermanager.cli.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workermanager.report import Report
    from workermanager.run import Run
    from workermanager.web.server import Dashboard

__all__ = ["Exports", "Output", "open_sinks", "render_csv", "render_html", "render_json"]


class Output(NamedTuple):
    """What the flags say of output: which reports go where, who watches, and how much is said."""

    json_path: str | None
    html_path: str | None
    csv_path: str | None
    dashboard: str | None
    prometheus: str | None
    statsd: str | None
    otel: bool
    no_history: bool
    quiet: bool
    log_level: str | None
    log_format: str | None

    @classmethod
    def take_from(cls, flags: dict[str, Any]) -> Output:
        """Take the flags of `output_options` out of all of a command's."""
        return cls(**{name: flags.pop(name) for name in cls._fields})


def open_sinks(output: Output) -> list[Sink]:
    """Where the reports go.

    Raises:
        click.UsageError: one cannot be written, or two go to standard output.
        InvalidConfig: a package is missing.
    """
    wanted: list[tuple[str, str | None, Callable[[Report], str]]] = [
        ("--json", output.json_path, render_json),
        ("--html", output.html_path, render_html),
        ("--csv", output.csv_path, render_csv),
    ]
    sinks = [Sink(flag, path, render) for flag, path, render in wanted if path is not None]
    if sum(sink.is_stdout for sink in sinks) > 1:
        raise click.UsageError("only one report can go to standard output")
    files = [sink.path for sink in sinks if sink.path.is_file() or not sink.path.exists()]
    if len(set(files)) < len(files):
        raise click.UsageError("two reports cannot go to one file")
    if output.html_path is not None:
        from workermanager.web.packages import FOR_REPORT, check_packages  # noqa: PLC0415 - an extra

        check_packages("--html", FOR_REPORT)
    return sinks


def render_json(report: Report) -> str:
    """The JSON report."""
    return report.to_json() + "\n"


def render_html(report: Report) -> str:
    """The HTML report."""
    from workermanager.web import document  # noqa: PLC0415 - an extra

    return document.render_html(report)


def render_csv(report: Report) -> str:
    """The windows of the report, one line for each and each of its steps."""
    from workermanager.exports.windows_csv import write_windows  # noqa: PLC0415 - seldom wanted

    text = io.StringIO(newline="")
    write_windows(report.series, text)
    return text.getvalue()


def _call_together(functions: Sequence[Callable[[], object]]) -> None:
    """Call functions that may each wait for long, all at once."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Exports:
    """Whoever watches a run from outside, from before it begins until its report is made.

    Addresses are taken when it is made, so that one that will not do is found before the run.

    Raises:
        InvalidConfig: a package is missing, or an address will not do.
    """

    def __init__(self, output: Output, run: Run) -> None:
        self.addresses: list[str] = []
        self._run = run
        self._attach: list[Callable[[], None]] = []
        self._dashboard: Dashboard | None = None
        self._stack = ExitStack()
        with ExitStack() as stack:
            if output.prometheus is not None:
                self._open_prometheus(output.prometheus, stack)
            if output.statsd is not None:
                self._open_statsd(output.statsd, stack)
            if output.otel:
                self._open_otel(stack)
            if output.dashboard is not None:
                self._open_dashboard(output.dashboard, stack)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        """Hold the addresses."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Send the last, and let go."""
        self._stack.close()

    def attach(self) -> None:
        """Watch from now on."""
        for attach in self._attach:
            attach()

    def end(self, report: Report) -> None:
        """Tell how the run ended."""
        if self._dashboard is not None:
            self._dashboard.end(report)

    @property
    def _labels(self) -> dict[str, str]:
        run = self._run
        return {**run.plan.tags, "name": run.plan.name, "id": run.id}

    def _open_prometheus(self, text: str, stack: ExitStack) -> None:
        from workermanager.exports.addresses import parse_address  # noqa: PLC0415 - seldom wanted
        from workermanager.exports.prometheus import PrometheusEndpoint  # noqa: PLC0415 - an extra

        host, port = parse_address(text, "--prometheus", host="127.0.0.1")
        endpoint = stack.enter_context(PrometheusEndpoint(host, port))
        self.addresses.append(f"metrics: {endpoint.url}")
        self._attach.append(lambda: endpoint.attach(self._run.figures, self._labels))

    def _open_statsd(self, text: str, stack: ExitStack) -> None:
        from workermanager.exports.dogstatsd import DogStatsD  # noqa: PLC0415 - seldom wanted

        statsd = stack.enter_context(DogStatsD(text))

        def attach() -> None:
            statsd.attach(self._labels)
            self._run.watch.tell(statsd)

        self._attach.append(attach)

    def _open_otel(self, stack: ExitStack) -> None:
        from workermanager.exports.otel import open_metrics  # noqa: PLC0415 - an extra
        from workermanager.exports.tracing import open_tracer  # noqa: PLC0415 - an extra

        with ExitStack() as opened:
            if (metrics := open_metrics()) is not None:
                opened.callback(metrics.close)
                self._attach.append(lambda: metrics.attach(self._run.figures, self._labels))
            self._run.tracer = tracer = open_tracer(self._run.plan.tags, is_global=True)
            opened.pop_all()
        closes = [one.close for one in (metrics, tracer) if one is not None]
        stack.callback(_call_together, closes)

    def _open_dashboard(self, text: str, stack: ExitStack) -> None:
        from workermanager.web.address import parse_address  # noqa: PLC0415 - seldom wanted
        from workermanager.web.server import Dashboard  # noqa: PLC0415 - an extra

        dashboard = stack.enter_context(Dashboard(parse_address(text, "--dashboard")))
        self._dashboard = dashboard
        self.addresses.append(f"dashboard: {dashboard.url}")
        self._attach.append(lambda: dashboard.show(self._run))
