"""contextnet-study with recordings held out, and settings changed one by one."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
import yaml
from study_runs import command, result

from contextnet_ros.network import read_header
from contextnet_ros.tools import study
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.stages import Setup
from contextnet_ros.training.studies import STUDIES, Options

pytestmark = pytest.mark.timeout(1200)


def test_each_recording_is_scored_by_weights_that_have_not_seen_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--set", "prune=null", "--set", "steps=1"]
    entries = yaml.safe_dump(
        [{"data": "camvid", "split": split, "share": 1} for split in ("train", "val")],
        default_flow_style=True,
    )
    arguments = command(data, "recordings", tmp_path, *settings, "--set", f"train={entries}")
    assert study.main(arguments) == 0
    found = result(tmp_path, "recordings")
    splits = {"0001TP": ["train"], "0006R0": ["train", "val"]}
    for name in found["runs"]:
        held_out = name.removeprefix("without-")
        recipe = read_header(tmp_path / name / "best.safetensors").recipe
        assert all(held_out not in entry["only"] for entry in recipe["train"])
        assert [entry["split"] for entry in recipe["validate"]] == splits[held_out]
        assert all(entry["only"] == [held_out] for entry in recipe["validate"])
    assert {name: run["last"]["frames"] for name, run in found["runs"].items()} == {
        "without-0001TP": 2, "without-0006R0": 1,
    }  # fmt: skip
    scores = [run["last"]["miou_percent"] for run in found["runs"].values()]
    assert f"| mean |  | {sum(scores) / 2:.1f} % |" in capsys.readouterr().out


def test_a_teacher_that_left_the_recording_out_is_taken(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = ["--set", "prune=null", "--set", "steps=1"]
    assert study.main(command(data, "recordings", tmp_path, *plain)) == 0
    teacher = tmp_path / "without-0006R0" / "best.safetensors"
    taught = [*plain, "--set", f"teacher=[{teacher}]", "--recordings"]
    assert study.main(command(data, "recordings", tmp_path / "taught", *taught, "0006R0")) == 0
    recipe = read_header(tmp_path / "taught" / "without-0006R0" / "best.safetensors").recipe
    assert recipe["teacher"] == [str(teacher)]
    capsys.readouterr()
    # It has seen the other one; and what it was taught by is asked as well.
    assert study.main(command(data, "recordings", tmp_path / "other", *taught, "0001TP")) == 1
    assert "without-0006R0/best.safetensors has seen CamVid" in capsys.readouterr().err
    taught[3] = f"teacher=[{tmp_path / 'taught' / 'without-0006R0' / 'best.safetensors'}]"
    assert study.main(command(data, "recordings", tmp_path / "third", *taught, "0006R0")) == 0
    teacher.unlink()
    assert study.main(command(data, "recordings", tmp_path / "fourth", *taught, "0006R0")) == 1
    assert "has seen CamVid" in capsys.readouterr().err


def test_levers_are_set_against_the_recipe_by_seed_and_recording(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    levers = ["lovasz_weight=0.5", "augmentation={flip: false}"]
    settings = ["--set", "prune=null", "--set", "steps=1", "--seeds", "2"]
    held_out = ["--recordings", "0001TP", "0006R0"]
    assert (
        study.main(command(data, "levers", tmp_path, *settings, *held_out, "--levers", *levers))
        == 0
    )
    found = result(tmp_path, "levers")
    assert len(found["runs"]) == 3 * 2 * 2
    for lever, folder in (
        (levers[0], "lovasz_weight=0.5"),
        (levers[1], "augmentation=-flip-false"),
    ):
        for seed in (1, 2):
            name = f"{folder}-seed-{seed}-without-0006R0"
            recipe = read_header(tmp_path / name / "best.safetensors").recipe
            assert recipe["seed"] == seed
            assert recipe["lovasz_weight"] == (0.5 if lever == levers[0] else 0)
            assert recipe["augmentation"]["flip"] == (lever == levers[0])
            assert recipe["train"][0]["only"] == ["0001TP"]
    scores = found["miou_percent"]
    assert list(scores) == ["as it is", *levers]
    name = "as-it-is-seed-2-without-0001TP"
    assert scores["as it is"][2] == found["runs"][name]["last"]["miou_percent"]
    gains = [a - b for a, b in zip(scores[levers[0]], scores["as it is"], strict=True)]
    row = f"| `{levers[0]}` | 4 | {statistics.mean(scores[levers[0]]):.1f} % | "
    spread = f"{statistics.mean(gains):+.1f} ± {statistics.stdev(gains):.1f} |"
    spread = spread.replace("-0.0", "+0.0", 1)
    assert row + spread in capsys.readouterr().out


def test_the_recipe_of_the_example_starts_from_weights_that_have_not_seen_camvid(
    data: Path, tmp_path: Path
) -> None:
    options = Options(Recipe.load("camvid"), tmp_path, Setup(roots=data))
    names = {"without-0001TP", "without-0006R0"}
    assert set(STUDIES["recordings"].recipes(options)) == names


def test_a_recipe_without_camvid_has_no_recordings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study.main(["recordings", "--recipe", "generated", "-o", str(tmp_path)]) == 1
    assert "generated does not train on camvid" in capsys.readouterr().err
