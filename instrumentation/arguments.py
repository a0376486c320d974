"""How params reach a command: as the text of an argument, or as JSON on its standard input."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NoReturn
from uuid import UUID

from instrumentation.errors import InvalidConfig, ParamError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Param", "ParamsAsJson", "argument_fault", "as_json", "param"]

_PLACE: Final = "{}"
_NOTHING: Final = object()


@dataclass(frozen=True, slots=True)
class Param:
    """Stands for the text of a param; made by `param`."""

    name: str
    form: str = _PLACE

    def __post_init__(self) -> None:
        _check_name("param", self.name)
        given: object = self.form
        if not isinstance(given, str) or given.count(_PLACE) != 1:
            raise InvalidConfig(
                f'param({self.name!r}, {given!r}): wanted text with one {{}}, as in "--size={{}}"'
            )

    def text(self, params: Mapping[str, Any], where: str) -> str:
        """The text that it stands for; ``where`` is what a refusal begins with.

        Raises:
            ParamError: the param is missing, or its value has no text that a program can be given.
        """
        return self._text_of(_find(self.name, params, where), where)

    def texts(self, params: Mapping[str, Any], where: str) -> list[str]:
        """The same for a whole argument: a list or tuple stands for several, or for none.

        Raises:
            ParamError: as `text` does, for each of them.
        """
        value = _find(self.name, params, where)
        if isinstance(value, list | tuple) and self.form == _PLACE:
            return [self._text_of(one, where) for one in value]
        return [self._text_of(value, where)]

    def data(self, params: Mapping[str, Any], where: str) -> bytes:
        """The bytes that it stands for as standard input: bytes as they are, all else as UTF-8.

        Raises:
            ParamError: the param is missing, or its value has no text.
        """
        value = _find(self.name, params, where)
        if isinstance(value, bytes) and self.form == _PLACE:
            return value
        try:
            return os.fsencode(self._filled(value, where))
        except UnicodeEncodeError:
            _refuse(where, self.name, value, "it has characters that are in no encoding")

    def _text_of(self, value: object, where: str) -> str:
        text = self._filled(value, where)
        fault = argument_fault(text)
        if fault:
            _refuse(where, self.name, value, f"it has {fault}")
        return text

    def _filled(self, value: object, where: str) -> str:
        text = _to_text(value)
        if text is None:
            found = type(value).__name__
            _refuse(
                where, self.name, value, f"wanted text, a number, a time or a path, found {found}"
            )
        before, _, after = self.form.partition(_PLACE)
        return before + text + after


@dataclass(frozen=True, slots=True)
class ParamsAsJson:
    """Stands for params as one JSON object; made by `as_json`."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in self.names:
            _check_name("as_json", name)

    def data(self, params: Mapping[str, Any], where: str) -> bytes:
        """The object, as UTF-8.

        Raises:
            ParamError: a param is missing, or its value cannot be written as JSON.
        """
        members = []
        for name in self.names or params:
            value = _find(name, params, where)
            try:
                members.append(f"{_to_json(name)}: {_to_json(value)}".encode())
            except (TypeError, ValueError, RecursionError) as error:
                _refuse(where, name, value, f"cannot be written as JSON: {error}")
        return b"{" + b", ".join(members) + b"}"


def param(name: str, form: str = _PLACE) -> Param:
    """Stands for the value of a param in a `Command`, or for text around it (``"--size={}"``).

    str stands as it is, and so do a path, bytes, a number, a UUID and a Decimal; true and false are
    written so, dates and times in ISO 8601, a member of an Enum as its value. As a whole argument a
    list or a tuple stands for as many arguments. Nothing else has a text, and neither has None.

    Raises:
        InvalidConfig: ``name`` is no text, or ``form`` has not one ``{}``.
    """
    return Param(name, form)


def as_json(*names: str) -> ParamsAsJson:
    """Stands for params as one JSON object on a command's standard input: for those named, or all.

    What JSON has no form for is written as the text that `param` gives it.

    Raises:
        InvalidConfig: a name is no text.
    """
    return ParamsAsJson(names)


def argument_fault(text: str) -> str:
    """What keeps a program from being given the text; nothing, as a rule."""
    if "\0" in text:
        return "a NUL, which no program can be given"
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return "characters that no program can be given"
    return ""


def _to_text(value: object) -> str | None:
    """A value as text; None if it has none."""
    if isinstance(value, Enum):
        return _to_text(value.value)
    text: str | None = None
    if isinstance(value, str):
        text = value
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, int | float | Decimal | UUID):
        text = str(value)
    elif isinstance(value, date | time):  # a datetime is a date
        text = value.isoformat()
    elif isinstance(value, os.PathLike | bytes):
        text = os.fsdecode(value)
    return text


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_to_member)


def _to_member(value: object) -> str:
    text = None if isinstance(value, bytes) else _to_text(value)
    if text is None:
        raise TypeError(f"{type(value).__name__} has no form in it")
    return text


def _check_name(where: str, name: object) -> None:
    if not isinstance(name, str) or not name:
        raise InvalidConfig(f"{where}({name!r}): wanted the name of a param")


def _find(name: str, params: Mapping[str, Any], where: str) -> object:
    value = params.get(name, _NOTHING)
    if value is _NOTHING:
        there = ", ".join(sorted(params)) or "none"
        told = f"{where}: param {name!r} is missing; the params are: {there}"
        raise ParamError(told, name, str, None)
    return value


def _refuse(where: str, name: str, value: object, fault: str) -> NoReturn:
    raise ParamError(f"{where}: param {name!r}: {fault}", name, str, type(value))
