"""The figures that the bag benchmark computes of its runs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from bag_benchmark_runs import MS, replayed

from contextnet_ros.ros.bag_benchmark_metrics import (
    concluded,
    own_metrics,
    run_metrics,
    stage_summary,
    stage_times_ms,
    total_fates,
)


def test_rates_count_intervals_and_latencies_are_matched_by_stamp() -> None:
    metrics = run_metrics({1: 0, 2: 100 * MS, 3: 200 * MS}, {1: 30 * MS, 3: 280 * MS})
    assert metrics["MEAN_PLAYBACK_FRAME_RATE"] == pytest.approx(10)
    # Two labels a quarter of a second apart: one interval.
    assert metrics["MEAN_FRAME_RATE"] == pytest.approx(4)
    assert metrics["NUM_FRAMES_SENT"] == 3
    assert metrics["NUM_MISSED_FRAMES"] == 1
    assert metrics["FIRST_SENT_RECEIVED_LATENCY"] == 30
    assert metrics["LAST_SENT_RECEIVED_LATENCY"] == 80
    assert (metrics["MIN_LATENCY"], metrics["MEAN_LATENCY"], metrics["MAX_LATENCY"]) == (30, 55, 80)
    assert metrics["MEAN_JITTER"] is None


def test_jitter_is_the_change_between_neighbouring_intervals() -> None:
    times_ms = [0, 10, 30, 35, 60]
    metrics = run_metrics(
        dict.fromkeys(range(5), 0), {i: round(t * MS) for i, t in enumerate(times_ms)}
    )
    intervals = [b - a for a, b in pairwise(times_ms)]
    jitters = [abs(b - a) for a, b in pairwise(intervals)]
    assert metrics["MAX_JITTER"] == pytest.approx(max(jitters))
    assert metrics["MEAN_JITTER"] == pytest.approx(sum(jitters) / len(jitters))


def test_nothing_that_came_back_gives_no_figures_instead_of_an_error() -> None:
    metrics = run_metrics({1: 0, 2: MS}, {})
    assert metrics["NUM_MISSED_FRAMES"] == 2
    assert metrics["MEAN_FRAME_RATE"] is None
    assert metrics["MEAN_LATENCY"] is None


def test_of_five_runs_the_best_and_the_worst_are_left_out() -> None:
    rows = [{"MEAN_LATENCY": v, "MAX_LATENCY": v, "MIN_LATENCY": v} for v in (9.0, 1, 5, 4, 3)]
    assert concluded(rows) == {"MEAN_LATENCY": 4, "MAX_LATENCY": 5, "MIN_LATENCY": 3}
    assert concluded(rows[:1]) == rows[0]
    assert concluded([*rows, {**rows[0], "MAX_LATENCY": None}])["MAX_LATENCY"] is None


def test_percentiles_are_over_the_frames_of_all_runs() -> None:
    runs = [replayed(delay_ms=10, count=30), replayed(delay_ms=50, count=10, lose={5, 6})]
    own = own_metrics(runs)
    times = [10.0] * 30 + [50.0] * 8
    assert own["latency"]["frames"] == 38
    assert own["latency"]["p90_ms"] == pytest.approx(np.percentile(times, 90))
    assert own["missed_percent"] == pytest.approx(100 * 2 / 40)
    # Two frames missing in a row: three periods of 100 ms without a label.
    assert own["min_fps"] == pytest.approx(1 / 0.3)
    assert total_fates(run.fates for run in runs).superseded == 2


def test_stages_add_up_to_the_latency() -> None:
    run = replayed(delay_ms=30)
    rows = stage_times_ms(run)
    assert len(rows) == 20
    for row in rows:
        assert sum(row.values()) == pytest.approx(30)
    # Marks are 4 ms apart; 3.5 of the 4 ms between decoded and segmented are told of.
    assert rows[0] == pytest.approx(
        {
            "transport_in": 4, "waiting": 4, "decode": 4, "copy_in": 1, "network": 2,
            "copy_out": 0.5, "other": 0.5, "message_fill": 4, "transport_out": 10,
        }
    )  # fmt: skip
    assert next(iter(stage_summary([run]))) == "transport_in"
    assert stage_summary([replace(run, timings={})]) == {}
