"""Pipelines as users write them, checked by mypy --strict and never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

import workermanager
from workermanager import SKIP, Context, DeadLetter, FlowReport, Pipeline, Retry, Skip


def numbers() -> Iterator[int]:
    yield from range(3)


async def live() -> AsyncIterator[float]:
    yield 0.5


def spell(number: int) -> str:
    return str(number)


async def look_up(word: str) -> bytes:
    return word.encode()


def halve(number: int) -> float | Skip:
    return SKIP if number % 2 else number / 2


rejected: list[DeadLetter[str]] = []


def refuse(letter: DeadLetter[int]) -> None:
    assert_type(letter.item, int)
    assert_type(letter.error, Exception)


spelt = Pipeline(numbers).stage(spell, workers=4, timeout="5s", retry=Retry(), dead_letters=refuse)
assert_type(spelt, Pipeline[str])
looked_up = spelt.stage(look_up, workers=100, buffer=200, dead_letters=rejected)
assert_type(looked_up, Pipeline[bytes])
assert_type(looked_up.stage(lambda found: found or SKIP), Pipeline[bytes])
assert_type(Pipeline(numbers).stage(halve), Pipeline[float])
print(workermanager.Skipp)  # type: ignore[attr-defined]
Pipeline(numbers).stage(halve).stage(spell)  # type: ignore[arg-type]
assert_type(Pipeline(live).stage(int, processes=True), Pipeline[int])
assert_type(Pipeline([" a "]).stage(str.strip).stage(len), Pipeline[int])
assert_type(looked_up.sink(print).run(context=Context(timeout=5), grace="1s"), FlowReport)
assert_type(list(Pipeline(range(3), ordered=True).stage(spell)), list[str])
with spelt.start() as flow:
    for word in flow:
        assert_type(word, str)
    assert_type(flow.report, FlowReport | None)


async def consume() -> None:
    async for found in looked_up:
        assert_type(found, bytes)
