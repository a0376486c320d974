"""What a process pool may do: it follows a log of what one did, and refuses what may not be.

Each line of the log is one event, in the order in which they happened::

    begun ID N CHILDREN   the pool is about to begin an attempt, and has so many children
    no-room               that could not be started for the moment
    + ID N                the attempt's program runs; if it hangs, it has written all
    - ID N                and is at its end
    ended ID              the pool has the task's result
    stop, kill            the pool was told to

Where it is a matter of moments what becomes of a task, every outcome that may be is one.
"""

import base64
import codecs
import signal
from collections import Counter
from dataclasses import dataclass, field

OK = "ok"
FAILURES = {"failed", "signaled", "timeout"}
OUTPUTS = {
    "none": b"",
    "line": b"a line\n",
    "eleven": b"0123456789\n",
    "text": "grüße, 猫 und \U0001f600\n".encode(),
    "bytes": b"\xff\xfe\0\x80 no text",
    "half": b"half a character \xe2\x82",
    "much": b"0123456789abcde\n" * 5_000,
    "wide": "€".encode() * 25_000,
}
BYE = b"bye\n"
BYE_CODE = 5
PATIENCE_S = 20


@dataclass(frozen=True)
class Act:
    """What one attempt does, and which of the OUTPUTS it writes before.

    ``ends``: ``exits`` or is ``signaled`` with a ``number``, is ``absent``, is a ``plain`` file, or
    ``hangs``: until SIGTERM, which it ``hears`` as most do (``dies``), with a trap that ``exits``,
    or never (``ignores``). It ``holds`` its output open if something is left behind that does.
    """

    ends: str = "exits"
    number: int = 0
    output: str = "none"
    error: str = "none"
    hears: str = "dies"
    holds: bool = False

    @property
    def streams(self):
        return (OUTPUTS[self.output], OUTPUTS[self.error])

    @property
    def is_started(self):
        return self.ends not in {"absent", "plain"}

    def natural(self):
        """How it ends if nobody stops it: status, exit code, signal."""
        match self.ends:
            case "exits":
                return ("failed" if self.number else OK, self.number, None)
            case "signaled":
                return ("signaled", 128 + self.number, self.number)
            case "absent":
                return ("not_started", 127, None)
            case "plain":
                return ("not_started", 126, None)
        return ("timeout", 124, ...)

    def told(self, is_seen, may_be_killed):
        """Exit codes and signals that may come of being told to end.

        ``is_seen``: its program ran before that. One that was about to end by itself may do so.
        """
        killed = {(128 + signal.SIGKILL, signal.SIGKILL)}
        ends = {(128 + signal.SIGTERM, signal.SIGTERM)}
        if self.ends != "hangs":
            return {self.natural()[1:]} | ends | killed
        if self.hears == "ignores":
            return killed if is_seen else ends | killed
        if self.hears == "exits":
            ends = {(BYE_CODE, None)} if is_seen else ends | {(BYE_CODE, None)}
        return ends | killed if may_be_killed else ends


@dataclass
class Plan:
    """One task: what it comes after, and what each of its attempts does; further ones as the last.

    ``hang_s`` is how long an attempt may take at least, if it hangs.
    """

    identifier: str
    acts: list
    retries: int = 0
    after: tuple = ()
    always: bool = False
    hang_s: float = 0.0

    def act(self, attempt):
        return self.acts[min(attempt, len(self.acts)) - 1]


@dataclass
class State:
    """How far a task has come."""

    attempts: int = 0
    is_running: bool = False
    is_seen: bool = False
    is_through: bool = False
    result: dict | None = None


@dataclass
class Model:
    """``plans`` in the order of the input; ``results`` are by identifier, as JSON has them."""

    plans: list
    results: dict
    slots: int
    max_output: int
    grace_s: float
    halt: str | None = None
    may_be_killed: bool = False
    closed: str = ""
    is_killed: bool = False
    counts: Counter = field(default_factory=Counter)

    def __post_init__(self):
        self.states = {plan.identifier: State() for plan in self.plans}
        self.by_name = {plan.identifier: plan for plan in self.plans}

    def follow(self, lines):
        self.last = None
        for line in lines:
            event, *words = line.split()
            EVENTS[event](self, *words)
        assert all(state.result for state in self.states.values())
        assert not any(state.is_running for state in self.states.values())

    # What a pool does

    def begun(self, name, attempt, children):
        plan, state = self.by_name[name], self.states[name]
        attempt = int(attempt)
        assert not self.closed, f"{name} begins after {self.closed}"
        assert state.result is None
        assert attempt == state.attempts + 1
        assert int(children) < self.slots
        if attempt > 1:
            assert state.is_through or plan.act(state.attempts).ends == "hangs"
            assert plan.act(state.attempts).natural()[0] in FAILURES
            assert state.attempts <= plan.retries
        assert all(self.states[other].result for other in plan.after)
        assert plan.always or self.blocker(plan) is None
        if not any(one.after for one in self.plans):
            earlier = self.plans[: self.plans.index(plan)]
            assert all(self.states[one.identifier].attempts for one in earlier)
        state.attempts, state.is_running = attempt, True
        state.is_seen = state.is_through = False
        self.last = state

    def no_room(self):
        self.last.attempts -= 1
        self.last.is_running = False
        self.last.is_through = True  # as is an attempt before it

    def seen(self, name, attempt):
        state = self.states[name]
        assert state.is_running
        assert state.attempts == int(attempt)
        state.is_seen = True

    def through(self, name, attempt):
        state = self.states[name]
        assert state.is_seen
        assert state.attempts == int(attempt)
        state.is_through = True

    def ended(self, name):
        plan, state, result = self.by_name[name], self.states[name], self.results[name]
        assert state.result is None, f"{name} has ended before"
        found = (result["status"], result["exit_code"], result["signal"], result["attempts"])
        allowed = set(self.outcomes(plan, state))
        assert found in allowed, f"{name}: {found} is none of {allowed}"
        act = plan.act(state.attempts)
        is_idle = result["status"] in {"skipped", "not_started"} or found[:2] == ("cancelled", 125)
        if is_idle and not result["duration_ms"]:  # else 125 is its own
            assert result["reason"]
            assert shown(b"", b"", 1) == what_is_shown(result)
        else:
            self.check_words(plan, act, result)
            self.check_output(act, state, result)
        if result["status"] == "skipped":
            blocker = self.blocker(plan)
            assert repr(blocker["identifier"]) in result["reason"]
            assert blocker["status"] in result["reason"]
        state.result, state.is_running = result, False
        self.counts[result["status"]] += 1
        if self.halt and self.is_halted():
            self.closed = self.closed if self.closed == "now" else self.halt.partition(",")[0]

    def stop(self):
        self.closed = "now"

    def kill(self):
        self.closed = "now"
        self.is_killed = True

    # What may be

    def outcomes(self, plan, state):
        """Status, exit code, signal and attempts, all that there may be."""
        act = plan.act(state.attempts)
        is_retried = False
        if state.attempts:
            is_retried = act.natural()[0] in FAILURES and state.attempts <= plan.retries
        if state.is_running:
            status, exit_code, number = act.natural()
            told = act.told(state.is_seen, self.may_be_killed or self.is_killed)
            is_final = not is_retried or self.closed
            if is_final and act.ends == "hangs":
                yield from ((status, exit_code, number, state.attempts) for _, number in told)
            elif is_final and (state.is_through or not act.is_started):
                yield (status, exit_code, number, state.attempts)
            if self.closed == "now" and act.is_started:
                yield from (("cancelled", *how, state.attempts) for how in told)
        if self.closed and (is_retried or not state.attempts):
            yield ("cancelled", 125, None, state.attempts)
        if not state.attempts and not plan.always and self.blocker(plan) is not None:
            yield ("skipped", 125, None, 0)

    def blocker(self, plan):
        """The first that was not ok, once all have ended."""
        results = [self.states[other].result for other in plan.after]
        if not all(results):
            return None
        return next((one for one in results if one["status"] != OK), None)

    def is_halted(self):
        failed = sum(self.counts[status] for status in (*FAILURES, "not_started"))
        limit = self.halt.partition("=")[2]
        if limit.endswith("%"):
            return failed * 100 >= int(limit[:-1]) * len(self.plans)
        return failed >= int(limit)

    def check_words(self, plan, act, result):
        """The reason, and the time it took."""
        if act.holds:
            assert self.closed or "held its output open" in result["reason"]
        else:
            assert (result["status"] == "cancelled") == (result["reason"] is not None)
        assert result["duration_ms"] > 0
        if result["status"] == "timeout":
            least = plan.hang_s
            if result["signal"] == signal.SIGKILL and not self.is_killed:
                least += self.grace_s
            assert least <= result["duration_ms"] / 1000 < plan.hang_s + self.grace_s + PATIENCE_S

    def check_output(self, act, state, result):
        """All that it wrote if it came so far, else a piece of it."""
        found, (output, error) = what_is_shown(result), act.streams
        if act.ends == "hangs" and state.is_seen:
            bye = BYE if result["signal"] is None else b""
            assert found == shown(output + bye, error, self.max_output)
        elif state.is_through:
            assert found == shown(output, error, self.max_output)
        else:
            encoding, *bodies, _ = found
            decode = base64.b64decode if encoding == "base64" else str.encode
            pieces = [decode(body) for body in bodies]
            bye = BYE if act.hears == "exits" else b""  # if it had no time to say that it runs
            for piece, whole in zip(pieces, (output + bye, error), strict=True):
                assert whole[: self.max_output].startswith(piece)
            if encoding == "base64":
                assert None in [text(piece, len(piece)) for piece in pieces]


EVENTS = {
    "begun": Model.begun,
    "no-room": Model.no_room,
    "+": Model.seen,
    "-": Model.through,
    "ended": Model.ended,
    "stop": Model.stop,
    "kill": Model.kill,
}


def what_is_shown(result):
    return tuple(result[key] for key in ("encoding", "result_body", "stderr", "truncated"))


def shown(output, error, limit):
    """What a result has of two streams: encoding, bodies, and whether bytes were lost."""
    texts = [text(stream, limit) for stream in (output, error)]
    is_truncated = max(len(output), len(error)) > limit
    if None not in texts:
        return ("utf-8", *texts, is_truncated)
    coded = [base64.b64encode(stream[:limit]).decode() for stream in (output, error)]
    return ("base64", *coded, is_truncated)


def text(stream, limit):
    """As text, without a character that the limit has cut in two; None if it is none."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(stream[:limit], len(stream) <= limit)
    except UnicodeDecodeError:
        return None
