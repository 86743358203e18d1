"""Checkpoints: all that a run needs to go on as if it had never stopped."""

from __future__ import annotations

import copy
import io
import os
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import nn

from contextnet_ros.files import UserError, atomic_write
from contextnet_ros.training.distributed import World
from contextnet_ros.training.recipe import Recipe

BEST_NAME = "best.safetensors"
CHECKPOINT_NAME = "checkpoint.pt"
BAD_BATCH_NAME = "bad_batch"
_PROBE_NAME = "probe"
_PROBE_BYTES = 1 << 20

Module = TypeVar("Module", bound=nn.Module)


class AveragedWeights(Generic[Module]):
    """Exponential moving average of a module's parameters and batch-norm statistics.

    Early on the average forgets faster, min(decay, (1 + step) / (10 + step)), so that it does not
    carry the random start along.
    """

    def __init__(self, module: Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        mine, theirs = (list(m.state_dict().values()) for m in (self.module, module))
        floats, counts = (
            [k for k, tensor in enumerate(mine) if tensor.is_floating_point() == wanted]
            for wanted in (True, False)
        )
        # All at once: one by one, a GPU would wait for hundreds of launches.
        torch._foreach_lerp_([mine[k] for k in floats], [theirs[k] for k in floats], 1 - decay)
        if counts:
            torch._foreach_copy_([mine[k] for k in counts], [theirs[k] for k in counts])


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) whole or not at all; raises UserError."""
    # Through memory: of a full disk torch's own writer says nothing that a person can read.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with atomic_write(folder / CHECKPOINT_NAME) as temporary, temporary.open("wb") as file:
        file.write(buffer.getbuffer())
        file.flush()
        # Else a power cut may leave the name without its bytes.
        os.fsync(file.fileno())


def make_room(folder: Path, module: nn.Module) -> None:
    """Remove what a killed run left half written, and see that what this one writes has room.

    Writes that much for a moment, less what already stands there; raises UserError.
    """
    for name in (CHECKPOINT_NAME, BEST_NAME, BAD_BATCH_NAME, _PROBE_NAME):
        for left in folder.glob(f".{Path(name).stem}*-*"):
            if left.is_file():
                left.unlink()
    weights = sum(tensor.nbytes for tensor in module.state_dict().values())
    # A checkpoint has the weights, their average and two moments of adamw, and some more. It and
    # the best weights count twice, since the old file goes when the new one stands.
    size = round(2 * (4 * 1.2 + 1) * weights)
    there = [folder / name for name in (CHECKPOINT_NAME, BEST_NAME)]
    size -= sum(path.stat().st_size for path in there if path.is_file())
    path = folder / _PROBE_NAME
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        for start in range(0, size, _PROBE_BYTES):
            file.write(bytes(min(_PROBE_BYTES, size - start)))
    path.unlink()


def save_batch(
    folder: Path, images: torch.Tensor, labels: torch.Tensor, step: int, world: World
) -> list[Path]:
    """Write the batch that broke a run, for a look at what is in it; each process its part.

    All processes have to call it. Returns the paths of all parts, by rank.
    """
    ends = [f"_{rank}" for rank in range(world.size)] if world.size > 1 else [""]
    paths = [folder / f"{BAD_BATCH_NAME}{end}.npz" for end in ends]
    with atomic_write(paths[world.rank]) as temporary:
        np.savez_compressed(
            temporary, images=images.cpu().numpy(), labels=labels.cpu().numpy(), step=step
        )
    # The first process to end takes the others along, written or not.
    world.any(False, images.device)
    return paths


def load_checkpoint(folder: Path, recipe: Recipe) -> dict[str, Any] | None:
    """The state of an interrupted run in `folder`, or None; raises UserError if it can't go on."""
    path = folder / CHECKPOINT_NAME
    if not path.is_file():
        return None
    remedy = "delete it to start again, or name another folder with -o"
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"checkpoint {path} can't be read ({type(error).__name__}): {remedy}"
        ) from error
    if not isinstance(state, dict) or "recipe" not in state:
        raise UserError(f"checkpoint {path} is of no training here: {remedy}")
    try:
        # Through Recipe, so that a run from before a key was there goes on with its default.
        earlier = Recipe.from_dict(state["recipe"]).to_dict()
    except UserError as error:
        raise UserError(
            f"checkpoint {path}: {error}; mend that, or name another folder with -o"
        ) from error
    wanted = recipe.to_dict()
    if earlier != wanted:
        keys = sorted(key for key in wanted if wanted[key] != earlier[key])
        raise UserError(
            f"{folder} holds a run with another recipe (different: {', '.join(keys)}): "
            "name another folder with -o"
        )
    # The recipe has the path of a table of one's own, not what stands in it; older states neither.
    known = state.get("table", recipe.table.to_dict())["names"]
    if known != list(recipe.table.names):
        raise UserError(
            f"{folder} holds a run with the classes {', '.join(known)}, {recipe.classes} has "
            f"{', '.join(recipe.table.names)} now: restore it, or name another folder with -o"
        )
    return state
