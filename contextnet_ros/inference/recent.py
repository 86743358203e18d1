"""What is kept for the frame sizes seen last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

# Cameras of one node may differ in size; a folder of pictures may hold any number of sizes.
_KEPT = 4


class Recent(Generic[Key, Value]):
    """The values of the keys asked for last, of which making one takes long."""

    def __init__(self) -> None:
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """Return the value of a key, made anew where it is not kept."""
        if key in self._values:
            self._values.move_to_end(key)
        else:
            # Before the new one takes memory.
            while len(self._values) >= _KEPT:
                self._values.popitem(last=False)
            self._values[key] = make()
        return self._values[key]
