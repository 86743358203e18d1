"""The host's side of the pipeline: results that return to a pool, and copies by several threads."""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

Bytes = npt.NDArray[np.uint8]
Shapes = Mapping[str, tuple[int, ...]]

# Below this, waking other threads takes longer than the copy.
_WORTH_SHARING_BYTES = 1 << 20


class Lease:
    """Memory for one frame's results, whose arrays are their owner's until the last is gone."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self.tensors = tensors

    def arrays(self) -> dict[str, Bytes]:
        """Return arrays that keep this lease."""
        return {
            name: np.asarray(_Leased(tensor.numpy(), self)) for name, tensor in self.tensors.items()
        }


class _Leased:
    """What NumPy keeps as the base of an array and of every view of it."""

    def __init__(self, array: Bytes, lease: Lease) -> None:
        self.__array_interface__ = array.__array_interface__
        self._lease = lease


class LeasePool:
    """A fixed number of leases; nothing is allocated after the start."""

    def __init__(
        self, make: Callable[[tuple[int, ...]], torch.Tensor], shapes: Shapes, count: int
    ) -> None:
        self._free = deque(
            {name: make(shape) for name, shape in shapes.items()} for _ in range(count)
        )

    def take(self) -> Lease | None:
        """Return a free one, or None where their owners keep them all."""
        try:
            tensors = self._free.popleft()
        except IndexError:
            return None
        lease = Lease(tensors)
        weakref.finalize(lease, self._free.append, tensors).atexit = False
        return lease


class Copier:
    """Copies frames in bands of rows, one for each thread."""

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads
        self._others = ThreadPoolExecutor(max(1, num_threads - 1), "frame-copy")

    def __call__(self, target: Bytes, source: Bytes) -> None:
        if self._num_threads == 1 or source.nbytes < _WORTH_SHARING_BYTES:
            np.copyto(target, source)
            return
        edges = np.linspace(0, len(source), self._num_threads + 1).astype(int)
        first, *bands = [slice(*pair) for pair in itertools.pairwise(edges)]
        others = [self._others.submit(np.copyto, target[band], source[band]) for band in bands]
        np.copyto(target[first], source[first])
        for other in others:
            other.result()
