"""A job pool as users write it, checked by mypy --strict and never run."""

from __future__ import annotations

from collections.abc import Generator
from typing import assert_type

from workermanager import Context, Job, JobResult, WorkerPool


def measure(context: Context, word: str) -> int:
    context.check()
    return len(word)


words = [Job(number, measure, word) for number, word in enumerate(["a", "bc"])]
assert_type(words, list[Job[int, str, int]])

with WorkerPool(2, ordered=True, timeout="1m") as pool:
    results = pool.generate_from(words)
    assert_type(results, Generator[JobResult[int, int], None, None])
    for result in results:
        assert_type(result.value, int | None)
        assert_type(result.error, BaseException | None)
        assert_type(result.descriptor, int)
    assert_type([descriptor for _, _, descriptor in pool.generate_from(iter(words))], list[int])

Job("x", measure, 5)  # type: ignore[arg-type]
WorkerPool(1).generate_from([measure])  # type: ignore[arg-type]
