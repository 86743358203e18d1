"""Rates, latencies and silences of a stream of frames."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from contextnet_ros.ros.frames import FrameCounts

LATENCY_WINDOW = 1000

# A stamp that is further from now says nothing of latency: nobody set it, another clock did, or a
# bag is played without its own.
_LATEST_STAMP_MS = 60_000.0

_SHORTEST_SILENCE_S = 2.0
_SILENT_PERIODS = 3.0


class LatencyWindow:
    """Percentiles of the latest latencies in milliseconds."""

    def __init__(self, length: int = LATENCY_WINDOW) -> None:
        # append and the copy by tuple() are each one step under the GIL: no lock is needed.
        self._latencies_ms: deque[float] = deque(maxlen=length)

    def add(self, latency_ms: float) -> None:
        self._latencies_ms.append(latency_ms)

    def latest(self) -> tuple[float, ...]:
        return tuple(self._latencies_ms)


def percentile_ms(windows: Sequence[LatencyWindow], percent: float) -> float:
    """Over all that the windows hold; NaN while there is none."""
    latencies_ms = [latency_ms for window in windows for latency_ms in window.latest()]
    return float(np.percentile(latencies_ms, percent)) if latencies_ms else math.nan


def stamp_latency_ms(stamp: Any, now_ns: int) -> float | None:
    """Time since a header's stamp; None for one of zero, of the future or long ago."""
    stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
    latency_ms = (now_ns - stamp_ns) / 1e6
    return latency_ms if stamp_ns > 0 and 0 <= latency_ms <= _LATEST_STAMP_MS else None


class Rates:
    """Frames per second in and out between two readings of the counts."""

    def __init__(self) -> None:
        self._time_s = time.monotonic()
        self.counts = FrameCounts()
        self.input_hz = self.output_hz = 0.0
        self.new_bad = self.new_not_taken = self.new_published = self.new_failed = 0

    def update(self, counts: FrameCounts) -> None:
        """Compare with the counts given last."""
        now_s = time.monotonic()
        elapsed_s = max(now_s - self._time_s, 1e-9)
        before = self.counts
        self.new_published = counts.published - before.published
        self.input_hz = (counts.received - before.received) / elapsed_s
        self.output_hz = self.new_published / elapsed_s
        self.new_bad = counts.bad - before.bad
        self.new_not_taken = counts.not_taken - before.not_taken
        failed = (one.bad_reasons.get("segmentation", 0) for one in (counts, before))
        self.new_failed = next(failed) - next(failed)
        self._time_s, self.counts = now_s, counts


class Silence:
    """How long a stream that came has been silent, longer than its own period explains."""

    def __init__(self) -> None:
        self._last_s: float | None = None
        self._period_s = 0.0
        self._start_s = 0.0

    def start(self, now_s: float) -> None:
        """The stream may come from now on."""
        self._last_s, self._start_s = None, now_s

    def broken(self, now_s: float) -> None:
        """A frame came."""
        if self._last_s is not None:
            # A mean over the last few frames.
            self._period_s += 0.2 * (now_s - self._last_s - self._period_s)
        self._last_s = now_s

    def lasts_s(self, now_s: float) -> float:
        """Seconds since the last frame, or since the start; 0 while that is no silence."""
        since = self._start_s if self._last_s is None else self._last_s
        limit_s = max(_SHORTEST_SILENCE_S, _SILENT_PERIODS * self._period_s)
        return now_s - since if now_s - since > limit_s else 0.0
