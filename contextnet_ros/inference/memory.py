"""Memory given back when a network is no longer needed in a process that goes on."""

from __future__ import annotations

import ctypes
import gc

import torch

from contextnet_ros.inference.device import release_cached


def release_memory() -> None:
    """Give back what freed networks leave to Python, torch's allocator and the C library."""
    # Networks hold themselves in cycles.
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        release_cached()
    # glibc keeps freed blocks, some 50 MB here, for later; others have no such function.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
