"""TaskParams: what the steps of a chain pass on."""

from __future__ import annotations

from typing import Any, Final, TypeVar, cast

from instrumentation.errors import ParamError

__all__ = ["TaskParams"]

T = TypeVar("T")
_MISSING: Final = object()


class TaskParams(dict[str, Any]):
    """What the steps of a chain pass on: a dict with typed access, cloned for every exec.

    A clone is shallow, so values that execs share must not be changed by a step. The engine sets
    three keys for every exec: ``current_tick`` (from 0), ``ticks_left`` (this tick included;
    None where the run has no end) and ``current_exec`` (its place in the tick, from 0).
    """

    __slots__ = ()

    def clone(self) -> TaskParams:
        """A shallow copy: the values are shared, the mapping is not."""
        return TaskParams(self)

    def changes_since(self, before: TaskParams, without: str = "") -> TaskParams:
        """What was added or given another value since it was a clone of ``before``.

        ``without`` is a key to leave out. A value that was changed in place is no change.
        """
        return TaskParams(
            (key, value)
            for key, value in self.items()
            if before.get(key, _MISSING) is not value and key != without
        )

    def get_as(self, key: str, kind: type[T], default: T | object = _MISSING) -> T:
        """The value of ``key``, which must be a ``kind``.

        An int serves where a float is asked for; a bool is no int. A missing key gives
        ``default`` where there is one.

        Raises:
            ParamError: the key is missing, or its value is of another type.
        """
        value = self.get(key, _MISSING)
        if value is _MISSING:
            if default is not _MISSING:
                return cast("T", default)
            raise _missing(self, key, kind)
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return value
        if kind is float and type(value) is int:
            return cast("T", float(value))
        raise _mistyped(key, kind, value)

    def __repr__(self) -> str:
        return f"TaskParams({super().__repr__()})"


def _missing(params: TaskParams, key: str, kind: type) -> ParamError:
    there = ", ".join(sorted(params)) or "none"
    return ParamError(
        f"param {key!r} is missing: wanted {kind.__name__}; the params are: {there}",
        key,
        kind,
        None,
    )


def _mistyped(key: str, kind: type, value: object) -> ParamError:
    found = type(value)
    return ParamError(
        f"param {key!r}: wanted {kind.__name__}, found {found.__name__}",
        key,
        kind,
        found,
    )
