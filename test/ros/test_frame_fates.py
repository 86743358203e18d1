from __future__ import annotations

import dataclasses

import pytest

from contextnet_ros.ros.frame_fates import FrameFates, latency, monitor_faults, node_counts

WHOLE = FrameFates(
    in_bag=20,
    sent=18,
    not_sent=2,
    received=15,
    superseded=4,
    bad=1,
    published=9,
    pending=1,
    monitored=7,
)


def test_sums_that_hold_are_no_fault_and_tell_what_was_lost() -> None:
    assert WHOLE.broken() == []
    assert (WHOLE.not_taken, WHOLE.lost_out) == (3, 2)
    counts = WHOLE.to_dict()
    assert counts["in_bag"] == counts["sent"] + counts["not_sent"]
    assert counts["sent"] == counts["received"] + counts["not_taken"]
    assert counts["published"] == counts["monitored"] + counts["lost_out"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"not_sent": 1}, "in_bag 20 = sent 18 + not_sent 1"),
        ({"sent": 14, "not_sent": 6}, "sent 14 = received 15 + not_taken -1"),
        ({"superseded": 3}, "received 15 = superseded 3"),
        ({"monitored": 10}, "published 9 = monitored 10 + lost_out -1"),
        ({"bad": -1, "superseded": 6}, "bad -1 is below 0"),
    ],
)
def test_a_sum_that_does_not_hold_is_named(change: dict[str, int], said: str) -> None:
    (fault,) = dataclasses.replace(WHOLE, **change).broken()
    assert said in fault


def test_the_nodes_counts_are_those_since_the_first_status() -> None:
    before = {"received": "7", "superseded": "1", "bad": "0", "published": "6", "pending": "0"}
    after = {"received": "19", "superseded": "4", "bad": "2", "published": "12", "pending": "1"}
    assert node_counts({**before, "topic": "/a"}, {**after, "input_hz": "nan"}) == {
        "received": 12,
        "superseded": 3,
        "bad": 2,
        "published": 6,
        "pending": 1,
    }
    del after["bad"]
    with pytest.raises(ValueError, match="no bad"):
        node_counts(before, after)


def test_outputs_that_no_frame_explains_are_faults() -> None:
    assert monitor_faults([1, 2, 3], [1, 3]) == []
    assert monitor_faults([1, 2, 3], [1, 1]) == ["1 outputs bear a stamp seen before"]
    assert monitor_faults([1, 2], [1, 9]) == ["1 outputs bear a stamp that no frame sent had"]


def test_latency_is_from_sending_to_arrival_of_the_same_stamp() -> None:
    sent = {stamp: 1_000_000_000 * stamp for stamp in range(101)}
    arrived = {s: t + 1_000_000 * s for s, t in sent.items() if s > 0}
    figures = latency(sent, arrived)
    # 1 to 100 ms, one each.
    assert figures["frames"] == 100
    assert figures["p50_ms"] == pytest.approx(50.5)
    assert figures["p99_ms"] == pytest.approx(99.01)
    assert figures["max_ms"] == pytest.approx(100)
    assert latency(sent, {}) == {}
