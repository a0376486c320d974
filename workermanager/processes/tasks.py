"""All tasks of a pool: checked against each other, kept where they take no memory, found by number.

A task is a line of JSON in a spool; what stays in memory is where it begins. Identifiers are found
by 32 bits of their hash, with the number beside them in one sorted array of integers, and compared
for real where those bits are equal.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import pairwise
from json import JSONEncoder, loads
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from instrumentation.errors import InvalidConfig
from workermanager.processes.fields import FIELDS, describe, read_tasks, refusal
from workermanager.processes.spool import Spool
from workermanager.processes.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Tasks"]

_BITS: Final = 32
_LOW: Final = (1 << _BITS) - 1
_KEY_SIZE: Final = 16
_NO_KEY: Final = bytes(_KEY_SIZE)
_ARGS: Final = FIELDS.index("args")
_AFTER: Final = FIELDS.index("after")
_CONTENT: Final = FIELDS.index("timeout")  # what comes before is what a task does
_MOST_OF_A_CYCLE: Final = 10
_NEW, _ON_PATH, _DONE = range(3)

_fields_of = attrgetter(*FIELDS)
_encode = JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
_encode_canonically = JSONEncoder(sort_keys=True, separators=(",", ":")).encode


class Tasks:
    """Tasks in the order of their input, by number from 0; they stay as they were read.

    ``after`` has the numbers of those that each task comes after, for tasks that wait at all.
    ``tasks`` go with the lines that they are from, 0 where lines say nothing; each is valid by
    itself. ``may_repeat`` lets identifiers name more than one task, or none.

    Raises:
        InvalidConfig: two have one identifier, one comes after a task that is not there, or after
            itself; or there is no room for them.
    """

    def __init__(
        self, tasks: Iterable[tuple[int, Task]], source: str, *, may_repeat: bool = False
    ) -> None:
        self.after: Mapping[int, tuple[int, ...]] = {}
        self._source = source
        self._spool = Spool()
        self._begins = array("Q", [0])
        self._keys = bytearray()
        try:
            self._gather(tasks, may_repeat=may_repeat)
        except BaseException:
            self.close()
            raise

    @classmethod
    def of(cls, tasks: Iterable[Task], source: str = "tasks") -> Tasks:
        """Tasks that Python made, as valid as those that were read; ``source`` is their name."""
        return cls(read_tasks(_as_read(tasks), source), source)

    def _gather(self, tasks: Iterable[tuple[int, Task]], *, may_repeat: bool) -> None:
        index, waiting = array("Q"), array("Q")
        for number, (line, task) in enumerate(tasks):
            try:
                self._spool.write(_encode((*_fields_of(task), line)).encode())
            except OSError as error:
                raise InvalidConfig(
                    f"{self._source}: no room to keep task {number}: {error.strerror or error}"
                ) from None
            self._begins.append(self._spool.size)
            if not may_repeat:
                index.append(_bits(task.identifier) | number)
            if task.after:
                waiting.append(number)
        index = array("Q", sorted(index))
        self._refuse_repeated(index)
        self.after = {number: self._numbers(number, index) for number in waiting}
        self._refuse_cycles()

    def __len__(self) -> int:
        return len(self._begins) - 1

    def __getitem__(self, number: int) -> Task:
        self._check(number)
        row = self._row(number)[:-1]
        row[_ARGS], row[_AFTER] = tuple(row[_ARGS]), tuple(row[_AFTER])
        return Task(*row)

    def _check(self, number: int) -> None:
        if not 0 <= number < len(self):
            raise IndexError(f"there is no task {number} of {len(self)}")

    def _row(self, number: int) -> list[Any]:
        row: list[Any] = loads(self._read(number))
        return row

    def _read(self, number: int, most: int | None = None) -> bytes:
        begin, end = self._begins[number], self._begins[number + 1]
        return self._spool.read(begin, end - begin if most is None else min(most, end - begin))

    def _refuse_repeated(self, index: array[int]) -> None:
        alike = {
            entry & _LOW
            for pair in pairwise(index)
            if pair[0] >> _BITS == pair[1] >> _BITS
            for entry in pair
        }
        first: dict[str, int] = {}
        for number in sorted(alike):
            identifier = self._row(number)[0]
            if first.setdefault(identifier, number) != number:
                complaint = f"identifier: task {first[identifier]} has the same"
                raise self._refusal(number, complaint)

    def _numbers(self, number: int, index: array[int]) -> tuple[int, ...]:
        found: dict[int, None] = {}
        for place, name in enumerate(self._row(number)[_AFTER]):
            other = self._find(name, index)
            if other is None:
                complaint = f"after[{place}]: there is no task {describe(name)}"
                raise self._refusal(number, complaint)
            found[other] = None
        return tuple(found)

    def _find(self, identifier: str, index: array[int]) -> int | None:
        wanted = _bits(identifier)
        beginning = _encode([identifier])[:-1].encode() + b","
        place = bisect_left(index, wanted)
        while place < len(index) and index[place] >> _BITS == wanted >> _BITS:
            number = index[place] & _LOW
            if self._read(number, len(beginning)) == beginning:  # the rest may be megabytes
                return number
            place += 1
        return None

    def _refuse_cycles(self) -> None:
        cycle = _find_cycle(self.after, len(self))
        if not cycle:
            return
        names = [self._row(number)[0] for number in cycle[:_MOST_OF_A_CYCLE]]
        if len(cycle) > _MOST_OF_A_CYCLE:
            names += ["…", self._row(cycle[-1])[0]]
        shown = " -> ".join(name if name.isprintable() else repr(name) for name in names)
        raise self._refusal(cycle[0], f"after: it would wait for itself: {shown}")

    def _refusal(self, number: int, complaint: str) -> InvalidConfig:
        identifier, *_, line = self._row(number)
        return refusal(self._source, line, number, identifier, complaint)

    def key(self, number: int) -> str:
        """32 hexadecimal digits that stand for what the task does, and for all it comes after.

        BLAKE2b (RFC 7693) of its content; timeout and retries are no part of that.
        """
        self._check(number)
        self._keys = self._keys or bytearray(_KEY_SIZE * len(self))
        wanted = [number]
        while wanted:
            at = wanted.pop()
            if self._key(at) != _NO_KEY:
                continue
            missing = [n for n in self.after.get(at, ()) if self._key(n) == _NO_KEY]
            if missing:
                wanted += [at, *missing]
            else:
                self._keys[_KEY_SIZE * at : _KEY_SIZE * (at + 1)] = self._digest(at)
        return self._key(number).hex()

    def _key(self, number: int) -> bytes:
        return bytes(self._keys[_KEY_SIZE * number : _KEY_SIZE * (number + 1)])

    def _digest(self, number: int) -> bytes:
        from hashlib import blake2b  # noqa: PLC0415 - 5 ms that pools without a journal do not need

        content = self._row(number)[:_CONTENT]
        before = sorted(self._key(n).hex() for n in self.after.get(number, ()))
        return blake2b(
            _encode_canonically([*content, before]).encode(), digest_size=_KEY_SIZE
        ).digest()

    def close(self) -> None:
        """Give up what it holds."""
        self._spool.close()


def _as_read(tasks: Iterable[Task]) -> Iterator[tuple[int, object]]:
    for task in tasks:
        is_task = isinstance(task, Task)  # who calls this need not run a type checker
        yield 0, dict(zip(FIELDS, _fields_of(task), strict=True)) if is_task else task


def _bits(identifier: str) -> int:
    return (hash(identifier) & _LOW) << _BITS


def _find_cycle(after: Mapping[int, tuple[int, ...]], count: int) -> list[int]:
    """Tasks that come each after the next one, and the last is the first; none if there is none."""
    state = bytearray(count)
    for start in after:
        path = [(start, iter(after[start]))] if state[start] == _NEW else []
        while path:
            number, others = path[-1]
            state[number] = _ON_PATH
            other = next((n for n in others if state[n] != _DONE), None)
            if other is None:
                state[number] = _DONE
                path.pop()
            elif state[other] == _ON_PATH:
                numbers = [n for n, _ in path]
                return [*numbers[numbers.index(other) :], other]
            else:
                path.append((other, iter(after.get(other, ()))))
    return []
