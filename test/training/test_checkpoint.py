"""Checkpoints: what a full disk and another network are told, and what survives."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import pytest
import torch
import yaml

from contextnet_ros.files import UserError
from contextnet_ros.training.checkpoint import (
    CHECKPOINT_NAME,
    AveragedWeights,
    load_checkpoint,
    make_room,
    save_checkpoint,
)
from contextnet_ros.training.recipe import Recipe

RECIPE = Recipe.from_dict(
    {"train": [{"data": "generated", "first_seed": 0, "num_scenes": 1, "share": 1}]}
)


def test_a_full_disk_is_one_line_and_the_old_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, the disk that is always full")
    state = {"recipe": RECIPE.to_dict(), "step": 7, "model": torch.arange(100_000)}
    save_checkpoint(tmp_path, state)
    before = (tmp_path / CHECKPOINT_NAME).read_bytes()

    def on_a_full_disk(prefix: str, suffix: str, dir: Path) -> tuple[int, str]:
        path = Path(dir) / f"{prefix}full{suffix}"
        path.symlink_to("/dev/full")
        return os.open(path, os.O_WRONLY), str(path)

    monkeypatch.setattr(tempfile, "mkstemp", on_a_full_disk)
    with pytest.raises(UserError, match=r"cannot write .*checkpoint\.pt: No space left") as caught:
        save_checkpoint(tmp_path, {**state, "step": 8})
    assert "\n" not in str(caught.value)
    assert (tmp_path / CHECKPOINT_NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_NAME]
    found = load_checkpoint(tmp_path, RECIPE)
    assert found is not None
    assert found["step"] == 7


def test_what_a_killed_run_left_goes_and_the_room_that_a_run_takes_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = torch.nn.Linear(512, 512)
    average = AveragedWeights(module, 0.9)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 512)).sum().backward()
    optimizer.step()
    states = {"model": module.state_dict(), "average": average.module.state_dict()}
    save_checkpoint(tmp_path, {**states, "optimizer": optimizer.state_dict()})
    checkpoint = tmp_path / CHECKPOINT_NAME
    taken = checkpoint.stat().st_size
    for name in (
        ".checkpoint-k3x_.pt",
        ".best-77ab.safetensors",
        ".probe-a_x",
        ".bad_batch_1-z.npz",
    ):
        (tmp_path / name).touch()
    (tmp_path / ".bashrc").touch()
    written = []

    class Counting(io.BytesIO):
        def close(self) -> None:
            written.append(len(self.getvalue()))
            super().close()

    monkeypatch.setattr(Path, "open", lambda *_: Counting())
    make_room(tmp_path, module)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".bashrc", CHECKPOINT_NAME]
    weights = sum(tensor.nbytes for tensor in module.state_dict().values())
    # What stands there already counts: one checkpoint more, and twice the best weights.
    assert taken + 2 * weights <= written[0] <= 1.5 * (taken + 2 * weights)
    checkpoint.unlink()
    make_room(tmp_path, module)
    assert written[1] == written[0] + taken


def test_a_file_of_something_else_or_another_version_is_refused(tmp_path: Path) -> None:
    for state, told in (
        ({"weights": 1}, r"checkpoint\.pt is of no training here: delete it"),
        (
            {"recipe": {"future_key": 1}},
            r"checkpoint\.pt: .*'future_key' is unknown.*; mend that",
        ),
    ):
        save_checkpoint(tmp_path, state)
        with pytest.raises(UserError, match=told):
            load_checkpoint(tmp_path, RECIPE)


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("variant=cn12", "variant"),
        ("width=2", "width"),
        ("precision=bfloat16", "precision"),
        ("teacher=[a.safetensors]", "teacher"),
    ],
)
def test_a_checkpoint_of_another_network_or_loss_is_refused(
    tmp_path: Path, setting: str, key: str
) -> None:
    save_checkpoint(tmp_path, {"recipe": RECIPE.to_dict(), "step": 1})
    other = RECIPE.with_settings([setting])
    with pytest.raises(UserError, match=rf"another recipe \(different: {key}\).*-o") as caught:
        load_checkpoint(tmp_path, other)
    assert "\n" not in str(caught.value)


def test_a_class_table_that_has_changed_since_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "farm.yaml"

    def write(*names: str) -> None:
        classes = [{"name": name, "color": [9, 9, len(name)]} for name in names]
        path.write_text(yaml.safe_dump({"name": "farm", "classes": classes}))

    write("field", "cow")
    data = {"data": "folders", "images": "i", "labels": "l", "table": str(path), "share": 1}
    recipe = Recipe.from_dict({"classes": str(path), "train": [data]})
    save_checkpoint(tmp_path, {"recipe": recipe.to_dict(), "table": recipe.table.to_dict()})
    assert load_checkpoint(tmp_path, recipe) is not None
    write("cow", "field")
    message = r"the classes field, cow, .*farm\.yaml has cow, field now: restore it.*-o"
    with pytest.raises(UserError, match=message) as caught:
        load_checkpoint(tmp_path, recipe)
    assert "\n" not in str(caught.value)
    # One from before the table was kept goes on.
    save_checkpoint(tmp_path, {"recipe": recipe.to_dict(), "step": 1})
    assert load_checkpoint(tmp_path, recipe) is not None
