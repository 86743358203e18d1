"""Says once a second how the node does: on `/diagnostics`, and now and then in the log."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.utilities import get_rmw_implementation_identifier

from contextnet_ros.ros import compat, diagnostics
from contextnet_ros.ros.camera import Camera
from contextnet_ros.ros.frames import total
from contextnet_ros.ros.rates import Rates, percentile_ms

REPORT_PERIOD_S = 1.0


@dataclass(frozen=True)
class Condition:
    """What the node is doing: `idle` says why it takes no frames, `failure` what the device or a
    transition did."""

    state: str
    idle: str
    segmenter: Any
    failure: str


class Reporter:
    """Reports on the cameras from a timer of the node; `condition` is asked each time. `no_room`
    is what is wrong with the middleware's shared memory."""

    def __init__(
        self,
        node: Node,
        cameras: Sequence[Camera],
        condition: Callable[[], Condition],
        no_room: str = "",
    ) -> None:
        self._node = node
        self._cameras = cameras
        self._condition = condition
        self._name = node.get_fully_qualified_name().lstrip("/")
        # The end reports once more, from another thread than the timer's.
        self._lock = threading.Lock()
        self._rates = {camera: Rates() for camera in cameras}
        self._total = Rates()
        self._log_rates = Rates()
        self._last_log_s = 0.0
        self._faults: dict[Camera, list[str]] = {camera: [] for camera in cameras}
        self._silent: set[Camera] = set()
        self._bad = dict.fromkeys(cameras, 0)
        self._last_bad_s = dict.fromkeys(cameras, -math.inf)
        self._remedy = diagnostics.dds_remedy(get_rmw_implementation_identifier(), no_room)
        self._publisher = node.create_publisher(
            DiagnosticArray, "/diagnostics", 10, event_callbacks=compat.no_events()
        )
        # A steady clock: reports go on while simulated time stands still.
        self._timer = node.create_timer(
            REPORT_PERIOD_S, self.report, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def start_log_period(self) -> None:
        """The next line with rates comes a whole period from now."""
        self._last_log_s = time.monotonic()

    def report(self, last: bool = False) -> None:
        """Publish the statuses; log bad frames, what else goes wrong, and progress; nothing is left
        for later if it is the `last` time."""
        with self._lock:
            if last:
                self._last_bad_s = dict.fromkeys(self._cameras, -math.inf)
            self._report(self._condition())

    def _report(self, condition: Condition) -> None:
        for camera, rates in self._rates.items():
            rates.update(camera.newest.counts())
        self._total.update(total(rates.counts for rates in self._rates.values()))
        streams = [self._stream(camera, condition.idle) for camera in self._cameras]
        for camera, stream in zip(self._cameras, streams, strict=True):
            self._log_changes(camera, stream)
        model = self._node.get_parameter("model").value
        statuses = [
            *self._frames_statuses(streams, condition.idle),
            diagnostics.model_status(
                self._name, model, condition.state, condition.segmenter, condition.failure
            ),
        ]
        stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(diagnostics.diagnostic_array(stamp, statuses))
        self._log_progress(condition.idle, streams)

    def _stream(self, camera: Camera, idle: str) -> diagnostics.Stream:
        publishers = camera.publishers()
        return diagnostics.Stream(
            topic=camera.topic,
            rates=self._rates[camera],
            latency=[camera.latency],
            stamp_latency=[camera.stamp_latency],
            odd_stamps=camera.odd_stamps,
            publishers=publishers,
            remaps=() if publishers or idle else camera.remaps(),
            silent_s=camera.silence.lasts_s(time.monotonic()),
            publisher_faults=camera.publisher_faults(),
            subscriber_faults=camera.subscriber_faults(),
            idle=idle,
            remedy=self._remedy,
        )

    def _frames_statuses(self, streams: list[diagnostics.Stream], idle: str) -> list[Any]:
        name = f"{self._name}: frames"
        if len(streams) == 1:
            return [diagnostics.frames_status(name, streams[0])]
        each = [
            diagnostics.frames_status(f"{name} of {camera.name}", stream)
            for camera, stream in zip(self._cameras, streams, strict=True)
        ]
        together = diagnostics.Stream(
            topic=", ".join(stream.topic for stream in streams),
            rates=self._total,
            latency=[camera.latency for camera in self._cameras],
            stamp_latency=[camera.stamp_latency for camera in self._cameras],
            odd_stamps=sum(stream.odd_stamps for stream in streams),
            publishers=sum(stream.publishers for stream in streams),
            idle=idle,
        )
        return [diagnostics.summed_status(name, together, each), *each]

    def _log_changes(self, camera: Camera, stream: diagnostics.Stream) -> None:
        """Warn of what begins to go wrong, once; of bad frames at once, and then each period."""
        log = self._node.get_logger()
        rates = stream.rates
        self._bad[camera] += rates.new_bad
        if self._bad[camera] and self._is_over(self._last_bad_s[camera]):
            log.warning(
                f"{self._bad[camera]} bad frames; the last: {rates.counts.last_bad}{_of(camera)}"
            )
            self._bad[camera] = 0
            self._last_bad_s[camera] = time.monotonic()
        for fault in stream.faults:
            if fault not in self._faults[camera]:
                log.warning(fault)
        self._faults[camera] = list(stream.faults)
        silent = stream.silent_s > 0 and stream.publishers > 0 and not stream.idle
        if silent and camera not in self._silent and rates.counts.received > 0:
            self._silent.add(camera)
            log.warning(stream.silence())
        elif not silent and rates.input_hz > 0 and camera in self._silent:
            self._silent.remove(camera)
            log.info(f"frames come on {stream.topic} again")

    def _log_period_s(self) -> float:
        return float(self._node.get_parameter("log_period_s").value)

    def _is_over(self, since_s: float) -> bool:
        """Whether a period, as long as it is now, has gone by."""
        # Asked once a second: the nearest time counts as on time.
        return time.monotonic() >= since_s + self._log_period_s() - REPORT_PERIOD_S / 2

    def _log_progress(self, idle: str, streams: Sequence[diagnostics.Stream]) -> None:
        if idle or self._log_period_s() == 0 or not self._is_over(self._last_log_s):
            return
        self._last_log_s = time.monotonic()
        rates = self._log_rates
        rates.update(self._total.counts)
        log = self._node.get_logger()
        if rates.new_not_taken:
            log.warning(
                f"{rates.new_not_taken} frames were sent but did not arrive: {self._remedy}"
            )
        if rates.input_hz == 0:
            for stream in streams:
                if stream.publishers == 0 or stream.silent_s:
                    log.warning(stream.silence())
            return
        windows = [camera.latency for camera in self._cameras]
        log.info(
            f"{rates.input_hz:.1f} frames/s in, {rates.output_hz:.1f} labels/s out, latency "
            f"p50 {percentile_ms(windows, 50):.0f} ms, "
            f"p99 {percentile_ms(windows, 99):.0f} ms; {rates.counts}"
        )


def _of(camera: Camera) -> str:
    return f" (camera {camera.name})" if camera.name else ""
