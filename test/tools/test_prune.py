"""contextnet-prune as a user calls it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from contextnet_ros.labels import CAMVID
from contextnet_ros.network import (
    ContextNet,
    WeightHeader,
    count_parameters,
    load_weights,
    save_weights,
)
from contextnet_ros.tools import prune
from contextnet_ros.training.recipe import Recipe


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    path = tmp_path / "wide.safetensors"
    header = WeightHeader(CAMVID, "cn14-160", 2.0, scores=[{"miou_percent": 50.0}])
    save_weights(path, ContextNet(11, "cn14-160", width=2.0), header)
    return path


def test_a_pruned_file_loads_without_the_scores_of_the_wide_one(
    wide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "a #1" / "narrow.safetensors"
    command = ["--model", str(wide), "--width", "1.25", "-o", str(target)]
    assert prune.main([*command, "--json", str(tmp_path / "pruned.json")]) == 0
    network, header = load_weights(target)
    assert (network.variant, network.width, header.scores) == ("cn14-160", 1.25, [])
    *_, hint = capsys.readouterr().out.partition("train on with ")
    changes = shlex.split(hint)
    assert changes[::2] == ["--set"] * 3
    assert changes[1::2] == ["variant=cn14-160", "width=1.25", f'init="{target}"']
    train = [{"data": "generated", "first_seed": 0, "num_scenes": 1, "share": 1}]
    assert Recipe.from_dict({"train": train}).with_settings(changes[1::2]).init == str(target)
    told = json.loads((tmp_path / "pruned.json").read_text())
    assert (told["width"], told["parameters"]) == (1.25, count_parameters(network))
    assert told["parameters_before"] > told["parameters"]


def test_a_name_that_would_be_no_weight_file_is_refused(
    wide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--model", str(wide), "--width", "1.25", "-o", str(tmp_path / "narrow")]
    assert prune.main(command) == 1
    assert "narrow: the name of a weight file ends with .safetensors" in capsys.readouterr().err
    assert not (tmp_path / "narrow").exists()


@pytest.mark.parametrize("width", ["2", "3", "0"])
def test_a_width_that_is_none_is_told_in_one_line(
    wide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], width: str
) -> None:
    target = tmp_path / "narrow.safetensors"
    assert prune.main(["--model", str(wide), "--width", width, "-o", str(target)]) == 1
    error = capsys.readouterr().err
    assert f"width {width}" in error
    assert len(error.splitlines()) == 1
    assert not target.exists()
