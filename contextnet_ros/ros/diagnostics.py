"""What `/diagnostics` says of the node, once a second and when it ends.

Two statuses, with keys that don't change and values that parse as numbers where they are:

- `NODE: frames`: received, superseded, bad, published, pending, not_taken (all since the start;
  received is the sum of the four after it), bad_REASON for each reason seen, input_hz and
  output_hz (since the last message), latency_ms_p50 and latency_ms_p99 (from a frame's arrival
  to its label's publishing, over the last 1000 frames; nan before the first), topic.
- `NODE: model`: model, variant, class_table, classes, network_size, device,
  precision, data_licence.

NODE is the node's full name without the leading slash, `segmenter` unless it was changed.
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import asdict
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from contextnet_ros.ros.frames import FrameCounts

LATENCY_WINDOW = 1000


class LatencyWindow:
    """Percentiles of the latest latencies in milliseconds."""

    def __init__(self, length: int = LATENCY_WINDOW) -> None:
        # append and the copy by tuple() are each one step under the GIL: no lock is needed.
        self._latencies_ms: deque[float] = deque(maxlen=length)

    def add(self, latency_ms: float) -> None:
        self._latencies_ms.append(latency_ms)

    def percentile_ms(self, percent: float) -> float:
        """NaN while there is none."""
        latencies_ms = tuple(self._latencies_ms)
        return float(np.percentile(latencies_ms, percent)) if latencies_ms else math.nan


class Rates:
    """Frames per second in and out between two readings of the counts."""

    def __init__(self) -> None:
        self._time_s = time.monotonic()
        self.counts = FrameCounts()
        self.input_hz = self.output_hz = 0.0
        self.new_bad = self.new_not_taken = 0

    def update(self, counts: FrameCounts) -> None:
        """Compare with the counts given last."""
        now_s = time.monotonic()
        elapsed_s = max(now_s - self._time_s, 1e-9)
        self.input_hz = (counts.received - self.counts.received) / elapsed_s
        self.output_hz = (counts.published - self.counts.published) / elapsed_s
        self.new_bad = counts.bad - self.counts.bad
        self.new_not_taken = counts.not_taken - self.counts.not_taken
        self._time_s, self.counts = now_s, counts


def frames_status(
    node_name: str, topic: str, publishers: int, rates: Rates, latency: LatencyWindow
) -> DiagnosticStatus:
    """The status `NODE: frames` of the counts that `rates` read last."""
    counts = rates.counts
    values = asdict(counts)
    for key in ("bad_reasons", "last_bad"):
        del values[key]
    values |= {f"bad_{reason}": n for reason, n in sorted(counts.bad_reasons.items())}
    values |= {
        "input_hz": f"{rates.input_hz:.2f}",
        "output_hz": f"{rates.output_hz:.2f}",
        "latency_ms_p50": f"{latency.percentile_ms(50):.2f}",
        "latency_ms_p99": f"{latency.percentile_ms(99):.2f}",
        "topic": topic,
    }
    level, message = DiagnosticStatus.OK, f"{rates.output_hz:.1f} labels per second"
    if rates.new_bad:
        level = DiagnosticStatus.WARN
        message = f"{rates.new_bad} bad frames; the last: {counts.last_bad}"
    elif rates.new_not_taken:
        level = DiagnosticStatus.WARN
        message = f"{rates.new_not_taken} frames were sent but did not arrive: {DDS_REMEDY}"
    elif publishers == 0:
        level, message = DiagnosticStatus.WARN, f"nobody publishes {topic}"
    return _status(f"{node_name}: frames", level, message, values)


def model_status(node_name: str, model: str, segmenter: Any) -> DiagnosticStatus:
    """The status `NODE: model` of a loaded Segmenter."""
    header = segmenter.header
    values = {
        "model": model,
        "variant": header.variant,
        "class_table": header.table.name,
        "classes": header.table.num_classes,
        "network_size": segmenter.network_size,
        "device": segmenter.device,
        "precision": segmenter.precision,
        "memory_bytes": segmenter.memory_bytes(),
        "data_licence": header.data_licence,
    }
    return _status(f"{node_name}: model", DiagnosticStatus.OK, segmenter.describe(), values)


def diagnostic_array(stamp: Any, statuses: list[DiagnosticStatus]) -> DiagnosticArray:
    """The message for `/diagnostics`; `stamp` is a builtin_interfaces/Time."""
    array = DiagnosticArray(status=statuses)
    array.header.stamp = stamp
    return array


# What to do when frames are lost between the camera's process and ours.
DDS_REMEDY = (
    "start the camera's process with the DDS profile too (FASTDDS_DEFAULT_PROFILES_FILE and "
    "FASTRTPS_DEFAULT_PROFILES_FILE set to config/dds/fastdds.xml)"
)


def _status(name: str, level: bytes, message: str, values: dict[str, Any]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(name=name, level=level, message=message, hardware_id="", values=pairs)
