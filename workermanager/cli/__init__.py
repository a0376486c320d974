"""The command line: ``workermanager run|resume|runs|check|report|pool|schedule``."""

from __future__ import annotations

import errno
import io
import os
import sys
from importlib import import_module
from typing import Final

import rich_click as click

from workermanager import __version__
from workermanager.redaction import one_line

__all__ = ["EXIT_INVALID", "EXIT_USAGE", "cli", "main"]

EXIT_USAGE: Final = 2
EXIT_INVALID: Final = 104

_COMMANDS: Final = {
    "run": "workermanager.cli.run",
    "resume": "workermanager.cli.resume",
    "runs": "workermanager.cli.runs",
    "check": "workermanager.cli.check",
    "report": "workermanager.cli.report",
    "pool": "workermanager.cli.pool",
    "schedule": "workermanager.cli.schedule",
}


class _LazyGroup(click.RichGroup):
    """Imports a command when it is asked for: the others' packages need not load."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command = import_module(_COMMANDS[cmd_name]).command
        assert isinstance(command, click.Command)  # noqa: S101 - for the type checker
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="workermanager")
def cli() -> None:
    """Run a chain of functions many times, at a known rate, and account for every run of it."""


def main() -> None:
    """Run the command line and exit with its code; bad input gets one line on standard error."""
    _write_what_can_be()
    try:
        code = cli.main(prog_name="workermanager", standalone_mode=False)
    except click.ClickException as error:
        _complain(error.format_message())
        code = EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:  # as in `workermanager report r.json | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _complain(f"standard output: {error.strerror}")
        code = 1
    except Exception as error:
        from instrumentation.errors import InvalidConfig  # noqa: PLC0415 - 13 ms of every start

        if not isinstance(error, InvalidConfig):
            raise
        _complain(str(error))
        code = EXIT_INVALID
    sys.exit(code)


def _write_what_can_be() -> None:
    """Where the terminal's encoding has not all characters, write ``?`` for them and go on."""
    for stream in (sys.stdout, sys.stderr):  # None where it is closed
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def _complain(message: str) -> None:
    click.echo(f"workermanager: {one_line(message)}", err=True)
