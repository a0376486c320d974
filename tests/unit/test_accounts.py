import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrumentation.errors import AccountingError
from workermanager.accounts import check, close, is_cut

OUTCOMES = ("ok", "failed", "dropped", "expired", "interrupted")
UNFINISHED = ("running", "queued")


def account(**counts):
    parts = {name: counts.get(name, 0) for name in (*UNFINISHED, *OUTCOMES)}
    return {"due": counts.get("due", sum(parts.values())), **parts}


ACCOUNTS = st.fixed_dictionaries(
    {name: st.integers(0, 1_000) for name in (*UNFINISHED, *OUTCOMES)}
).map(lambda parts: account(**parts))


def check_stopped(counts):
    check(counts, planned=None, is_stopped=True, has_left=True)


@given(ACCOUNTS)
def test_counts_that_add_up_pass(counts):
    check_stopped(counts)


@given(ACCOUNTS, st.sampled_from(["due", *UNFINISHED, *OUTCOMES]), st.sampled_from([-1, 1, 17]))
def test_an_exec_missing_or_counted_twice_anywhere_is_found(counts, name, error):
    wrong = {**counts, name: counts[name] + error}
    with pytest.raises(AccountingError, match="accounted for"):
        check_stopped(wrong)


def test_the_refusal_shows_both_sums_and_all_counts():
    with pytest.raises(AccountingError, match=r"^10 execs were due, 9 accounted for: .*'ok': 9"):
        check(account(due=10, ok=9), planned=10, is_stopped=False, has_left=False)


def test_nothing_may_run_at_the_end():
    with pytest.raises(AccountingError, match="2 execs neither ended nor run"):
        check(account(ok=8, running=2), planned=10, is_stopped=True, has_left=False)


def test_execs_that_were_left_behind_may_still_run():
    check(account(ok=8, running=2), planned=10, is_stopped=True, has_left=True)


def test_nothing_may_wait_at_the_end_of_a_run_that_was_not_stopped():
    with pytest.raises(AccountingError, match="not all ended"):
        check(account(ok=8, queued=2), planned=10, is_stopped=False, has_left=False)


def test_every_planned_exec_must_have_been_due_unless_the_run_was_stopped():
    short = account(ok=8)
    check(short, planned=10, is_stopped=True, has_left=False)
    with pytest.raises(AccountingError, match="10 execs were planned"):
        check(short, planned=10, is_stopped=False, has_left=False)


@given(ACCOUNTS)
def test_closing_calls_interrupted_what_never_started_or_never_came_back(counts):
    closed = close(counts)
    unfinished = counts["running"] + counts["queued"]
    assert closed["interrupted"] == counts["interrupted"] + unfinished
    assert not set(UNFINISHED) & set(closed)


@given(ACCOUNTS)
def test_closed_accounts_still_add_up(counts):
    closed = close(counts)
    assert sum(closed[name] for name in OUTCOMES) == closed["due"] == counts["due"]


def test_closing_leaves_the_open_account_as_it_was():
    counts = account(ok=1, running=1)
    before = dict(counts)
    close(counts)
    assert counts == before


@pytest.mark.parametrize(
    ("counts", "planned", "cut"),
    [
        (account(ok=8, failed=1, dropped=1), 10, False),
        (account(ok=9, interrupted=1), 10, True),
        (account(ok=9), 10, True),
        (account(ok=9), None, True),
    ],
    ids=["all had an outcome", "one was interrupted", "one was never due", "no end but a stop"],
)
def test_a_run_is_cut_unless_every_planned_exec_had_its_outcome(counts, planned, cut):
    assert is_cut(close(counts), planned) is cut
