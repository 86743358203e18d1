"""contextnet-eval on Cityscapes: scores, details, submission."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from contextnet_ros.labels import CAMVID, CITYSCAPES, CITYSCAPES_LABEL_IDS, ClassTable
from contextnet_ros.network import ContextNet, WeightHeader, save_weights
from contextnet_ros.tools import evaluate
from contextnet_ros.training.score_pictures import confusion_picture
from contextnet_ros.training.scoring import ConfusionMatrix


def weights(path: Path, table: ClassTable) -> Path:
    torch.manual_seed(0)
    network = ContextNet(table.num_classes, "cn14-160")
    save_weights(path, network, WeightHeader(table, "cn14-160"))
    return path


def test_scores_and_details_of_cityscapes(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, result, details = (
        weights(tmp_path / "w.safetensors", CITYSCAPES),
        tmp_path / "s.json",
        tmp_path / "details",
    )
    monkeypatch.setenv("HOME", str(root.parent))
    arguments = ["--model", str(model), "--data", "cityscapes", f"--root=~/{root.name}"]
    arguments += ["--device", "cpu", "--json", str(result), "--details", str(details)]
    assert evaluate.main(arguments) == 0
    scores = json.loads(result.read_text())
    assert set(scores["category_iou_percent"]) == {
        "flat", "construction", "object", "nature", "sky", "human", "vehicle",
    }  # fmt: skip
    assert "car" in scores["iiou_percent"]
    assert "averaged_over" not in scores
    with (details / "frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == ["bonn_000000_000019", "bonn_000001_000019"]
    pictures = sorted(details.glob("worst_*.png"))
    worst = min(rows, key=lambda row: float(row["miou"]))["frame"]
    assert pictures[0].name == f"worst_01_{worst}.png"
    assert cv2.imread(str(pictures[0])).shape == (64, 3 * 96, 3)
    assert (details / "confusion.png").is_file()


def test_iiou_is_left_out_unless_every_frame_has_instances(
    tmp_path: Path, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, result = weights(tmp_path / "w.safetensors", CITYSCAPES), tmp_path / "s.json"
    arguments = ["--model", str(model), "--data", "cityscapes", "--root", str(root)]
    arguments += ["--device", "cpu", "--json", str(result)]
    instances = sorted(root.rglob("*_instanceIds.png"))
    instances[0].unlink()
    assert evaluate.main(arguments) == 0
    scores = json.loads(result.read_text())
    assert not [key for key in scores if key.endswith("iiou_percent") or "iiou_mean" in key]
    assert scores["iiou_left_out"] == "instanceIds of 1 of 2 frames are missing"
    output = capfd.readouterr()
    assert "iIoU left out: instanceIds of 1 of 2" in output.out
    # OpenCV warns of every file that it can't open.
    assert "instanceIds" not in output.err
    instances[1].unlink()
    assert evaluate.main(arguments) == 0
    found = {key: value for key, value in json.loads(result.read_text()).items() if "iiou" in key}
    assert found == {"iiou_left_out": "instanceIds of 2 of 2 frames are missing"}


def test_flip_and_scales_are_told_in_the_result(tmp_path: Path, root: Path) -> None:
    model, result = weights(tmp_path / "w.safetensors", CAMVID), tmp_path / "s.json"
    arguments = ["--model", str(model), "--data", "cityscapes", "--root", str(root)]
    arguments += ["--device", "cpu", "--json", str(result), "--flip", "--scales", "0.5,1"]
    assert evaluate.main(arguments) == 0
    scores = json.loads(result.read_text())
    assert scores["averaged_over"] == {"scales": [0.5, 1.0], "flip": True}
    assert "as camvid" in scores["data"]


def test_a_submission_holds_label_ids_and_needs_no_labels(tmp_path: Path, root: Path) -> None:
    for path in (root / "gtFine").rglob("*.png"):
        path.unlink()
    model, out = weights(tmp_path / "w.safetensors", CITYSCAPES), tmp_path / "results"
    arguments = ["--model", str(model), "--data", "cityscapes", "--root", str(root)]
    assert evaluate.main([*arguments, "--device", "cpu", "--submission", str(out)]) == 0
    files = sorted(out.iterdir())
    assert [file.name for file in files] == ["bonn_000000_000019.png", "bonn_000001_000019.png"]
    for file in files:
        label = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        assert label.shape == (64, 96)
        assert set(np.unique(label)) <= set(CITYSCAPES_LABEL_IDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "cityscapes", "--submission", "out"], "--submission needs"),
        (
            ["--data", "cityscapes", "--submission", "o", "--json", "s"],
            "leave --json and --details",
        ),
        (["--data", "cityscapes"], "--root"),
        (["--data", "folders", "--images", "a", "--labels", "b"], "needs --table"),
        (["--data", "generated", "--scales", "big"], "scales 'big'"),
    ],
)
def test_mistakes_are_told_in_one_line(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = weights(tmp_path / "w.safetensors", CAMVID)
    assert evaluate.main(["--model", str(model), "--device", "cpu", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_the_confusion_picture_is_darkest_where_the_pixels_are() -> None:
    table = ClassTable("t", ("a", "b"), ((0, 0, 0), (9, 9, 9)))
    confusion = ConfusionMatrix(2)
    confusion.counts[:] = [[90, 10, 0], [0, 100, 0]]
    picture = confusion_picture(confusion, table)
    corner = picture[150::44, 150::44].astype(int).sum(2)
    assert corner.shape == (2, 3)
    assert corner[1, 1] < corner[0, 0] < corner[0, 1] < corner[0, 2]
