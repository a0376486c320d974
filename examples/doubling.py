"""Doubles numbers in a pool of threads; one of them is none, and its result says so.

python examples/doubling.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workermanager import Context, Job, WorkerPool

if TYPE_CHECKING:
    from collections.abc import Iterator


def double(context: Context, number: object) -> int:
    """Twice the number; what is no number is an error, not twice a text."""
    if not isinstance(number, int):
        raise TypeError(f"{number!r} is no number")
    return number * 2


def jobs() -> Iterator[Job[str, object, int]]:
    """Ten numbers, and a word among them; taken one by one, as threads become free."""
    for place, number in enumerate([0, 1, 2, 3, 4, "five", 6, 7, 8, 9]):
        yield Job(f"job {place}", double, number)


def main() -> None:
    """Print every result, in the order of the jobs."""
    with WorkerPool(4, ordered=True) as pool:
        for value, error, descriptor in pool.generate_from(jobs()):
            told = value if error is None else f"{type(error).__name__}: {error}"
            print(f"{descriptor}: {told}")
        print(f"{pool.taken} taken, {pool.delivered} delivered")


if __name__ == "__main__":
    main()
