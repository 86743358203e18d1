"""What the bag benchmark reports: its bag, its sums, and the assertions that it is held to."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from bag_benchmark_runs import benchmark, replayed

pytest.importorskip("rclpy", reason="rclpy is not installed: the benchmark needs ROS 2")

from contextnet_ros.files import UserError
from contextnet_ros.labels import CAMVID
from contextnet_ros.network import WeightHeader
from contextnet_ros.ros import bag_benchmark, process_use
from contextnet_ros.ros.bag_benchmark_asserts import parse_assertion
from contextnet_ros.ros.bag_benchmark_input import read_input
from contextnet_ros.ros.bag_benchmark_metrics import own_metrics
from contextnet_ros.ros.bag_benchmark_report import Subject, build_report, build_table
from contextnet_ros.ros.bag_benchmark_run import Plan, measure
from contextnet_ros.ros.bag_benchmark_search import SearchLimits
from contextnet_ros.ros.replay import Replayed


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
