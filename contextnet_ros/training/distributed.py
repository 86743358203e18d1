"""Several processes that train one network, as `torchrun` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from contextnet_ros.files import UserError

Module = TypeVar("Module", bound=nn.Module)

# The others wait while the first process validates, and while the slowest reads its data.
_LONGEST_WAIT = timedelta(hours=2)


@dataclass(frozen=True)
class World:
    """Which of how many processes this is; alone, nothing is exchanged."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes, validates and reports."""
        return self.rank == 0

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Sum of a tensor over the processes."""
        result = value.detach().clone()
        if self.size > 1:
            dist.all_reduce(result)
        return result

    def synchronized(self, model: Module, device: torch.device) -> Module:
        """The model with batch statistics over all processes, where they have GPUs."""
        if self.size == 1 or device.type != "cuda":
            return model
        converted: Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model to call: alone itself, else one that averages gradients over the processes."""
        return model if self.size == 1 else DistributedDataParallel(model)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether any process says so: what all of them have to do together."""
        if self.size == 1:
            return flag
        return bool(self.total(torch.tensor(float(flag), device=device)) > 0)

    def agrees(self, value: int, device: torch.device) -> bool:
        """Whether every process says the same number; all learn of it together."""
        if self.size == 1:
            return True
        total = self.total(torch.tensor(value, device=device))
        return not self.any(int(total) != value * self.size, device)


def join(device: str) -> tuple[World, str]:
    """The world that torchrun's variables describe, and this process's device in it.

    "auto" and "cuda" become the GPU of the local rank. Without the variables: alone. Raises
    UserError where there is no such GPU.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World(), device
    rank = int(os.environ["RANK"])
    if device.startswith("cuda:"):
        raise UserError(
            f"device {device} is one for {size} processes: give cuda, each takes its own"
        )
    on_gpu = torch.cuda.is_available() and device in ("auto", "cuda")
    if on_gpu:
        local, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= gpus:
            raise UserError(f"process {local + 1} here has no GPU: give --nproc-per-node {gpus}")
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=_LONGEST_WAIT)
    return World(rank, size), device


@contextmanager
def joined(device: str) -> Iterator[tuple[World, str]]:
    """What `join` gives, for a block; ends with it."""
    whole = False
    try:
        yield join(device)
        whole = True
    finally:
        # After an error of this process nccl's end would wait for the others, who wait for it.
        # Without gloo's end, which does not wait, Python's may be an abort.
        if dist.is_initialized() and (whole or dist.get_backend() != "nccl"):
            dist.destroy_process_group()
