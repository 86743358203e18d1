"""Several processes that train one network, as `torchrun` starts them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

Module = TypeVar("Module", bound=nn.Module)


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

    "auto" and "cuda" become the GPU of the local rank. Without the variables: alone.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World(), device
    rank = int(os.environ["RANK"])
    on_gpu = torch.cuda.is_available() and device in ("auto", "cuda")
    if on_gpu:
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if on_gpu else "gloo")
    return World(rank, size), device


def leave() -> None:
    """End what `join` began."""
    if dist.is_initialized():
        dist.destroy_process_group()
