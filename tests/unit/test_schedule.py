from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from workermanager.processes.schedule import Schedule, Turn


def taken(schedule, now=0):
    turns = []
    while (turn := schedule.take(now)) is not None:
        turns.append(turn)
    return turns


def test_tasks_come_in_the_order_of_the_input():
    assert [turn.number for turn in taken(Schedule(3, {}))] == [0, 1, 2]


def test_nothing_comes_of_nothing():
    assert Schedule(0, {}).take(0) is None


def test_a_task_waits_for_all_that_it_comes_after():
    schedule = Schedule(3, {2: (0, 1)})
    assert [turn.number for turn in taken(schedule)] == [0, 1]
    schedule.end(1, is_ok=True)
    assert taken(schedule) == []
    schedule.end(0, is_ok=True)
    assert taken(schedule) == [Turn(2, 1)]


def test_a_task_may_come_after_one_that_stands_below_it():
    schedule = Schedule(2, {0: (1,)})
    assert taken(schedule) == [Turn(1, 1)]
    schedule.end(1, is_ok=True)
    assert taken(schedule) == [Turn(0, 1)]


def test_what_ends_before_its_dependent_was_reached_does_not_double_it():
    schedule = Schedule(3, {2: (0,)})
    assert schedule.take(0) == Turn(0, 1)
    schedule.end(0, is_ok=True)
    assert taken(schedule) == [Turn(1, 1), Turn(2, 1)]


def test_the_blocker_is_the_first_that_is_named_whichever_failed_first():
    schedule = Schedule(4, {3: (1, 0, 2)})
    assert len(taken(schedule)) == 3
    for number in (2, 0, 1):
        schedule.end(number, is_ok=False)
    assert taken(schedule) == [Turn(3, 1, blocker=1)]


def test_one_name_twice_is_waited_for_once():
    schedule = Schedule(2, {1: (0, 0)})
    taken(schedule)
    schedule.end(0, is_ok=True)
    assert taken(schedule) == [Turn(1, 1)]


def test_a_further_attempt_comes_when_its_time_has_come_and_before_what_has_not_begun():
    schedule = Schedule(2, {})
    assert schedule.take(0) == Turn(0, 1)
    schedule.retry(0, 2, 100)
    assert schedule.next_ns == 100
    assert schedule.take(100) == Turn(0, 2)
    assert schedule.next_ns is None
    schedule.retry(0, 3, 300)
    assert schedule.take(299) == Turn(1, 1)
    assert schedule.take(299) is None
    assert schedule.take(300) == Turn(0, 3)


def test_what_could_not_begin_is_the_next_one_again():
    schedule = Schedule(2, {})
    turn = schedule.take(0)
    schedule.put_back(turn)
    assert taken(schedule) == [turn, Turn(1, 1)]


@st.composite
def graphs(draw):
    """Tasks that come after others, in an input order that has nothing to do with it."""
    count = draw(st.integers(1, 12))
    order = draw(st.permutations(range(count)))
    after = {}
    for place, number in enumerate(order):
        others = draw(st.lists(st.sampled_from(order[:place]), max_size=4)) if place else []
        if others:
            after[number] = tuple(others)
    return count, after


@settings(max_examples=300, deadline=None)
@given(graphs(), st.data())
def test_every_task_comes_once_and_after_all_that_it_waits_for(graph, data):
    count, after = graph
    schedule = Schedule(count, after)
    running, ended, seen = [], {}, Counter()
    while True:
        turn = schedule.take(0)
        if turn is not None:
            seen[turn.number] += 1
            others = after.get(turn.number, ())
            assert all(other in ended for other in others)
            assert turn.blocker == next((one for one in others if not ended[one]), None)
            running.append(turn.number)
        if running and (turn is None or data.draw(st.booleans())):
            number = running.pop(data.draw(st.integers(0, len(running) - 1)))
            ended[number] = data.draw(st.booleans())
            schedule.end(number, is_ok=ended[number])
        elif turn is None:
            break
    assert seen == Counter(range(count))
