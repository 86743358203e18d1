"""A small recipe, and contextnet-study called with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RECIPE = {
    "variant": "cn14-160",
    "width": 0.5,
    "network_size": "frame",
    "train": [{"data": "camvid", "split": "train", "share": 1}],
    "validate": [{"data": "camvid", "split": "val"}],
    "steps": 2,
    "batch": 2,
    "warmup_steps": 0,
    "validate_every": 1,
    "checkpoint_every": 1,
    "augmentation": {"crop": [64, 64]},
    "prune": {"widths": [0.25], "steps": 1},
}


def command(data: Path, name: str, out: Path, *more: str) -> list[str]:
    return [
        name, "--recipe", str(data / "small.yaml"), "--root", str(data), "-o", str(out),
        "--device", "cpu", "--workers", "0", *more,
    ]  # fmt: skip


def result(folder: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((folder / f"{name}.json").read_text()))
