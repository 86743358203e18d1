"""What the bag benchmark computes, searches, asserts and shows, with no process started."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from contextnet_ros.files import UserError
from contextnet_ros.labels import CAMVID, CITYSCAPES
from contextnet_ros.network import WeightHeader
from contextnet_ros.ros import bag_benchmark, process_use
from contextnet_ros.ros.bag_benchmark_asserts import parse_assertion
from contextnet_ros.ros.bag_benchmark_charts import Mark, histogram, ticks
from contextnet_ros.ros.bag_benchmark_input import read_input
from contextnet_ros.ros.bag_benchmark_metrics import (
    concluded,
    own_metrics,
    run_metrics,
    stage_summary,
    stage_times_ms,
    total_fates,
)
from contextnet_ros.ros.bag_benchmark_page import build_page
from contextnet_ros.ros.bag_benchmark_report import Subject, build_report, build_table
from contextnet_ros.ros.bag_benchmark_run import Measured, Measurement, Plan, measure
from contextnet_ros.ros.bag_benchmark_search import SearchLimits, search_peak
from contextnet_ros.ros.bag_make import BagFormat, make_bag
from contextnet_ros.ros.frame_fates import FrameFates
from contextnet_ros.ros.frame_sources import generated_source
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


@pytest.mark.parametrize("peak_hz", [23.0, 51.0, 77.0, 300.0])
def test_the_search_ends_one_step_below_what_is_no_longer_held(peak_hz: float) -> None:
    machine = Machine(peak_hz)
    limits = SearchLimits()
    found, probes = search_peak(machine, limits)
    # 5 % may be missed, so that a little more than the peak is still held.
    highest = min(peak_hz / (1 - limits.missed_share), limits.upper_hz)
    assert highest - limits.step_hz <= found <= highest + 0.5
    assert [probe.hz for probe in probes] == machine.asked
    assert machine.asked[0] == limits.upper_hz
    assert len(machine.asked) < 12


def test_a_slow_machine_is_searched_below_ten_hertz_in_finer_steps() -> None:
    limits = SearchLimits().for_round_trip(400)
    assert limits.upper_hz == 5
    found, _ = search_peak(Machine(2.6), limits)
    assert 2.2 < found < 2.8
    fast = SearchLimits().for_round_trip(5)
    assert fast == SearchLimits()


def test_a_player_that_cannot_keep_the_rate_ends_the_search_there() -> None:
    def measure(hz: float) -> dict[str, float | None]:
        sent = min(hz, 40.0)
        return {
            "MEAN_PLAYBACK_FRAME_RATE": sent,
            "MEAN_FRAME_RATE": sent,
            "NUM_FRAMES_SENT": round(5 * sent),
            "NUM_MISSED_FRAMES": 0,
        }

    found, _ = search_peak(measure, SearchLimits())
    assert 35 <= found <= 50


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("p99_ms<50", 49.0, True),
        ("p99_ms < 50 ms", 50.0, False),
        ("missed<=1%", 1.0, True),
        ("fps>=30", 29.9, False),
        ("miou>60.5 %", 61.0, True),
        ("memory<500MiB", None, False),
    ],
)
def test_assertions_hold_or_say_what_was_seen(text: str, value: float | None, holds: bool) -> None:
    assertion = parse_assertion(text)
    failed = assertion.check({assertion.name: value})
    assert (failed is None) == holds
    if not holds:
        assert ("not measured" if value is None else f"{value:g}") in failed


def test_an_assertion_may_be_about_one_fixed_rate() -> None:
    assert parse_assertion("p50_ms@30<20").rate == 30
    for wrong in ("p99<50", "p99_ms=50", "p99_ms<fast", "missed<3ms", "", "fps>"):
        with pytest.raises(argparse.ArgumentTypeError, match=r"give|is in"):
            parse_assertion(wrong)


@pytest.fixture(scope="module")
def street_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "street"
    source = generated_source(frames=3, height=64, width=128, seed=1)
    make_bag(source, path, BagFormat(storage="mcap", compressed="jpeg"), progress=False)
    return path


def test_the_bag_is_described_and_its_frames_are_named(street_bag: Path) -> None:
    bag, names = read_input(street_bag, None, 2)
    assert (bag.height, bag.width, bag.frames, bag.storage) == (64, 128, 2, "mcap")
    assert bag.topic == bag.played_topic == "/camera/image_raw/compressed"
    assert bag.image_topic == "/camera/image_raw"
    assert bag.end_s - bag.start_s == pytest.approx(0.1, abs=1e-6)
    files = sorted(street_bag.iterdir())
    assert bag.sha256 == hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()
    assert bag.bytes == sum(f.stat().st_size for f in files)
    assert len(set(names.values())) == 2
    (street_bag / "frames.csv").rename(street_bag / "away.csv")
    try:
        _, unnamed = read_input(street_bag, None, None)
    finally:
        (street_bag / "away.csv").rename(street_bag / "frames.csv")
    assert list(unnamed.values()) == [str(stamp) for stamp in unnamed]
    with pytest.raises(UserError, match="/nothing"):
        read_input(street_bag, "/nothing", None)


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


def test_a_reports_frames_are_those_of_all_measurements_and_its_sums_hold(street_bag) -> None:
    texts = ("p99_ms<31", "p99_ms<29", "missed@30<1%", "missed<1%", "fps@60>1", "peak_hz>=10")
    report, _ = benchmark(street_bag, [replayed()] * 5, assertions=map(parse_assertion, texts))
    f = report["frames"]
    assert f["in_bag"] == f["sent"] + f["not_sent"] == 6 * 20
    assert f["received"] == f["superseded"] + f["bad"] + f["published"] + f["pending"]
    assert f["superseded"] == 1
    assert report["faults"] == []
    failed = [a["text"] for a in report["assertions"] if a["failed"]]
    assert failed == ["p99_ms<29", "missed@30<1%", "fps@60>1"]
    table = build_table(report)
    assert "in_bag 120 = sent 120" in table
    assert "missed@30<1%: missed is 5 %" in table


def test_a_report_whose_sums_do_not_hold_names_the_measurement(street_bag) -> None:
    good = replayed()
    fates = replace(good.fates, received=19)
    broken = replace(good, fates=fates, faults=fates.broken())
    report, _ = benchmark(street_bag, [good, broken])
    assert any("peak 10 Hz" in fault and "received 19" in fault for fault in report["faults"])


class PlayedBag:
    """A session every play of which is `run`, and whose round trips take 20 ms."""

    def __init__(self, run: Replayed) -> None:
        self.run = run
        self.node = SimpleNamespace(process=SimpleNamespace(pid=os.getpid()))

    def probe(self) -> list[float]:
        return [20.0]

    def play(self, hz: float, *, frames: int) -> Replayed:
        # The runs of the plan take longer than those of the search.
        return replace(self.run, faults=[] if frames > 5 * hz else self.run.faults)


def test_the_searchs_plays_have_to_hold_their_sums_too(street_bag: Path) -> None:
    broken = replace(replayed(), faults=["sent 20 = received 19"])
    plan = Plan(fixed=(), run_s=6.0, runs=1, limits=SearchLimits(upper_hz=12.0))
    measured = measure(PlayedBag(broken), plan, lambda _: None)
    bag, _ = read_input(street_bag, None, None)
    subject = Subject("m", WeightHeader(table=CAMVID), bag, "here", process_use.summarize([], []))
    report = build_report(subject, plan, {}, measured, None)
    assert report["measurements"][0]["faults"] == []
    assert "search 12 Hz: sent 20 = received 19" in report["faults"]


class Page(HTMLParser):
    """Collects what a page opens, closes and points to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.seen: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, _attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        if tag in ("p", "li"):
            while self.open[-1] not in (tag, "section", "header"):
                self.open.pop()
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_network(street_bag: Path) -> None:
    score = {
        "classes": "cityscapes", "frames": 3, "frames_with_truth": 3, "fps": 9.9,
        "miou_percent": 61.5, "category_miou_percent": 80.25,
        "iou_percent": dict.fromkeys(CITYSCAPES.names, 50.0),
    }  # fmt: skip
    runs = [replayed(lose={4}), replayed(delay_ms=35)]
    report, measured = benchmark(street_bag, runs, CITYSCAPES, score, [parse_assertion("p99_ms<1")])
    text = build_page(report, measured)
    page = Page(text)
    assert page.open == []
    assert page.links == []
    assert not re.search(r"https?://|url\(|@import|<script", text)
    assert page.seen.count("svg") == 5
    # One mark for every frame: dots for those with a label, a tick for the one without.
    assert len(re.findall('class="dot"', text)) == 39
    assert len(re.findall('class="miss"', text)) == 1
    for expected in (
        "61.5",
        "80.2",
        "65.9 % at 18.3 fps",
        "&lt;model&gt;",
        "fails",
        "traffic sign",
    ):
        assert expected in text
    assert "<model>" not in text
    assert "the paper: 65.9 % at 18.3 fps" in build_table(report)


def test_the_page_of_a_run_without_any_label_is_whole(street_bag: Path) -> None:
    nothing = replace(replayed(lose=set(range(20))), timings={})
    report, measured = benchmark(street_bag, [nothing])
    assert Page(build_page(report, measured)).open == []
    assert report["measurements"][0]["fps"] is None


def test_a_score_beside_a_single_label_is_told_and_written(
    street_bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = replayed(count=1)
    fps = own_metrics([single])["fps"]
    assert fps is None
    score = {
        "classes": "camvid", "frames": 1, "frames_with_truth": 1, "fps": fps,
        "miou_percent": None, "iou_percent": dict.fromkeys(CAMVID.names),
    }  # fmt: skip
    report, measured = benchmark(street_bag, [single], score=score)
    assert "1 frames with truth, labels/s not measured" in build_table(report)
    # Whatever becomes of the table, the files are there.
    monkeypatch.setattr(bag_benchmark, "build_table", Mock(side_effect=BrokenPipeError))
    options = argparse.Namespace(json=tmp_path / "r.json", html=tmp_path / "r.html")
    with pytest.raises(BrokenPipeError):
        bag_benchmark._write(options, report, measured)
    assert json.loads(options.json.read_text())["score"]["fps"] is None
    assert options.html.read_text().startswith("<!doctype html>")


def test_a_histogram_holds_every_frame() -> None:
    values = [*np.random.default_rng(0).normal(30, 4, 500).tolist(), 300.0]
    svg = histogram(values, [Mark(30, "p50")])
    assert sum(int(n) for n in re.findall(r"ms: (\d+) frames", svg)) == 501
    assert "up to 300.0 ms" in svg
    assert "2 frames" in histogram([5.0, 5.0], [])


@pytest.mark.parametrize(("low", "high"), [(0, 7), (0, 0.013), (12, 980), (0, 1)])
def test_ticks_are_few_round_and_within(low: float, high: float) -> None:
    values = ticks(low, high)
    assert 3 <= len(values) <= 8
    assert all(low <= value <= high * (1 + 1e-9) for value in values)
    steps = np.diff(values)
    np.testing.assert_allclose(steps, steps[0])
    assert f"{steps[0]:e}"[0] in "125"
