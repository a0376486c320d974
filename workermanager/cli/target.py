"""From what stands on the command line to a Worker."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any, Final, TypeVar

from instrumentation.chains import Instrumentation, as_instrumentation
from instrumentation.commands import Command
from instrumentation.composing import Composition
from instrumentation.errors import InvalidConfig
from instrumentation.steps import Step
from workermanager.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import ModuleType

__all__ = ["adapt", "find_worker", "parse_params", "parse_tags", "read_params"]

T = TypeVar("T")
_CHAINS: Final = (Instrumentation, Composition, Step, Command, list, tuple)


def find_worker(target: str) -> Worker:
    """The Worker that ``module:name`` or ``path/file.py:name`` names.

    The name may stand for a Worker, a chain of any form, a function that takes nothing and returns
    one of these, or a step.

    Raises:
        InvalidConfig: there is no such thing.
    """
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise InvalidConfig(f"target {target!r}: wanted module:name or path/file.py:name")
    found = _look_up(_import(place, target), name, target)
    return _as_worker(_call_factory(found, target), target)


def adapt(worker: Worker, settings: Mapping[str, Any], params: Mapping[str, Any]) -> Worker:
    """The Worker with settings laid over it, and params laid over its arguments.

    Raises:
        InvalidConfig: it cannot be run so.
    """
    if params:
        instrumentation = as_instrumentation(worker.instrumentation)
        arguments = {**instrumentation.task_arguments, **params}
        settings = {
            **settings,
            "instrumentation": replace(instrumentation, task_arguments=arguments),
        }
    return replace(worker, **settings)


def read_params(path: Path | None, assignments: Sequence[str]) -> tuple[str, ...]:
    """The params of a JSON or TOML file as ``key=value``, followed by the assignments.

    Raises:
        InvalidConfig: it cannot be read, or is no table of params.
    """
    if path is None:
        return tuple(assignments)
    try:
        text = path.read_text(encoding="utf-8")
        params = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise InvalidConfig(f"--params {path}: cannot be read: {error}") from None
    if not isinstance(params, dict):
        raise InvalidConfig(f"--params {path}: wanted an object of params, found {type(params)}")
    if unnamed := [name for name in params if not name.strip() or "=" in name]:
        raise InvalidConfig(f"--params {path}: {unnamed[0]!r} is no name for a param")
    pairs = (f"{name}={json.dumps(value, default=str)}" for name, value in params.items())
    return (*pairs, *assignments)


def parse_tags(assignments: Iterable[str]) -> dict[str, str]:
    """Tags from ``name=text``.

    Raises:
        InvalidConfig: no ``=``, or no name.
    """
    tags: dict[str, str] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            raise InvalidConfig(f"--tag {assignment!r}: wanted name=text")
        tags[name.strip()] = text.strip()
    return tags


def parse_params(assignments: Iterable[str]) -> dict[str, Any]:
    """Params from ``key=value``; a value that is JSON is taken as that, anything else as text.

    Raises:
        InvalidConfig: no ``=``, or no key.
    """
    params: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise InvalidConfig(f"--set {assignment!r}: wanted key=value")
        if any("\ud800" <= char <= "\udfff" for char in assignment):
            raise InvalidConfig(f"--set {assignment!r}: not UTF-8")
        try:
            params[key.strip()] = json.loads(text)
        except ValueError:
            params[key.strip()] = text
    return params


def _import(place: str, target: str) -> ModuleType:
    if place.endswith(".py") or "/" in place:
        return _import_file(Path(place), target)
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.util.find_spec(place)
    except (ImportError, ValueError) as error:
        raise InvalidConfig(f"target {target!r}: no module {place!r} ({error})") from None
    except (Exception, SystemExit) as error:
        raise _broken(error, target) from error
    if found is None:
        raise InvalidConfig(f"target {target!r}: no module {place!r}")
    return _execute(lambda: importlib.import_module(place), target)


def _import_file(path: Path, target: str) -> ModuleType:
    if not path.is_file():
        raise InvalidConfig(f"target {target!r}: no file {path}")
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known  # several schedules may be targets of one file
    sys.path.insert(0, str(path.parent.resolve()))  # as Python does for a script it runs
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InvalidConfig(f"target {target!r}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    loader = spec.loader

    def run_module() -> ModuleType:
        loader.exec_module(module)
        return module

    return _execute(run_module, target)


def _execute(load: Callable[[], T], target: str) -> T:
    """Run the target's own code; what it raises becomes one line with the place."""
    try:
        return load()
    except InvalidConfig:
        raise
    except (Exception, SystemExit) as error:
        raise _broken(error, target) from error


def _broken(error: BaseException, target: str) -> InvalidConfig:
    frame = extract_tb(error.__traceback__)[-1]
    place = f" ({frame.filename}:{frame.lineno})" if Path(frame.filename).exists() else ""
    return InvalidConfig(f"target {target!r}: {type(error).__name__}: {error}{place}")


def _look_up(module: ModuleType, name: str, target: str) -> object:
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise InvalidConfig(f"target {target!r}: {module.__name__} has no {name!r}")
        found = getattr(found, part)
    return found


def _call_factory(found: object, target: str) -> object:
    """The value itself, or what it returns if it is a function that takes nothing."""
    if isinstance(found, (Worker, *_CHAINS)) or not callable(found):
        return found
    try:
        inspect.signature(found).bind()
    except (TypeError, ValueError):
        return found
    return _execute(found, target)


def _as_worker(found: object, target: str) -> Worker:
    if isinstance(found, Worker):
        return found
    if isinstance(found, _CHAINS) or inspect.isroutine(found):
        return Worker(found)
    raise InvalidConfig(
        f"target {target!r}: found {found if inspect.isclass(found) else type(found)}; "
        f"wanted a Worker, a chain, a step, or a function that returns one"
    )
