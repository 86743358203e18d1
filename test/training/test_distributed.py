"""Two processes against one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import yaml

from contextnet_ros.files import UserError
from contextnet_ros.labels import CAMVID
from contextnet_ros.network import ContextNet, WeightHeader, load_weights, save_weights
from contextnet_ros.training.checkpoint import CHECKPOINT_NAME
from contextnet_ros.training.distributed import World, join, joined
from contextnet_ros.training.loop import Training
from contextnet_ros.training.recipe import Recipe


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_processes(folders: list[Path], recipe: Path, device: str) -> tuple[list[int], list[str]]:
    """Exit codes and outputs of a training by a process for each output folder."""
    command = [sys.executable, "-m", "contextnet_ros.tools.train", "--recipe", str(recipe)]
    command += ["--device", device, "--workers", "0"]
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    # Of a GPU's: else rounding would be that of 10 bits, and of an algorithm for each batch size.
    shared["NVIDIA_TF32_OVERRIDE"] = "0"
    shared |= {"MASTER_PORT": str(free_port()), "WORLD_SIZE": str(len(folders))}
    running = [
        subprocess.Popen(
            [*command, "-o", str(folder)],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, folder in enumerate(folders)
    ]
    try:
        outputs = [process.communicate(timeout=240)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    return [process.returncode for process in running], outputs


def train(
    folder: Path, recipe: Path, processes: int, device: str = "cpu", steps: int = 3
) -> dict[str, torch.Tensor]:
    """Model and averaged weights at the end of a run of so many processes."""
    codes, outputs = run_processes([folder] * processes, recipe, device)
    assert codes == [0] * processes, outputs
    assert sum("best weights:" in output for output in outputs) == 1
    state = torch.load(folder / CHECKPOINT_NAME, map_location="cpu", weights_only=True)
    assert state["step"] == steps
    return {**state["model"], **{f"average.{k}": v for k, v in state["average"].items()}}


def write_recipe(folder: Path, **changes: object) -> Path:
    """A small recipe that starts from given weights and drops nothing, so that runs compare."""
    start = folder / "start.safetensors"
    torch.manual_seed(0)
    save_weights(start, ContextNet(11, "cn14-160"), WeightHeader(CAMVID, "cn14-160"))
    recipe = folder / "small.yaml"
    scenes = {"data": "generated", "first_seed": 0, "num_scenes": 4, "size": [48, 64], "share": 1}
    settings = {
        "variant": "cn14-160", "init": str(start), "network_size": "frame", "train": [scenes],
        "steps": 3, "batch": 4, "warmup_steps": 0, "learning_rate": 0.05, "optimizer": "rmsprop",
        "dropout": 0.0, "freeze_normalization": True, "class_weights": 1.1, "validate_every": 100,
        "teacher": str(start), "teacher_weight": 0.5,
        # Small crops of enlarged frames: the two halves of a batch are labelled unevenly.
        "augmentation": {"crop": [64, 64], "scale": [0.5, 1.0]},
        **changes,
    }  # fmt: skip
    recipe.write_text(yaml.safe_dump(settings))
    return recipe


def assert_alike(
    start: Path, one: dict[str, torch.Tensor], two: dict[str, torch.Tensor], atol: float
) -> None:
    before = load_weights(start)[0].named_parameters()
    moved = max((one[f"network.{name}"] - weights).abs().max() for name, weights in before)
    assert moved > 10 * atol, "a run that changes nothing would compare equal"
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=atol, rtol=0, msg=name)


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    one, two = train(tmp_path / "one", recipe, 1), train(tmp_path / "two", recipe, 2)
    assert_alike(tmp_path / "start.safetensors", one, two, 1e-5)


def test_an_output_folder_that_is_not_shared_is_refused_where_it_would_be_resumed(
    tmp_path: Path,
) -> None:
    recipe = write_recipe(tmp_path)
    train(tmp_path / "mine", recipe, 1)
    codes, outputs = run_processes([tmp_path / "mine", tmp_path / "yours"], recipe, "cpu")
    assert codes == [1, 1]
    for step, output in zip((3, 0), outputs, strict=True):
        errors = [line for line in output.splitlines() if "contextnet-train: error" in line]
        assert len(errors) == 1
        assert f"stands at step {step} for this process" in errors[0]
        assert "Traceback" not in output


def test_other_processes_draw_numbers_of_their_own_by_step_wherever_a_run_goes_on(
    tmp_path: Path,
) -> None:
    recipe = Recipe.load(str(write_recipe(tmp_path, dropout=0.3, checkpoint_every=1)))

    class Other(World):
        leads = False

    def draw(folder: Path, world: World, stop_after: int = 3) -> list[float]:
        training = Training(recipe, folder, None, "cpu", workers=0, world=world)
        objective, drawn = training.objective, []

        def watched(*arguments: object) -> dict[str, torch.Tensor]:
            drawn.append(float(torch.rand(1)))
            return objective(*arguments)

        training.objective = watched
        training.run(stop=lambda: training.step >= stop_after)
        return drawn

    first, second = draw(tmp_path / "first", World()), draw(tmp_path / "second", Other())
    assert len({*first, *second}) == 6
    assert draw(tmp_path / "parts", World(), stop_after=2) == first[:2]
    # The folder's checkpoint is the leader's.
    assert draw(tmp_path / "parts", Other()) == second[2:]


@pytest.mark.gpu
@pytest.mark.skipif(
    torch.cuda.device_count() < 2,
    reason=f"needs two CUDA devices, one for each process; there are {torch.cuda.device_count()}",
)
def test_two_gpus_with_statistics_of_the_whole_batch_train_as_one(tmp_path: Path) -> None:
    # One step: in three, batch norms of few pixels make more of the order of sums than the bound.
    recipe = write_recipe(tmp_path, freeze_normalization=False, steps=1)
    one = train(tmp_path / "one", recipe, 1, "cuda", steps=1)
    two = train(tmp_path / "two", recipe, 2, "cuda", steps=1)
    assert_alike(tmp_path / "start.safetensors", one, two, 1e-3)


@pytest.mark.parametrize(
    ("device", "gpus", "says"),
    [
        ("cuda:0", 2, "device cuda:0 is one for 4 processes: give cuda"),
        ("auto", 2, "process 4 here has no GPU: give --nproc-per-node 2"),
    ],
)
def test_processes_that_have_no_gpu_of_their_own_are_told_so(
    monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, says: str
) -> None:
    for name, value in {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UserError, match=says):
        join(device)


@pytest.mark.parametrize(
    ("backend", "fails", "ended"),
    [("nccl", False, 1), ("nccl", True, 0), ("gloo", False, 1), ("gloo", True, 1)],
)
def test_an_error_does_not_wait_for_the_other_processes(
    monkeypatch: pytest.MonkeyPatch, backend: str, fails: bool, ended: int
) -> None:
    ends: list[bool] = []
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_backend", lambda: backend)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: ends.append(True))
    with pytest.raises(UserError) if fails else nullcontext(), joined("cpu"):
        if fails:
            raise UserError("the disk is full")
    assert len(ends) == ended


def test_batch_norms_of_gpus_are_synchronized_and_keep_their_names() -> None:
    model = ContextNet(11, "cn14-160")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    norms = sum(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    assert World(0, 2).synchronized(model, torch.device("cpu")) is model
    assert World().synchronized(model, torch.device("cuda")) is model
    assert not any(isinstance(m, torch.nn.SyncBatchNorm) for m in model.modules())
    converted = World(0, 2).synchronized(model, torch.device("cuda"))
    kinds = [type(m) for m in converted.modules()]
    assert kinds.count(torch.nn.SyncBatchNorm) == norms > 0
    assert torch.nn.BatchNorm2d not in kinds
    assert all(torch.equal(converted.state_dict()[name], before[name]) for name in before)


def test_a_batch_that_can_not_be_shared_is_refused(tmp_path: Path) -> None:
    entry = {"data": "generated", "first_seed": 0, "num_scenes": 1, "size": [48, 64], "share": 1}
    recipe = Recipe.from_dict({"train": [entry], "batch": 3})
    with pytest.raises(UserError, match="batch 3 can't be shared by 2 processes"):
        Training(recipe, tmp_path, None, "cpu", world=World(0, 2))
