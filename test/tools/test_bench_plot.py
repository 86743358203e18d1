"""The plot of a committed benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from contextnet_ros.files import resource_dir
from contextnet_ros.tools import bench_plot, bench_report

DOCS = resource_dir("models").parent / "docs"


def test_the_plot_stands_beside_the_page_under_the_results_name(tmp_path: Path) -> None:
    row = {"height": 4, "width": 4, "mode": "kernel", "stage_ms": None, "ratio_to_ours": 1.0}
    rows = [{**row, "backend": name, "p50_ms": 3.0} for name in ("ours", "torch")]
    path = tmp_path / "results" / "bench-cpu.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"rows": rows}))
    assert bench_plot.main([str(path)]) == 0
    drawn = cv2.imread(str(tmp_path / "performance-cpu.png"))
    np.testing.assert_array_equal(drawn, bench_report.plot(rows))


def test_a_result_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench-x.json"
    assert bench_plot.main([str(path)]) == 1
    for text in ("not a result", "[]", '{"rows": []}'):
        path.write_text(text)
        assert bench_plot.main([str(path)]) == 1
    errors = capsys.readouterr().err.splitlines()
    says = ("does not exist", "no result of", "no result of", "no rows")
    assert all(says in error for says, error in zip(says, errors, strict=True))
    assert not list(tmp_path.glob("*.png"))


def test_the_committed_plot_is_of_the_committed_result_and_on_the_page() -> None:
    path = DOCS / "results" / "bench-cpu.json"
    drawn = bench_report.plot(json.loads(path.read_text())["rows"])
    committed = cv2.imread(str(bench_plot.picture_path(path)))
    assert committed.shape == drawn.shape, "stale: run `make docs`"
    # Bars alone: another OpenCV may draw letters otherwise.
    for colour in bench_report.STAGE_COLOURS:
        bars = [(picture == colour).all(axis=2) for picture in (committed, drawn)]
        assert (bars[0] == bars[1]).mean() > 0.999, "stale: run `make docs`"
    assert f"]({bench_plot.picture_path(path).name})" in (DOCS / "performance.md").read_text()
