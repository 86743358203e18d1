"""Runs of the bag benchmark that never took place, a bag to say they were of, and their report."""

from __future__ import annotations

from pathlib import Path

from contextnet_ros.labels import CAMVID
from contextnet_ros.network import WeightHeader
from contextnet_ros.ros import process_use
from contextnet_ros.ros.bag_benchmark_input import read_input
from contextnet_ros.ros.bag_benchmark_report import Subject, build_report
from contextnet_ros.ros.bag_benchmark_run import Measured, Measurement, Plan
from contextnet_ros.ros.bag_benchmark_search import SearchLimits, search_peak
from contextnet_ros.ros.frame_fates import FrameFates
from contextnet_ros.ros.replay import Replayed

MS = 1_000_000


def replayed(
    period_ms: float = 100, count: int = 20, delay_ms: float = 30, lose: set[int] | None = None
) -> Replayed:
    """A run whose frame i is sent at i periods, and labelled after the delay unless lost."""
    sent = {1000 + i: round(i * period_ms * MS) for i in range(count)}
    labels = {
        stamp: time_ns + round(delay_ms * MS)
        for i, (stamp, time_ns) in enumerate(sent.items())
        if i not in (lose or set())
    }
    marks = ("arrived", "taken", "decoded", "segmented", "filled")
    timings = {
        stamp: {
            "stamp_ns": stamp,
            "marks_ns": {m: time_ns + (1 + i) * 4 * MS for i, m in enumerate(marks)},
            "stages_ms": {"preprocess": 1.0, "network": 2.0, "postprocess": 0.5},
        }
        for stamp, time_ns in sent.items()
    }
    answered = len(labels)
    fates = FrameFates(
        in_bag=count, sent=count, not_sent=0, received=count, superseded=count - answered, bad=0,
        published=answered, pending=0, monitored=answered,
    )  # fmt: skip
    return Replayed(
        fates, 1e3 / period_ms, sent, labels, set(), {}, timings, {"device": "cpu"}, fates.broken()
    )


class Machine:
    """Answers what a node does that holds `peak_hz` and misses the rest."""

    def __init__(self, peak_hz: float) -> None:
        self.peak_hz = peak_hz
        self.asked: list[float] = []

    def __call__(self, hz: float) -> dict[str, float | None]:
        self.asked.append(hz)
        sent = round(5 * hz)
        output_hz = min(hz, self.peak_hz)
        return {
            "MEAN_PLAYBACK_FRAME_RATE": hz,
            "MEAN_FRAME_RATE": output_hz,
            "NUM_FRAMES_SENT": sent,
            "NUM_MISSED_FRAMES": round(sent * (1 - output_hz / hz)),
        }


def benchmark(street_bag: Path, runs: list[Replayed], table=CAMVID, score=None, assertions=()):
    bag, _ = read_input(street_bag, None, None)
    idle = process_use.summarize([], [])
    subject = Subject("<model>", WeightHeader(table=table), bag, "here", idle)
    measurements = [
        Measurement("peak", 10.0, runs, idle),
        Measurement("fixed", 30.0, [replayed(33, lose={3})], idle),
    ]
    _, probes = search_peak(Machine(40), SearchLimits())
    measured = Measured(measurements, probes, [20.0], 10.0)
    return build_report(subject, Plan(), {}, measured, score, assertions), measured
