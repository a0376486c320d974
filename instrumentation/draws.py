"""What an exec draws from: everything random is derived from (run seed, n, step path).

So an exec gives the same values on any thread, in any order, and on every attempt.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from uuid import UUID, SafeUUID

from instrumentation.fakes import thread_faker
from instrumentation.seeds import derive_seed, seeded_random

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from faker import Faker

__all__ = ["BESIDE_N", "IN_PLACE_OF_N", "Draws", "uuid7_order"]

T = TypeVar("T")

_VERSION_4: Final = 4 << 76 | 2 << 62  # the version, and the variant of RFC 9562
_VERSION_7: Final = 7 << 76 | 2 << 62
BESIDE_N: Final = (1 << 42) - 1
IN_PLACE_OF_N: Final = 0xFFF << 64 | (1 << 62) - 1
_128_BITS: Final = (1 << 128) - 1
_UUID_MASK: Final = _128_BITS & ~(0xF << 76 | 3 << 62)
_PICK_BITS: Final = 32
_PICK_MASK: Final = (1 << _PICK_BITS) - 1
_PICKS_PER_DIGEST: Final = 512 // _PICK_BITS


def uuid7_order(milliseconds: int, n: int) -> int:
    """What version-7 UUIDs are ordered by: the time, then 32 bits of n (RFC 9562, 5.7 and 6.2)."""
    order = milliseconds << 80 | (n >> 20 & 0xFFF) << 64 | (n & 0xF_FFFF) << 42
    return order & _UUID_MASK | _VERSION_7


class _Paused(NamedTuple):
    """The states of a step's generators; None for one that it has not."""

    random: tuple[Any, ...] | None
    faker: tuple[Any, ...] | None


class Draws:
    """What one attempt of one step has drawn so far; each source is seeded when asked for.

    ``transactions`` counts those that the step has begun.
    """

    __slots__ = (
        "_bits",
        "_digests",
        "_faker",
        "_picks_left",
        "_random",
        "_uuid_bits",
        "_uuids",
        "attempt",
        "n",
        "path",
        "seed",
        "transactions",
    )

    def __init__(self, seed: int, n: int, path: str, attempt: int) -> None:
        self.seed = seed
        self.n = n
        self.path = path
        self.attempt = attempt
        self.transactions = 0
        self._random: Random | None = None
        self._faker: Faker | None = None
        self._uuids = 0
        self._uuid_bits = 0
        self._bits = 0
        self._digests = 0
        self._picks_left = 0

    @property
    def random(self) -> Random:
        """A generator of this step's own."""
        if self._random is None:
            self._random = seeded_random(self.seed, self.n, self.path, "random")
        return self._random

    @property
    def faker(self) -> Faker:
        """The thread's Faker generator, seeded for this step."""
        if self._faker is None:
            self._faker = thread_faker()
            self._faker.seed_instance(derive_seed(self.seed, self.n, self.path, "faker"))
        return self._faker

    def next_uuid(self) -> UUID:
        """A version-4 UUID from the hash of who asks, and for which time."""
        return _uuid(self._next_hash() & _UUID_MASK | _VERSION_4)

    def next_uuid7(self, order: int, hashed: int) -> UUID:
        """A version-7 UUID: `uuid7_order`, and hash in the bits that are set in ``hashed``."""
        return _uuid(order | self._next_hash() & hashed)

    def _next_hash(self) -> int:
        """128 bits; a digest serves four times."""
        place, self._uuids = self._uuids & 3, self._uuids + 1
        if place == 0:
            self._uuid_bits = self._digest("uuid", self._uuids)
        return self._uuid_bits >> 128 * place & _128_BITS

    def _digest(self, purpose: str, number: int) -> int:
        """512 bits for a purpose; blake2b is fastest with as many as it has."""
        text = f"{self.seed}/{self.n}/{self.path}/{purpose}/{number}"
        return int.from_bytes(blake2b(text.encode()).digest(), "big")

    def pause(self) -> _Paused:
        """What the step's generators stand at, to `go_on` from."""
        return _Paused(
            None if self._random is None else self._random.getstate(),
            None if self._faker is None else self._faker.random.getstate(),
        )

    def go_on(self, paused: _Paused) -> None:
        """Put the step's generators back to where they were."""
        if self._random is not None and paused.random is not None:
            self._random.setstate(paused.random)
        if self._faker is not None and paused.faker is not None:
            self._faker.random.setstate(paused.faker)

    def take_over(self, step: Draws) -> None:
        """Seed the very generators that the step may hold, for what is done inside it."""
        if step._random is not None:
            self._random = step._random
            self._random.seed(derive_seed(self.seed, self.n, self.path, "random"))
        if step._faker is not None:
            self._faker = step._faker
            self._faker.seed_instance(derive_seed(self.seed, self.n, self.path, "faker"))

    def pick(self, values: Sequence[T]) -> T:
        """One of the values; a digest serves 16 picks of 32 bits, 0.2 µs each.

        ``floor(bits · size / 2^32)`` favours no value by more than size / 2^32 (D. Lemire, Fast
        Random Integer Generation in an Interval, 2019).
        """
        if not self._picks_left:
            self._bits = self._digest("pick", self._digests)
            self._digests += 1
            self._picks_left = _PICKS_PER_DIGEST
        self._picks_left -= 1
        bits = self._bits & _PICK_MASK
        self._bits >>= _PICK_BITS
        return values[bits * len(values) >> _PICK_BITS]


_set_int: Final = UUID.__dict__["int"].__set__  # the slots behind its attributes
_set_safety: Final = UUID.__dict__["is_safe"].__set__
_UNKNOWN: Final = SafeUUID.unknown


def _uuid(bits: int) -> UUID:
    """A UUID as its class makes it, without its checks of arguments: they cost four times that."""
    uuid = object.__new__(UUID)
    _set_int(uuid, bits)
    _set_safety(uuid, _UNKNOWN)
    return uuid
