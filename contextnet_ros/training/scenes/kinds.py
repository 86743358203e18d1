"""Types that the scene modules share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Point: TypeAlias = tuple[float, float, float]
Key: TypeAlias = tuple[Any, ...]
Colour: TypeAlias = "Sequence[float] | Array"
Points: TypeAlias = "Sequence[Sequence[float]] | Array"
Footprints: TypeAlias = "dict[str, tuple[float, float, float, float]]"
