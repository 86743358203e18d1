"""Memory given back when a network is no longer needed in a process that goes on."""

from __future__ import annotations

import ctypes
import gc

import torch

_M_ARENA_MAX = -8  # of glibc's malloc.h


def keep_one_heap() -> None:
    """Let all threads that start from now on allocate from the process's one heap.

    glibc gives threads heaps of their own, 64 MiB each, whose ends it never gives back: how much of
    a freed network stays would depend on the thread that happened to make it.
    """
    # Other C libraries have no such function, and no such heaps.
    options = getattr(ctypes.CDLL(None), "mallopt", None)
    if options is not None:
        options(_M_ARENA_MAX, 1)


def release_memory() -> None:
    """Give back what freed networks leave to Python, torch's allocator and the C library."""
    # Networks hold themselves in cycles.
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
    # glibc keeps freed blocks, some 50 MB here, for later; others have no such function.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
