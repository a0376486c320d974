"""Faker, made repeatable and fast: a generator per thread, and tables of values made once.

The one door to Faker.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from instrumentation.errors import InvalidConfig
from instrumentation.seeds import derive_seed
from instrumentation.unstable import refuse_unstable

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from faker import Faker

__all__ = ["LOCALE", "Pools", "faker_version", "make_faker", "thread_faker"]

LOCALE: Final = "en_US"

_local = threading.local()


def make_faker() -> Faker:
    """A generator of its own: 120 ms for the first one in a process, then 1 ms.

    Unweighted, because weighting costs ten times, and without the providers that would give a
    resumed run other values.
    """
    from faker import Faker  # noqa: PLC0415 - its import is most of those 120 ms

    # The generator behind the proxy: a call through the proxy takes three times as long.
    faker: Faker = Faker(LOCALE, use_weighting=False).factories[0]
    refuse_unstable(faker)
    return faker


def thread_faker() -> Faker:
    """This thread's generator: one per thread, because a shared one draws in any order."""
    faker: Faker | None = getattr(_local, "faker", None)
    if faker is None:
        faker = _local.faker = make_faker()
    return faker


@lru_cache(maxsize=1)
def faker_version() -> str:
    """The version that is installed: another one may make other values from the same seed."""
    from importlib.metadata import version  # noqa: PLC0415 - 10 ms, and not every run has a ledger

    return version("faker")


class Pools:
    """Tables of Faker-made values, made once per run from its seed and then picked from.

    A table of 1,024 values takes 2 to 25 ms to make; a value out of it 1 µs. ``plain`` has those of
    providers without arguments, by provider and size.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._others: dict[int, Pools] = {}
        self.plain: dict[tuple[str, int], tuple[Any, ...]] = {}
        self._tables: dict[Hashable, tuple[Any, ...]] = {}
        self._lock = threading.Lock()

    def of(self, seed: int) -> Pools:
        """The tables of another seed, made once too."""
        if seed == self._seed:
            return self
        with self._lock:
            return self._others.setdefault(seed, Pools(seed))

    def table(
        self, provider: str, size: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Any, ...]:
        """The values of a provider called with these arguments.

        Raises:
            InvalidConfig: there is no such provider, or its values depend on more than the seed.
        """
        key: Hashable = (provider, size, repr(args), repr(sorted(kwargs.items())))
        if " at 0x" in str(key):
            raise InvalidConfig(
                f"ctx.pooled({provider!r}): an argument is no plain value, so it would not repeat"
            )
        table = self._tables.get(key)
        if table is None:
            with self._lock:  # one makes it, the others wait: it takes longer in many threads
                table = self._tables.get(key) or self._make(key, provider, size, args, kwargs)
                self._tables[key] = table
                if not (args or kwargs):
                    self.plain[provider, size] = table
        return table

    def _make(
        self,
        key: Hashable,
        provider: str,
        size: int,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> tuple[Any, ...]:
        if size < 1:
            raise InvalidConfig(f"ctx.pooled({provider!r}, of={size!r}): must be 1 or more")
        faker = make_faker()
        try:
            make = getattr(faker, provider)
        except AttributeError:
            raise InvalidConfig(f"ctx.pooled: Faker has no provider {provider!r}") from None
        faker.seed_instance(derive_seed(self._seed, "pool", key))
        return tuple(make(*args, **kwargs) for _ in range(size))
