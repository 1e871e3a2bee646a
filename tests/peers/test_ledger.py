"""Who is silent, who is stuck, and who only waits."""

from nanojaxlm.peers.ledger import Ledger, Limits, Whereabouts, Who

LIMITS = Limits(start=10, silence=2, stall=2, patience=60)


def whereabouts(now, marks, still=0.0, limit=2.0):
    return {
        i: Whereabouts(mark, f"step {mark}", limit, now - still, now)
        for i, mark in enumerate(marks)
    }


def ledger(where):
    who = {i: Who(i, f"host{i}", 100 + i) for i in where}
    return Ledger(LIMITS, len(where), who, where)


def test_all_is_well_while_words_come_and_threads_move():
    assert ledger(whereabouts(1000.0, [5, 4, 5])).verdict(1000.0) is None
    assert ledger(whereabouts(1000.0, [5, 4, 5], still=1.9)).verdict(1000.0) is None


def test_the_silent_one_is_named_with_the_place_it_was_last_at():
    where = whereabouts(1000.0, [5, 4, 5])
    where[2].heard = 997.5
    verdict = ledger(where).verdict(1000.0)
    assert verdict == "process 2 (host host2, pid 102) is silent for 2 s, last heard of at step 5"


def test_the_one_behind_is_stuck_and_not_those_that_wait_for_it():
    verdict = ledger(whereabouts(1000.0, [6, 5, 7], still=3.0)).verdict(1000.0)
    assert verdict is not None
    assert verdict.startswith("process 1 (host host1, pid 101) is stuck: at step 5 for 3 s")
    assert "wait at step 7" in verdict


def test_one_that_moves_is_not_stuck_however_far_behind():
    where = whereabouts(1000.0, [9, 2, 9], still=50.0)
    where[1].since = 999.0
    assert ledger(where).verdict(1000.0) is None


def test_the_limit_that_counts_is_that_of_the_one_behind():
    where = whereabouts(1000.0, [9, 8, 9], still=50.0)
    where[1] = Whereabouts(8, "saving", 60.0, 950.0, 1000.0)
    assert ledger(where).verdict(1000.0) is None
    where[1].since = 930.0
    verdict = ledger(where).verdict(1000.0)
    assert verdict is not None and "process 1" in verdict and "saving for 70 s" in verdict


def test_where_none_is_behind_no_process_is_blamed():
    verdict = ledger(whereabouts(1000.0, [7, 7, 7], still=3.0)).verdict(1000.0)
    assert verdict is not None and verdict.startswith("all 3 processes stand still at step 7")
