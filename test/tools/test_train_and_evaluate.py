"""contextnet-train and contextnet-eval as a user calls them."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from contextnet_ros.network import read_header
from contextnet_ros.tools import evaluate, train

RECIPE = {
    "network_size": "frame",
    "train": [
        {"data": "generated", "first_seed": 0, "num_scenes": 2, "size": [48, 64], "share": 1}
    ],
    "validate": [{"data": "generated", "first_seed": 800000, "num_scenes": 1, "size": [48, 64]}],
    "steps": 4,
    "batch": 2,
    "warmup_steps": 1,
    "validate_every": 2,
    "checkpoint_every": 1,
    "augmentation": {"crop": [32, 64]},
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


def test_training_then_scoring(
    tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a b" / "run"
    command = ["--recipe", str(recipe), "-o", str(out), "--device", "cpu", "--workers", "0"]
    assert train.main([*command, "--json", str(tmp_path / "train.json")]) == 0
    trained = json.loads((tmp_path / "train.json").read_text())
    assert trained["steps"] == 4
    assert trained["scores"] == read_header(out / "best.safetensors").scores
    best = out / "best.safetensors"
    output = capsys.readouterr().out
    assert f"best weights: {best}" in output
    # Both commands can be pasted into a shell.
    _, _, commands = output.partition("use them with: ")
    launch, node = commands.split(" or: ")
    assert shlex.split(launch)[-1] == shlex.split(node)[-1] == f"model:={best}"
    assert read_header(best).recipe["name"] == "small"

    result = tmp_path / "scores.json"
    options = ["--frames", "2", "--size", "48x64", "--json", str(result), "--device", "cpu"]
    assert evaluate.main(["--model", str(best), "--data", "generated", *options]) == 0
    scores = json.loads(result.read_text())
    assert scores["frames"] == 2
    assert scores["precision"] == "float32"
    assert set(scores["iou_percent"]) == set(read_header(best).table.names)
    assert {"device", "versions", "commit", "date"} <= set(scores["provenance"])
    assert scores["trained_on"] is False
    printed = capsys.readouterr().out
    assert f"{scores['miou_percent']:.2f} %" in printed
    assert "trained on" not in printed

    again = ["--model", str(best), "--data", "generated", *options, "--first-seed", "1"]
    assert evaluate.main(again) == 0
    assert json.loads(result.read_text())["trained_on"] is True
    assert "trained on frames of these" in capsys.readouterr().out


def test_ctrl_c_leaves_a_run_that_the_same_command_finishes(tmp_path: Path, recipe: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-c", "from contextnet_ros.tools.train import main; exit(main())"]
    command += ["--recipe", str(recipe), "-o", str(out), "--device", "cpu"]
    command += ["--set", "steps=100000", "--set", "validate_every=100000"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not (out / "checkpoint.pt").is_file():
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, output
    assert "the same command goes on from there" in output
    assert "Traceback" not in output


def test_show_prints_the_recipe_with_its_settings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train.main(["--recipe", "generated", "--set", "steps=7", "--show", "-o", "x"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["steps"] == 7


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (train.main, ["--recipe", "nowhere", "-o", "x"], "recipe 'nowhere' does not exist"),
        (train.main, ["--recipe", "camvid", "-o", "x"], "--root"),
        (train.main, ["--recipe", "camvid", "-o", "x", "--set", "stps=1"], "did you mean 'steps'"),
        (train.main, ["--recipe", "camvid", "-o", "x", "--set", "steps"], "form key=value"),
        (evaluate.main, ["--model", "nowhere.safetensors", "--data", "generated"], "nowhere"),
        (evaluate.main, ["--model", "no_such", "--data", "generated"], "no_such"),
        (
            evaluate.main,
            ["--model", "generated-cn14", "--data", "generated", "--frames", "0"],
            "0 gen",
        ),
        (train.main, ["--recipe", "generated", "-o", "x", "--device", "foo"], "'foo' is unknown"),
        # Before the work.
        (train.main, ["--recipe", "generated", "-o", "x", "--json", "."], "cannot write ."),
        (
            evaluate.main,
            ["--model", "generated-cn14", "--data", "generated", "--json", "/proc/x.json"],
            "cannot write /proc/x.json",
        ),
        (
            train.main,
            ["--recipe", "generated", "-o", "x", "--ppm", "--set", "batch=1"],
            "batch is 1 for 1 process",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(
    main: object,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1  # type: ignore[operator]
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
