"""The ROS node `segmenter`: images in, labels and overlays out, every frame's fate counted.

Two threads: one receives every message at once and keeps the newest, the main one segments.
"""

from __future__ import annotations

import threading
import time
from typing import Any, NamedTuple, Protocol

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rclpy.task import Future
from sensor_msgs.msg import Image

from contextnet_ros.files import UserError
from contextnet_ros.inference import Segmenter
from contextnet_ros.ros import compat, diagnostics, image_msg, parameters
from contextnet_ros.ros.frames import NewestFrame, SequenceGaps
from contextnet_ros.ros.timings import FrameTimes, TimingsPublisher

NAME = "segmenter"
REPORT_PERIOD_S = 1.0


class Stop(Protocol):
    """See segment_node.StopRequest."""

    requested: bool
    wake: Any


class Arrival(NamedTuple):
    """A message and when it came."""

    message: Image
    monotonic_s: float


class SegmentNode:
    """Loads the network at once; subscribes and works in `serve`. Raises UserError."""

    def __init__(self, stop: Stop) -> None:
        # Held, not inherited from: rclpy's Node keeps private names of its own.
        self._node = Node(NAME)
        self._stop = stop
        parameters.declare(self._node)
        self._segmenter = self._load()
        self._newest: NewestFrame[Arrival] = NewestFrame(lambda: stop.wake.put(None))
        self._gaps = SequenceGaps()
        self._latency = diagnostics.LatencyWindow()
        self._rates = diagnostics.Rates()
        self._log_rates = diagnostics.Rates()
        self._next_log_s = 0.0
        self._publishers = 0
        self._converted: set[str] = set()
        self._receiving_failed: BaseException | None = None
        self._ended = Future()

    def serve(self) -> None:
        """Warm up, subscribe, and segment until a stop is requested; then count up."""
        if self._stop.requested:
            return
        self._warm_up()
        if self._stop.requested:
            return
        self._open_topics()
        executor = SingleThreadedExecutor()
        executor.add_node(self._node)
        receiver = threading.Thread(target=self._receive, args=(executor,), name="receive")
        receiver.start()
        try:
            self._work()
        finally:
            # Ended by a future: shutting an executor down while it spins can leave it waiting.
            self._ended.set_result(None)
            receiver.join()
            executor.shutdown()
        if self._receiving_failed is not None:
            raise self._receiving_failed
        self._report()
        self._node.get_logger().info(f"ended: {self._newest.counts()}")

    def _load(self) -> Segmenter:
        values = {spec.name: self._node.get_parameter(spec.name).value for spec in parameters.SPECS}
        segmenter = Segmenter.load(
            values["model"],
            device=values["device"],
            precision=values["precision"],
            network_size=values["network_size"] or None,
            num_threads=values["num_threads"] or None,
        )
        header = segmenter.header
        self._node.get_logger().info(
            f"loaded {values['model']}: {header.variant}, {header.table.num_classes} classes "
            f"({header.table.name}), licence of its training data: {header.data_licence}"
        )
        return segmenter

    def _warm_up(self) -> None:
        height = self._node.get_parameter("warm_up_height").value
        width = self._node.get_parameter("warm_up_width").value
        start_s = time.monotonic()
        try:
            self._segmenter.warm_up(height, width)
        except (RuntimeError, MemoryError) as error:
            cause = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(
                f"warming up with {width} x {height} pixels failed on {self._segmenter.device} "
                f"({cause}): set warm_up_width, warm_up_height or network_size smaller, or "
                "device:=cpu"
            ) from error
        self._node.get_logger().info(
            f"runs on {self._segmenter.device} in {self._segmenter.precision}, network size "
            f"{self._segmenter.network_size}; warmed up with {width} x {height} pixels in "
            f"{time.monotonic() - start_s:.1f} s"
        )

    def _open_topics(self) -> None:
        # Reliable and the newest only: a slow reader gets the latest label, not a backlog.
        newest = QoSProfile(depth=1)
        self._label = self._node.create_publisher(Image, "~/label", newest)
        self._overlay = self._node.create_publisher(Image, "~/overlay", newest)
        self._timings = TimingsPublisher(self._node)
        self._diagnostics = self._node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._images = self._node.create_subscription(
            Image, "image", compat.image_callback(self._on_image), qos_profile_sensor_data
        )
        # A steady clock: reports go on while simulated time stands still.
        self._timer = self._node.create_timer(
            REPORT_PERIOD_S, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._next_log_s = time.monotonic() + self._node.get_parameter("log_period_s").value
        self._node.get_logger().info(
            f"listens to {self._images.topic_name}, publishes {self._label.topic_name} and "
            f"{self._overlay.topic_name}"
        )

    # The receiving thread.

    def _receive(self, executor: SingleThreadedExecutor) -> None:
        try:
            executor.spin_until_future_complete(self._ended)
        except ExternalShutdownException:
            pass
        except BaseException as error:
            # A node that no longer receives must not look alive: the main thread ends with it.
            self._receiving_failed = error
        self._stop.requested = True
        self._stop.wake.put(None)

    def _on_image(self, message: Image, info: dict[str, Any]) -> None:
        arrival = Arrival(message, time.monotonic())
        publication = compat.publication(info, self._publishers)
        not_taken = self._gaps.missing_before(*publication) if publication else 0
        self._explain_conversion(message.encoding)
        try:
            image_msg.check(message)
        except image_msg.BadFrame as bad:
            self._newest.receive_bad(bad.reason, str(bad), not_taken)
        else:
            self._newest.receive(arrival, not_taken)

    def _explain_conversion(self, encoding: str) -> None:
        if encoding in image_msg.CONVERTED and encoding not in self._converted:
            self._converted.add(encoding)
            self._node.get_logger().info(image_msg.converter_line(encoding))

    def _report(self) -> None:
        """Once a second: diagnostics, and log lines for bad frames and of the log period."""
        topic = self._images.topic_name
        self._publishers = self._node.count_publishers(topic)
        self._rates.update(self._newest.counts())
        if self._rates.new_bad:
            self._node.get_logger().warning(
                f"{self._rates.new_bad} bad frames; the last: {self._rates.counts.last_bad}"
            )
        name = self._node.get_fully_qualified_name().lstrip("/")
        statuses = [
            diagnostics.frames_status(name, topic, self._publishers, self._rates, self._latency),
            diagnostics.model_status(
                name, self._node.get_parameter("model").value, self._segmenter
            ),
        ]
        stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(diagnostics.diagnostic_array(stamp, statuses))
        self._log_progress()

    def _log_progress(self) -> None:
        period_s = self._node.get_parameter("log_period_s").value
        now_s = time.monotonic()
        # Called once a second: the nearest call counts as on time.
        if period_s == 0 or now_s < self._next_log_s - REPORT_PERIOD_S / 2:
            return
        self._next_log_s = now_s + period_s
        rates = self._log_rates
        rates.update(self._newest.counts())
        if rates.new_not_taken:
            self._node.get_logger().warning(
                f"{rates.new_not_taken} frames were sent but did not arrive: "
                f"{diagnostics.DDS_REMEDY}"
            )
        if rates.input_hz == 0:
            self._node.get_logger().info(
                f"no frame came on {self._images.topic_name}, which has "
                f"{self._publishers} publishers"
            )
            return
        self._node.get_logger().info(
            f"{rates.input_hz:.1f} frames/s in, {rates.output_hz:.1f} labels/s out, latency "
            f"p50 {self._latency.percentile_ms(50):.0f} ms, "
            f"p99 {self._latency.percentile_ms(99):.0f} ms; {rates.counts}"
        )

    # The main thread.

    def _work(self) -> None:
        while True:
            self._stop.wake.get()
            if self._stop.requested:
                return
            arrival = self._newest.take()
            if arrival is not None:
                self._segment(arrival)

    def _segment(self, arrival: Arrival) -> None:
        message = arrival.message
        times = FrameTimes(arrival.monotonic_s)
        times.mark("taken")
        # Polled, since Humble has no event for a matched subscription.
        watched = self._overlay.get_subscription_count() > 0
        try:
            image = image_msg.to_bgr(message)
            times.mark("decoded")
            if watched:
                self._follow_opacity()
            frame = self._segmenter(image, ("label", "overlay") if watched else ("label",))
        except image_msg.BadFrame as bad:
            self._newest.finish_bad(bad.reason, str(bad))
            return
        except Exception as error:
            # One frame too large for the device's memory, say, must not end the stream.
            cause = next(iter(str(error).splitlines()), "")
            self._newest.finish_bad(
                "segmentation",
                f"{message.width} x {message.height} {message.encoding} could not be segmented "
                f"on {self._segmenter.device} ({type(error).__name__}: {cause})",
            )
            return
        times.mark("segmented")
        label = image_msg.fill(Image(), frame.label, "mono8", message.header)
        times.mark("filled")
        self._label.publish(label)
        self._newest.finish_published()
        self._latency.add(1000 * (time.monotonic() - arrival.monotonic_s))
        self._timings.publish(message.header, times, frame.timings)
        if frame.overlay is not None:
            self._overlay.publish(image_msg.fill(Image(), frame.overlay, "bgr8", message.header))

    def _follow_opacity(self) -> None:
        opacity = self._node.get_parameter("overlay_opacity").value
        if opacity != self._segmenter.overlay_opacity:
            self._segmenter.overlay_opacity = opacity
