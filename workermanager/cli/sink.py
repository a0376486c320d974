"""Where the JSON report goes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    from workermanager.report import Report

__all__ = ["JsonSink"]


class JsonSink:
    """Where the JSON report goes; that it can go there is known before the run.

    A file is written beside its place and then moved there, so a full disk cannot leave half of
    one.
    """

    def __init__(self, path: str | None) -> None:
        self._path = None if path in (None, "-") else Path(os.path.realpath(str(path)))
        self._to_stdout = path == "-"
        if self._path is not None and self._path.is_dir():
            raise click.UsageError(f"--json {self._path}: is a directory")
        if self._path is not None and self._is_plain(self._path):
            try:
                _make_draft(self._path).unlink()
            except OSError as error:
                message = f"--json {path}: cannot be written: {error.strerror}"
                raise click.UsageError(message) from None

    @staticmethod
    def _is_plain(path: Path) -> bool:
        """True for a file, or what will be one; a device or a pipe is written to as it is."""
        return path.is_file() or not path.exists()

    def save(self, report: Report) -> bool:
        """Write the report; False, with a line on standard error, if that failed after all."""
        if self._to_stdout:
            click.echo(report.to_json())
            return True
        if self._path is None:
            return True
        try:
            self._save(report, self._path)
        except OSError as error:
            click.echo(f"workermanager: --json {self._path}: not saved: {error.strerror}", err=True)
            return False
        return True

    def _save(self, report: Report, path: Path) -> None:
        if not self._is_plain(path):
            report.save(path)
            return
        draft = _make_draft(path)
        try:
            report.save(draft)
            draft.chmod(0o666 & ~_umask())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def _make_draft(path: Path) -> Path:
    handle, draft = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    os.close(handle)
    return Path(draft)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
