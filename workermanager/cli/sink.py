"""Where a run's reports go: files that are known to be writable before it begins."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from workermanager.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Sink"]


class Sink:
    """Where one form of a report goes; ``flag`` asked for it, ``render`` makes its text.

    A file is written beside its place and then moved there, so a full disk cannot leave half of
    one. ``-`` is standard output. It is UTF-8 everywhere, whatever a terminal speaks.

    Raises:
        click.UsageError: it cannot be written there.
    """

    def __init__(self, flag: str, path: str, render: Callable[[Any], str]) -> None:
        self.is_stdout = path == "-"
        self.path = _place(path)
        self._flag = flag
        self._render = render
        if self.is_stdout:
            return
        if self.path.is_dir():
            raise click.UsageError(f"{flag} {self.path}: is a directory")
        if self._is_plain():
            try:
                _make_draft(self.path).unlink()
            except OSError as error:
                message = f"{flag} {path}: cannot be written: {error.strerror}"
                raise click.UsageError(message) from None

    def _is_plain(self) -> bool:
        """True for a file, or what will be one; a device or a pipe is written to as it is."""
        return self.path.is_file() or not self.path.exists()

    def save(self, report: Any) -> bool:
        """Write the report; False, with a line on standard error, if that failed after all."""
        text = self._render(report)
        if self.is_stdout:
            click.echo(text.encode(), nl=False)
            return True
        try:
            self._save(text)
        except OSError as error:
            message = f"{self._flag} {self.path}: not saved: {error.strerror}"
            click.echo(f"workermanager: {one_line(message)}", err=True)
            return False
        return True

    def _save(self, text: str) -> None:
        if not self._is_plain():
            self.path.write_text(text, encoding="utf-8")
            return
        draft = _make_draft(self.path)
        try:
            draft.write_text(text, encoding="utf-8")
            draft.chmod(0o666 & ~_umask())
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)


def _place(path: str) -> Path:
    """Where a path leads from here; one to a pipe (``/dev/stdout``) stands, for it has no other."""
    place = Path(path).absolute()
    return place if place.exists() and not place.is_file() else Path(os.path.realpath(path))


def _make_draft(path: Path) -> Path:
    handle, draft = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    os.close(handle)
    return Path(draft)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
