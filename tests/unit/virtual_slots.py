"""Slots in virtual time: what threads do with a Cursor, without threads and without waiting."""

from heapq import heappop, heappush, heapreplace
from math import inf


class Slots:
    """A number of slots that take from a cursor as the pool's threads do.

    A slot that is done asks at once; one that gets nothing is idle, and the first of the idle ones
    asks again when the next arrival is due. ``service`` tells how long exec n takes. ``started``
    has when each exec started and ``taken_at`` when it was handed out, in the order of handing out;
    ``watch`` is called with the moment after every event.
    """

    def __init__(self, cursor, slots, service, most=1):
        self.cursor = cursor
        self.idle = slots
        self.now = 0
        self.started = {}
        self.taken_at = []
        self.watch = lambda _now: None
        self.service = service
        self.slots = slots
        self._most = most
        self._busy = []

    def run(self, until=None):
        """Go from event to event until nothing happens any more, or until a moment."""
        self._wake()
        while (event := self._next_event()) is not None and (until is None or event <= until):
            self.now = event
            if self._busy and self._busy[0] == event:
                heappop(self._busy)
                if not self._ask():
                    self.idle += 1
            self._wake()
            self.watch(event)
        return self

    def _next_event(self):
        events = self._busy[:1]
        if self.idle and (due := self.cursor.next_due()) is not None:
            events.append(due)
        return min(events, default=None)

    def _wake(self):
        while self.idle and self._ask():
            self.idle -= 1

    def _ask(self):
        batch = self.cursor.take(self.now, self.idle, self._most)
        if batch is None:
            return False
        end = self.now
        for n in batch:
            assert n not in self.started, f"{n} was handed out twice"
            self.started[n] = end
            self.taken_at.append((n, self.now))
            end += self.service(n)
        heappush(self._busy, end)
        return True


def started_in_theory(moments, slots, service, limit=inf):
    """First come, first served on a number of slots: when each n starts that is not too late."""
    free, starts = [0] * slots, {}
    for n, due in enumerate(moments):
        start = max(due, free[0])
        if start - due <= limit:
            heapreplace(free, start + service(n))
            starts[n] = start
    return starts
