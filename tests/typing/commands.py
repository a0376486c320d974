"""Commands as a user's typed program has them."""

from pathlib import Path
from typing import assert_type

from workermanager import (
    Command,
    CommandFailed,
    Retry,
    Step,
    Worker,
    as_json,
    chain,
    each,
    group,
    on_error,
    param,
)

convert = Command(
    "convert",
    param("input"),
    "-resize",
    param("size", "{}x"),
    Path("out.png"),
    cwd=Path(),
    env={"LANG": "C", "HOME": None, "KEY": param("key")},
    stdin=as_json("input"),
    into="out",
    parse="lines",
    ok=(0, 1),
    timeout=5,
    max_output=1 << 20,
)
assert_type(convert, Command)
assert_type(Command.shell('sort "$1"', param("input"), timeout=2.5), Command)
assert_type(convert.command, str)

Worker(chain(convert, group(convert, [convert]), each(convert, over="items")))
Worker(on_error(Step(convert, retry=Retry(attempts=3)), convert, when=CommandFailed))

Command("it", 3)  # type: ignore[arg-type]
Command("it", parse="xml")  # type: ignore[arg-type]
Command.shell(param("script"))  # type: ignore[arg-type]
Command.shell("true", timeout="5s")  # type: ignore[arg-type]
