"""Two processes against one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from contextnet_ros.files import UserError
from contextnet_ros.labels import CAMVID
from contextnet_ros.network import ContextNet, WeightHeader, save_weights
from contextnet_ros.training.checkpoint import CHECKPOINT_NAME
from contextnet_ros.training.distributed import World
from contextnet_ros.training.loop import Training
from contextnet_ros.training.recipe import Recipe


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def train(folder: Path, recipe: Path, processes: int) -> dict[str, torch.Tensor]:
    """Model and averaged weights at the end of a run of so many processes on the CPU."""
    command = [sys.executable, "-m", "contextnet_ros.tools.train", "--recipe", str(recipe)]
    command += ["-o", str(folder), "--device", "cpu", "--workers", "0"]
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    shared |= {"MASTER_PORT": str(free_port()), "WORLD_SIZE": str(processes)}
    running = [
        subprocess.Popen(
            command,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(processes)
    ]
    try:
        outputs = [process.communicate(timeout=240)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0] * processes, outputs
    assert sum("best weights:" in output for output in outputs) == 1
    state = torch.load(folder / CHECKPOINT_NAME, weights_only=True)
    assert state["step"] == 3
    return {**state["model"], **{f"average.{k}": v for k, v in state["average"].items()}}


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    torch.manual_seed(0)
    save_weights(start, ContextNet(11, "cn14-160"), WeightHeader(CAMVID, "cn14-160"))
    recipe = tmp_path / "small.yaml"
    scenes = {"data": "generated", "first_seed": 0, "num_scenes": 4, "size": [48, 64], "share": 1}
    settings = {
        "variant": "cn14-160", "init": str(start), "network_size": "frame", "train": [scenes],
        "steps": 3, "batch": 4, "warmup_steps": 0, "learning_rate": 0.05, "optimizer": "rmsprop",
        "dropout": 0.0, "freeze_normalization": True, "class_weights": 1.1, "validate_every": 100,
        # Small crops of enlarged frames: the two halves of a batch are labelled unevenly.
        "augmentation": {"crop": [64, 64], "scale": [0.5, 1.0]},
    }  # fmt: skip
    recipe.write_text(yaml.safe_dump(settings))
    one = train(tmp_path / "one", recipe, 1)
    two = train(tmp_path / "two", recipe, 2)
    before = ContextNet(11, "cn14-160").state_dict()
    moved = (one["network.classifier.weight"] - before["classifier.weight"]).abs().max()
    assert moved > 1e-3, "a run that changes nothing would compare equal"
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-5, rtol=0, msg=name)


def test_a_batch_that_can_not_be_shared_is_refused(tmp_path: Path) -> None:
    entry = {"data": "generated", "first_seed": 0, "num_scenes": 1, "size": [48, 64], "share": 1}
    recipe = Recipe.from_dict({"train": [entry], "batch": 3})
    with pytest.raises(UserError, match="batch 3 can't be shared by 2 processes"):
        Training(recipe, tmp_path, None, "cpu", world=World(0, 2))
