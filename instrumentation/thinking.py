"""Think time: a step that pauses its exec, as a person does between two actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from instrumentation.errors import InvalidConfig
from instrumentation.steps import Step

if TYPE_CHECKING:
    from instrumentation.execution import Exec
    from instrumentation.params import TaskParams
    from instrumentation.steps import StepFunction

__all__ = ["think"]

_LONGEST_S: Final = 1e9  # 30 years
_MOST_MEANS: Final = 10  # one exponential pause of 22,000 is longer


def think(
    seconds: float | None = None, most: float | None = None, *, mean: float | None = None
) -> Step:
    """A pause of the exec, as a step of its own.

    As in ``[browse, think(1, 5), buy]``. All figures are seconds: ``think(2)`` is always that long,
    ``think(1, 5)`` evenly between the two, and ``think(mean=3)`` exponential with that mean, at
    most ten times as long. What is drawn comes from ``ctx.random``, so it repeats with the seed. A
    "stop now" ends the pause. It counts in the exec's service time, and holds its thread.

    Raises:
        InvalidConfig: a figure that cannot work, or figures that contradict each other.
    """
    if mean is not None:
        if seconds is not None or most is not None:
            raise InvalidConfig("think(mean=…): it goes without other figures")
        return Step(_exponential(_check(mean, "mean")), "think")
    if seconds is None:
        raise InvalidConfig("think(): wanted seconds, as think(2), think(1, 5) or think(mean=3)")
    least = _check(seconds, "seconds")
    if most is None:
        return Step(_constant(least), "think")
    if _check(most, "most") < least:
        raise InvalidConfig(f"think(most={most!r}): must not be less than seconds={seconds!r}")
    return Step(_uniform(least, most), "think")


def _check(seconds: float, name: str) -> float:
    given: object = seconds
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not is_number or not 0 <= seconds <= _LONGEST_S:
        raise InvalidConfig(f"think({name}={seconds!r}): must be from 0 to 1e9 seconds")
    return seconds


def _constant(seconds: float) -> StepFunction:
    def think(ctx: Exec, _params: TaskParams, /) -> None:
        ctx.sleep(seconds)

    return think


def _uniform(least: float, most: float) -> StepFunction:
    def think(ctx: Exec, _params: TaskParams, /) -> None:
        ctx.sleep(ctx.random.uniform(least, most))

    return think


def _exponential(mean: float) -> StepFunction:
    def think(ctx: Exec, _params: TaskParams, /) -> None:
        ctx.sleep(mean * min(ctx.random.expovariate(1.0), _MOST_MEANS))

    return think
