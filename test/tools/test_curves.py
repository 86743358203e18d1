"""Curves out of a training's log."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from contextnet_ros.files import resource_dir
from contextnet_ros.tools import curves

RESULTS = resource_dir("models").parent / "docs" / "results"
LOG = [
    {"step": 50, "loss": 2.0, "scores": [{"data": "a & b", "miou_percent": 10.0}]},
    {"step": 100, "loss": 1.0, "scores": [{"data": "a & b", "miou_percent": 60.0}]},
]


def test_points_lie_where_their_values_are_on_the_axes(tmp_path: Path) -> None:
    path = tmp_path / "training-x.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in LOG))
    assert curves.main([str(path)]) == 0
    root = ElementTree.fromstring((tmp_path / "training-x.svg").read_text())
    space = {"": "http://www.w3.org/2000/svg"}
    texts = {text.text: text for text in root.findall("text", space)}
    assert "mIoU, a & b: 60.0 % at the end" in texts
    heights = {name: float(texts[name].get("y", "")) - 4 for name in ("0 %", "60 %", "100 %")}
    starts = {name: float(texts[name].get("x", "")) for name in ("50", "100")}
    loss, miou = (
        [tuple(map(float, pair.split(","))) for pair in line.get("points", "").split()]
        for line in root.findall("polyline", space)
    )
    assert miou[1] == pytest.approx((starts["100"], heights["60 %"]), abs=0.11)
    # The highest loss is at the top, half of it half way.
    middle = (heights["0 %"] + heights["100 %"]) / 2
    assert loss[0] == pytest.approx((starts["50"], heights["100 %"]), abs=0.11)
    assert loss[1][1] == pytest.approx(middle, abs=0.11)


def test_a_log_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.jsonl"
    assert curves.main([str(path)]) == 1
    path.write_text("not a log\n")
    assert curves.main([str(path)]) == 1
    path.write_text("")
    assert curves.main([str(path)]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    for error, message in zip(
        errors, ("does not exist", "no training's log", "no lines"), strict=True
    ):
        assert message in error


def test_every_shipped_weight_file_has_its_log_and_its_curves_in_its_card() -> None:
    for weights in resource_dir("models").glob("*.safetensors"):
        log = RESULTS / f"training-{weights.stem}.jsonl"
        drawn = curves.curves(curves.read_log(log), log.stem)
        assert log.with_suffix(".svg").read_text() == drawn, "stale: run `make docs`"
        card = (RESULTS.parent / "models" / f"{weights.stem}.md").read_text()
        assert re.search(rf"\]\(\.\./results/{log.stem}\.svg\)", card)
