"""Every frame has one fate, in every snapshot; no ROS is needed."""

from __future__ import annotations

import random
import sys
import threading
import time

import pytest

from contextnet_ros.ros.frames import FrameCounts, NewestFrame, SequenceGaps


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
