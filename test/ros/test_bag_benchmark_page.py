"""The page that shows a report of the bag benchmark, and the charts on it."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from bag_benchmark_runs import benchmark, replayed

from contextnet_ros.labels import CITYSCAPES
from contextnet_ros.ros.bag_benchmark_asserts import parse_assertion
from contextnet_ros.ros.bag_benchmark_charts import Mark, histogram, ticks
from contextnet_ros.ros.bag_benchmark_page import build_page
from contextnet_ros.ros.bag_benchmark_report import build_table


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
