"""What a run writes about itself, and what TensorBoard reads of it."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from contextnet_ros.files import UserError
from contextnet_ros.training import sources
from contextnet_ros.training.loop import Training
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.record import BOARD_NAME, LOG_NAME, Board, Record

SCENES = {"data": "generated", "first_seed": 0, "num_scenes": 2, "size": [48, 64]}
RECIPE = Recipe.from_dict(
    {
        "variant": "cn14-160", "network_size": "frame", "train": [{**SCENES, "share": 1}],
        "validate": [SCENES], "steps": 5, "batch": 1, "validate_every": 2, "checkpoint_every": 2,
        "augmentation": {"crop": [32, 64]},
    }
)  # fmt: skip


def test_the_log_replaces_what_a_resumed_run_repeats(tmp_path: Path) -> None:
    record = Record(tmp_path, 0)
    for step, loss in ((2, 0.5), (4, 0.4), (6, 0.3), (4, 0.45)):
        record.validated({"step": step, "loss": loss, "loader_wait_share": 0, "scores": []})
    lines = [json.loads(line) for line in (tmp_path / LOG_NAME).read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(2, 0.5), (4, 0.45)]


def test_the_line_of_a_validation_is_rounded_and_the_log_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = [{"data": "a", "miou_percent": 100 / 3}, {"data": "b", "miou_percent": None}]
    entry = {"step": 2, "loss": 0.5, "loader_wait_share": 0, "scores": scores}
    Record(tmp_path, 0).validated(entry)
    assert "mIoU a: 33.33 %, b: none, loader" in capsys.readouterr().err
    assert json.loads((tmp_path / LOG_NAME).read_text()) == entry


def test_without_tensorboard_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"--tensorboard needs .*pip install tensorboard") as caught:
        Training(RECIPE, tmp_path, None, "cpu", tensorboard=True)
    assert "\n" not in str(caught.value)
    Training(RECIPE, tmp_path, None, "cpu", workers=0)  # without the option nothing asks for it


def test_a_disk_that_refuses_the_board_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the package tensorboard")
    message = r"cannot write .*tensorboard: .*; make room, or go on without --tensorboard"
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=message):
        Record(tmp_path / "file", 0, board=True)

    class FullDisk:
        def __getattr__(self, _: str) -> Callable[..., None]:
            def write(*_: object, **__: object) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            return write

    board = Board(tmp_path / BOARD_NAME, 0)
    board.close()
    board._writer = FullDisk()
    for call in (
        lambda: board.step(1, {"loss": 1.0}, 0.1),
        lambda: board.validated({"step": 1, "loader_wait_share": 0.0, "scores": []}),
        lambda: board.picture(1, "a", np.zeros((4, 4, 3), np.uint8)),
        board.close,
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_an_output_that_can_not_be_written_is_told_before_data_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "ready", lambda _: pytest.fail("the data was read"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file/run"):
        Training(RECIPE, tmp_path / "file" / "run", None, "cpu", workers=0)

    def on_a_full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", on_a_full_disk)
    with pytest.raises(UserError, match=r"cannot write .*: No space left"):
        Training(RECIPE, tmp_path / "run", None, "cpu", workers=0)
    assert list((tmp_path / "run").iterdir()) == []


def test_tensorboard_shows_losses_scores_and_pictures_and_no_step_twice(tmp_path: Path) -> None:
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="needs the package tensorboard (requirements-dev.txt)",
    )
    torch.set_num_threads(1)

    def train(stop_after: int) -> None:
        training = Training(RECIPE, tmp_path, None, "cpu", workers=0, tensorboard=True)
        training.run(stop=lambda: training.step >= stop_after)

    train(3)
    # As after a kill: the files tell of step 3, the checkpoint stands at 2.
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    torch.save({**state, "step": 2}, tmp_path / "checkpoint.pt")
    train(5)
    board = reader.EventAccumulator(str(tmp_path / BOARD_NAME), {"images": 0, "scalars": 0})
    board.Reload()
    for tag in ("loss/loss", "loss/main", "loss/auxiliary", "learning_rate"):
        assert [event.step for event in board.Scalars(tag)] == [1, 2, 3, 4, 5], tag
    entries = [json.loads(line) for line in (tmp_path / LOG_NAME).read_text().splitlines()]
    data = entries[0]["scores"][0]["data"]
    scores = [(event.step, event.value) for event in board.Scalars(f"miou_percent/{data}")]
    assert [step for step, _ in scores] == [2, 4, 5]
    for (_, shown), entry in zip(scores, entries, strict=True):
        assert shown == pytest.approx(entry["scores"][0]["miou_percent"])
    occurring = {name for name, iou in entries[0]["scores"][0]["iou_percent"].items() if iou}
    tags = board.Tags()
    assert {f"iou_percent/{data}/{name}" for name in occurring} <= set(tags["scalars"])
    rates = [event.value for event in board.Scalars("learning_rate")]
    np.testing.assert_allclose(rates, [(1 + i) * RECIPE.learning_rate / 200 for i in range(5)])
    assert tags["images"] == [f"{data}/scene_0", f"{data}/scene_1"]
    pictures = board.Images(f"{data}/scene_0")
    assert [picture.step for picture in pictures] == [2, 4, 5]
    assert (pictures[0].width, pictures[0].height) == (3 * 64, 48)
