"""Every frame has one fate, in every snapshot; no ROS is needed."""

from __future__ import annotations

import random
import sys
import threading
import time

import pytest

from contextnet_ros.ros.frames import FrameCounts, NewestFrame, Pace, SequenceGaps, Turns, total


def fates(counts):
    return counts.superseded + counts.bad + counts.published + counts.pending


def test_the_newest_frame_supersedes_the_one_that_waits():
    newest = NewestFrame(lambda: None)
    for frame in "abc":
        newest.receive(frame)
    assert newest.take() == "c"
    counts = newest.counts()
    assert (counts.received, counts.superseded, counts.pending) == (3, 2, 1)


def test_the_frame_in_hand_is_never_superseded():
    newest = NewestFrame(lambda: None)
    newest.receive("first")
    assert newest.take() == "first"
    newest.receive("second")
    assert newest.counts() == FrameCounts(received=2, pending=2)
    newest.finish_published()
    assert newest.take() == "second"
    newest.finish_bad("segmentation", "out of memory")
    assert newest.counts() == FrameCounts(
        received=2,
        published=1,
        bad=1,
        bad_reasons={"segmentation": 1},
        last_bad="out of memory",
    )


def test_a_bad_frame_does_not_supersede_a_good_one():
    newest = NewestFrame(lambda: None)
    newest.receive("good")
    newest.receive_bad("short_data", "data has 3 bytes", not_taken=4)
    counts = newest.counts()
    assert (counts.superseded, counts.bad, counts.not_taken) == (0, 1, 4)
    assert newest.take() == "good"


def test_nothing_waits_after_it_was_taken():
    newest = NewestFrame(lambda: None)
    assert newest.take() is None
    newest.receive("only")
    newest.take()
    newest.finish_published()
    assert newest.take() is None


def test_it_wakes_only_when_a_frame_comes_to_wait_where_none_did():
    woken = []
    newest = NewestFrame(lambda: woken.append(1))
    newest.receive("a")
    newest.receive("b")
    assert len(woken) == 1
    newest.receive_bad("zero_size", "")
    assert len(woken) == 1
    newest.take()
    newest.receive("c")
    assert len(woken) == 2


def test_taking_a_second_frame_or_finishing_none_is_an_error():
    newest = NewestFrame(lambda: None)
    with pytest.raises(RuntimeError, match="no frame is in hand"):
        newest.finish_published()
    newest.receive("a")
    newest.take()
    newest.receive("b")
    with pytest.raises(RuntimeError, match="not met its fate"):
        newest.take()


@pytest.fixture
def frequent_switches():
    """Make the interpreter change threads often, so that one that must meet others does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("frequent_switches")
def test_the_sum_holds_in_every_snapshot_while_two_threads_work():
    newest = NewestFrame(lambda: None)
    received_all = threading.Event()
    wrong = []

    def receive():
        chance = random.Random(1)
        for number in range(500):
            if chance.random() < 0.2:
                newest.receive_bad(chance.choice("ab"), "bad")
            else:
                newest.receive(number)
            time.sleep(0)
        received_all.set()

    def work():
        chance = random.Random(2)
        while not received_all.is_set() or newest.counts().pending:
            if newest.take() is None:
                continue
            if chance.random() < 0.5:
                newest.finish_published()
            else:
                newest.finish_bad("c", "bad")

    threads = [threading.Thread(target=receive), threading.Thread(target=work)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        counts = newest.counts()
        if counts.received != fates(counts) or counts.bad != sum(counts.bad_reasons.values()):
            wrong.append(counts)
    for thread in threads:
        thread.join()
    assert wrong == []
    counts = newest.counts()
    assert counts.received == 500
    assert counts.pending == 0
    assert counts.published > 0


def test_the_summary_line_names_every_fate():
    counts = FrameCounts(9, 4, 2, 2, 1, 3, {"short_data": 2})
    assert str(counts) == (
        "received 9 = superseded 4 + bad 2 (short_data 2) + published 2 + pending 1; not taken 3"
    )


def test_gaps_are_counted_per_publisher_and_a_restart_is_none():
    gaps = SequenceGaps()
    seen = [("a", 5), ("b", 1), ("a", 6), ("a", 9), ("b", 4), ("a", 1), ("a", 2)]
    assert [gaps.missing_before(*one) for one in seen] == [0, 0, 0, 2, 2, 0, 0]


def test_numbers_from_before_a_message_of_unknown_origin_tell_no_gap():
    gaps = SequenceGaps()
    assert gaps.missing_before("the only one", 11) == 0
    # Two publishers, whose numbers can't be told apart.
    gaps.forget()
    assert gaps.missing_before("the only one", 311) == 0
    assert gaps.missing_before("the only one", 313) == 1


def test_it_is_idle_only_when_nothing_waits_and_nothing_is_worked_on():
    newest = NewestFrame(lambda: None)
    assert newest.wait_idle(0)
    newest.receive("a")
    assert newest.waits()
    assert not newest.wait_idle(0)
    newest.take()
    assert not newest.waits()
    assert not newest.wait_idle(0)
    newest.finish_published()
    assert newest.counts().pending == 0
    assert not newest.wait_idle(0)
    finisher = threading.Timer(0.05, newest.done)
    finisher.start()
    assert newest.wait_idle(60)
    finisher.join()


def test_turns_go_round_and_pass_over_who_is_not_ready():
    turns = Turns(3)
    assert [turns.next([True] * 3) for _ in range(4)] == [0, 1, 2, 0]
    assert turns.next([True, False, True]) == 2
    assert turns.next([False, True, False]) == 1
    assert turns.next([False] * 3) is None
    assert turns.next([True, True, False]) == 0


@pytest.mark.parametrize(("camera_hz", "limit_hz"), [(30, 20), (30, 10), (30, 7), (10, 20)])
def test_a_rate_is_held_on_average_whatever_the_cameras_period(camera_hz, limit_hz):
    pace = Pace()
    now_s, taken_s = 100.0, []
    for number in range(30 * camera_hz):
        now_s = 100.0 + number / camera_hz
        if pace.due_in_s(now_s, limit_hz) <= 1e-9:
            pace.taken(now_s, limit_hz)
            taken_s.append(now_s)
    assert len(taken_s) == pytest.approx(30 * min(camera_hz, limit_hz), abs=2)


def test_without_a_limit_every_frame_is_due_and_a_raised_one_holds_at_once():
    pace = Pace()
    pace.taken(0.0, 0.1)
    assert pace.due_in_s(1.0, 0.1) == pytest.approx(9.0)
    assert pace.due_in_s(1.0, 10.0) == pytest.approx(0.1)
    assert pace.due_in_s(1.0, 0.0) == 0


def test_the_total_is_the_sum_of_every_count():
    one = FrameCounts(9, 4, 2, 2, 1, 3, {"short_data": 2}, "data has 3 bytes")
    two = FrameCounts(5, 0, 3, 2, 0, 1, {"short_data": 1, "zero_size": 2}, "0 x 0")
    counts = total([one, two])
    assert counts == FrameCounts(
        14, 4, 5, 4, 1, 4, {"short_data": 3, "zero_size": 2}, "data has 3 bytes"
    )
    assert counts.received == fates(counts)
