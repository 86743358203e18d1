"""Memory of the host for results, which returns to a pool when the caller drops them."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch

Bytes = npt.NDArray[np.uint8]
Shapes = Mapping[str, tuple[int, ...]]


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
