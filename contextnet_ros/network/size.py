"""What the network sees of a frame: `network_size` of the weight file."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

KINDS = ("frame", "scale", "long_side")
INTERPOLATIONS = ("area", "linear")
_FORMS = re.compile(r"frame|(?P<kind>scale|long_side)\s+(?P<value>\d+(\.\d+)?)")


@dataclass(frozen=True)
class NetworkSize:
    """`frame` (as it is), `scale S` or `long_side N`, and how frames are resized to it.

    `area` averages the pixels that shrinking merges and is bilinear when enlarging; `linear` is
    bilinear both ways. Both are OpenCV's resize on bytes.
    """

    kind: str = "frame"
    value: float = 1.0
    interpolation: str = "area"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"network size {self.kind!r} is unknown; {_USAGE}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"interpolation {self.interpolation!r} is unknown; choose from {INTERPOLATIONS}"
            )
        if self.kind == "scale" and not 1 / 64 <= self.value <= 64:
            raise ValueError(f"scale {self.value} is outside 1/64 to 64; {_USAGE}")
        if self.kind == "long_side" and not (
            32 <= self.value <= 16384 and self.value == int(self.value)
        ):
            raise ValueError(f"long side {self.value} is no pixel count in 32..16384; {_USAGE}")

    @classmethod
    def parse(cls, text: str, interpolation: str = "area") -> NetworkSize:
        """The size that `str()` gives; raises ValueError naming the text and the known forms."""
        match = _FORMS.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"network size {text!r} is unknown; {_USAGE}")
        kind, value = (match["kind"], float(match["value"])) if match["kind"] else ("frame", 1.0)
        return cls(kind, value, interpolation)

    def resolve(self, height: int, width: int) -> tuple[int, int]:
        """Height and width in network pixels of a frame, before padding; at least 1 x 1."""
        if self.kind == "frame":
            return height, width
        factor = self.value if self.kind == "scale" else self.value / max(height, width)
        return max(1, math.floor(height * factor + 0.5)), max(1, math.floor(width * factor + 0.5))

    def __str__(self) -> str:
        return "frame" if self.kind == "frame" else f"{self.kind} {self.value:.15g}"


_USAGE = "write 'frame', 'scale S' (as 'scale 0.5') or 'long_side N' (as 'long_side 960')"
