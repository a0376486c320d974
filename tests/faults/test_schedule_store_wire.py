"""A look whose COMMIT was not answered: what it began is found again, once."""

from itertools import count

import pytest

from instrumentation.errors import WriteError
from tests.kit.schedule_stores import T0, Hand, S, every_second, single
from tests.kit.wire import Fault, Faults, Script, WireProxy
from workermanager.database.schedule_store import ScheduleStore


@pytest.fixture
def through(postgres, make_postgres_url):
    """Opens a store behind a wire that breaks as a schedule of faults says."""
    opened = []

    def through(schedule, url=None):
        proxy = WireProxy(("127.0.0.1", postgres.port), schedule)
        proxy.__enter__()
        opened.append((proxy, None))
        store = ScheduleStore(proxy.url(url or make_postgres_url()))
        opened[-1] = (proxy, store)
        return Hand(store)

    yield through
    for proxy, store in opened:
        if store is not None:
            store.close()
        proxy.__exit__(None, None, None)


@pytest.fixture
def broken(through):
    """A store and the list of the faults that come at its next COMMITs."""
    faults = []
    return through(Script(faults.pop(0) if faults else None for _ in count())), faults


@pytest.mark.parametrize("fault", Fault)
def test_what_began_is_found_again_by_the_look_itself(broken, fault):
    hand, faults = broken
    hand.enroll(single(), every_second())
    first = hand.look(T0, "once").starts
    faults.append(fault)
    findings = hand.look(T0 + S, "tick", ended=first)
    assert ([fire.schedule for fire in findings.starts], findings.fenced) == (["tick"], [])
    assert hand.counts("once") == {"due": 1, "ran": 1}
    assert hand.counts("tick") == {"due": 1, "running": 1}


@pytest.mark.parametrize("fault", Fault)
def test_what_began_is_found_again_by_the_next_look(broken, fault):
    hand, faults = broken
    hand.enroll(single(), every_second("tick"), every_second("tock"))
    first = hand.look(T0, "once").starts
    hand.store._database.transactions._patience_s = 0
    faults.append(fault)
    with pytest.raises(WriteError):
        hand.look(T0 + S, "tick", ended=first)
    hand.enroll(every_second("tack"))  # it does not hide what became of the look
    findings = hand.look(T0 + S, "tick", "tock", ended=first)
    assert ([fire.schedule for fire in findings.starts], findings.fenced) == (["tick", "tock"], [])
    assert hand.counts("once") == {"due": 1, "ran": 1}
    assert hand.look(T0 + S, "tick", "tock").starts == []


def test_whoever_enters_itself_anew_does_not_take_a_look_that_failed_for_done(broken, through):
    hand, faults = broken
    hand.enroll(every_second())
    hand.store._database.transactions._patience_s = 0
    faults.append(Fault.CUT_BEFORE)
    with pytest.raises(WriteError):
        hand.look(T0 + S, "tick")
    hand.store._run(lambda connection: hand.store._tables.drop_node(connection, hand.store.node))
    hand.enroll(every_second())
    assert len(hand.look(T0 + S, "tick").starts) == 1
    assert hand.counts("tick") == {"due": 1, "running": 1}


def test_requests_and_removals_are_done_once(broken):
    hand, faults = broken
    hand.enroll(every_second())
    for fault in Fault:
        faults.append(fault)
        asked = hand.store.request("tick", T0 + 7)
        assert hand.look(T0 + 8, "tick").starts == [asked]
        hand.look(T0 + 8, ended=[asked])
    assert hand.counts("tick") == {"due": 4, "ran": 4}
    for fault in Fault:
        hand.enroll(every_second("other"))
        faults.append(fault)
        hand.store.remove("other")


def test_with_any_faults_two_processes_begin_each_fire_once(through, make_postgres_url):
    url, faults = make_postgres_url(), [Faults(1), Faults(2)]
    hands = [through(one, url) for one in faults]
    for hand in hands:
        hand.enroll(every_second(overlap="queue", misfire="all"))
    began, fires = [], [[], []]
    for n in range(1, 101):
        for number, hand in enumerate(hands):
            findings = hand.look(T0 + n * S, "tick", ended=fires[number])
            assert findings.fenced == []
            fires[number] = findings.starts
            began += [fire.due for fire in findings.starts]
    for number, hand in enumerate(hands):
        hand.store.leave([], T0) if not fires[number] else hand.look(T0, ended=fires[number])
    assert began == sorted(set(began))
    assert sum(sum(one.injected.values()) for one in faults) > 10
    assert hands[0].counts("tick").get("ran") == len(began)
