"""segment_node with a stand-in for the network, to measure everything but the network.

    python -m contextnet_ros.ros.stand_in_node --sleep-ms 10 --ros-args -r image:=/camera/image_raw

Its labels are blank and come after the given sleep, 0 unless given; all else is segment_node.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from contextnet_ros.inference import SegmentedFrame, Segmenter
from contextnet_ros.ros import segment_node

_OPTION = "--sleep-ms"


class StandIn(Segmenter):
    """A Segmenter of the weights it is given, which it never asks."""

    sleep_ms = 0.0

    def __call__(
        self, image: npt.NDArray[np.uint8], outputs: Sequence[str] | None = None
    ) -> SegmentedFrame:
        """A blank label, and blanks of what else is asked for."""
        start_s = time.perf_counter()
        time.sleep(self.sleep_ms / 1e3)
        size = image.shape[:2]
        label = self._blank(size)
        return SegmentedFrame(
            label,
            np.zeros((*size, 3), np.uint8) if "overlay" in (outputs or ()) else None,
            label if "confidence" in (outputs or ()) else None,
            {"network": 1e3 * (time.perf_counter() - start_s)},
        )

    def _blank(self, size: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        # One array for all frames: the relay, too, makes its blank once.
        if getattr(self, "_label", None) is None or self._label.shape != size:
            self._label: npt.NDArray[np.uint8] = np.zeros(size, np.uint8)
        return self._label


def main() -> NoReturn:
    """As segment_node's, after `--sleep-ms MS` where that comes first."""
    if sys.argv[1:2] == [_OPTION]:
        StandIn.sleep_ms = float(sys.argv[2])
        del sys.argv[1:3]
    load = StandIn.load

    def load_stand_in(*arguments: Any, **options: Any) -> Segmenter:
        return load(*arguments, **options)

    # Whoever loads a Segmenter in this process gets the stand-in.
    Segmenter.load = load_stand_in  # type: ignore[method-assign]
    segment_node.main()


if __name__ == "__main__":
    main()
