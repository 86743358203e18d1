"""One camera: its topic in, its topics out, and the fate of each of its frames."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from contextnet_ros.files import UserError
from contextnet_ros.inference import SegmentedFrame
from contextnet_ros.labels import Pixels
from contextnet_ros.ros import compat, image_msg, qos
from contextnet_ros.ros.frames import NewestFrame, Pace, SequenceGaps
from contextnet_ros.ros.rates import LatencyWindow, Silence, stamp_latency_ms
from contextnet_ros.ros.settings import Settings
from contextnet_ros.ros.timings import FrameTimes, TimingsPublisher

# What libjpeg takes; the format itself has a few more.
_LARGEST_JPEG = 65500


class Arrival(NamedTuple):
    """A message and when it came."""

    message: Any
    monotonic_s: float


class Transport(NamedTuple):
    """How images come: what may be wrong is seen by `check` at once, or by `decode` later."""

    message_type: type
    check: Callable[[Any], object]
    decode: Callable[[Any], Pixels]


TRANSPORTS = {
    "raw": Transport(Image, image_msg.check, image_msg.to_bgr),
    "compressed": Transport(
        CompressedImage, image_msg.check_compressed, image_msg.decode_compressed
    ),
}


class Camera:
    """Topics and counts of one camera; without a name they are `image` and `~/label`, with one
    `NAME/image` and `~/NAME/label`.

    Outputs and input are opened and closed apart. `wake` is called when a frame comes to wait.
    """

    def __init__(self, node: Node, name: str, transport: str, wake: Callable[[], object]) -> None:
        self.name = name
        self.newest: NewestFrame[Arrival] = NewestFrame(wake)
        self.pace = Pace()
        self.latency = LatencyWindow()
        self.stamp_latency = LatencyWindow()
        self.odd_stamps = 0
        self.silence = Silence()
        self.transport = TRANSPORTS[transport]
        self._node = node
        self._prefix = f"~/{name}/" if name else "~/"
        self._remap = self._asked = f"{name}/image" if name else "image"
        self._mapped = node.resolve_topic_name(self._asked)
        if transport == "compressed":
            # Beside the topic that `image` was mapped to, as image_transport has it.
            self._asked = f"{self._mapped}/compressed"
        self.topic = node.resolve_topic_name(self._asked)
        self._gaps = SequenceGaps()
        self._explained: set[str] = set()
        self._outputs: dict[str, _Output] = {}
        self._timings: TimingsPublisher | None = None
        self._subscription: Any = None
        self._publishers = compat.Matched(self._count_publishers)

    # Topics.

    def open_outputs(self) -> None:
        """Offer all outputs; raises UserError for QoS overrides that can't be."""
        kinds = {"label": Image, "overlay": Image, "confidence": Image}
        for name, kind in {**kinds, "overlay/compressed": CompressedImage}.items():
            topic = self._prefix + name
            self._outputs[name] = _Output(self._node, kind, topic, asked=name != "label")
        self._timings = TimingsPublisher(self._node, f"{self._prefix}timings")

    def close_outputs(self) -> None:
        if self._timings is not None:
            self._timings.close()
            self._timings = None
        for output in self._outputs.values():
            self._node.destroy_publisher(output.publisher)
        self._outputs.clear()

    def open_input(self) -> None:
        """Subscribe; raises UserError for QoS overrides that can't be."""
        if self._subscription is None:
            self._publishers.reset()
            # What was sent while nobody listened here is not missed.
            self._gaps = SequenceGaps()
            self.silence.start(time.monotonic())
            self._subscription = qos.create(
                self._node.create_subscription,
                self.transport.message_type,
                # rclpy maps it: one that was mapped already could be mapped again.
                self._asked,
                compat.image_callback(self._on_message),
                qos.sensor_data(),
                event_callbacks=self._publishers.subscription_events(),
            )

    def close_input(self) -> None:
        """Receive no more; the frames that came already stay pending."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    @property
    def receives(self) -> bool:
        """Whether the input is open."""
        return self._subscription is not None

    def output_topics(self) -> list[str]:
        return [output.publisher.topic_name for output in self._outputs.values()]

    def publishers(self) -> int:
        """How many publishers are matched, 0 while the input is closed."""
        return 0 if self._subscription is None else self._publishers.count()

    def remaps(self) -> list[str]:
        """What would lead this camera to images that others publish as its own are to come."""
        found = qos.topics_of(self._node, qos.type_name(self.transport.message_type))
        ending = self.topic.removeprefix(self._mapped)
        return [
            f"{self._remap}:={topic.removesuffix(ending)}"
            if topic.endswith(ending)
            else f"{self._remap}{ending}:={topic}"
            for topic in found
            # Depth is no picture.
            if topic != self.topic and not topic.endswith("/compressedDepth")
        ]

    def publisher_faults(self) -> list[str]:
        """Why publishers of the input that are there don't match, one line each."""
        if self._subscription is None:
            return []
        name = qos.type_name(self.transport.message_type)
        requested = self._subscription.qos_profile
        return qos.publisher_faults(self._node, self.topic, name, requested)

    def subscriber_faults(self) -> list[str]:
        """Why subscriptions to the outputs that are there don't match, one line each."""
        publishers = [output.publisher for output in list(self._outputs.values())]
        return [
            fault
            for publisher in publishers
            for fault in qos.subscriber_faults(
                self._node, publisher.topic_name, publisher.qos_profile
            )
        ]

    def _count_publishers(self) -> int:
        name = qos.type_name(self.transport.message_type)
        return qos.fitting_publishers(self._node, self.topic, name, self._subscription.qos_profile)

    # Frames.

    def _on_message(self, message: Any, info: dict[str, Any]) -> None:
        arrival = Arrival(message, time.monotonic())
        self.silence.broken(arrival.monotonic_s)
        publication = compat.publication(info, self.publishers)
        if publication is None:
            self._gaps.forget()
        not_taken = self._gaps.missing_before(*publication) if publication else 0
        self._explain_conversion(message)
        try:
            self.transport.check(message)
        except image_msg.BadFrame as bad:
            self.newest.receive_bad(bad.reason, str(bad), not_taken)
        else:
            self.newest.receive(arrival, not_taken)

    def _explain_conversion(self, message: Any) -> None:
        encoding = getattr(message, "encoding", None)
        if encoding in image_msg.CONVERTED and encoding not in self._explained:
            self._explained.add(encoding)
            self._node.get_logger().info(image_msg.converter_line(encoding))

    def wanted(self) -> set[str]:
        """What somebody subscribes to, beside the label."""
        wanted = {"confidence"} if self._watched("confidence") else set()
        if self._watched("overlay") or self._watched("overlay/compressed"):
            wanted.add("overlay")
        return wanted

    def _watched(self, name: str) -> bool:
        return self._outputs[name].readers() > 0

    def publish(
        self, frame: SegmentedFrame, arrival: Arrival, settings: Settings, times: FrameTimes
    ) -> None:
        """Answer the frame in hand, the label first; every output bears its header."""
        header = arrival.message.header
        label = image_msg.fill(Image(), frame.label, "mono8", header)
        times.mark("filled")
        self._publish("label", label)
        self.newest.finish_published()
        self._note_latency(arrival)
        if self._timings is not None:
            self._timings.publish(header, times, frame.timings)
        if frame.confidence is not None:
            self._publish("confidence", image_msg.fill(Image(), frame.confidence, "mono8", header))
        if frame.overlay is None:
            return
        if self._watched("overlay"):
            self._publish("overlay", image_msg.fill(Image(), frame.overlay, "bgr8", header))
        if self._watched("overlay/compressed"):
            try:
                message = jpeg(frame.overlay, settings.jpeg_quality, header)
            except UserError as error:
                self._node.get_logger().warning(str(error), once=True)
            else:
                self._publish("overlay/compressed", message)

    def _publish(self, name: str, message: Any) -> None:
        self._outputs[name].publisher.publish(message)

    def _note_latency(self, arrival: Arrival) -> None:
        self.latency.add(1000 * (time.monotonic() - arrival.monotonic_s))
        now_ns = self._node.get_clock().now().nanoseconds
        latency_ms = stamp_latency_ms(arrival.message.header.stamp, now_ns)
        if latency_ms is None:
            self.odd_stamps += 1
        else:
            self.stamp_latency.add(latency_ms)


class _Output:
    """A publisher and, of those whose work is done only while somebody reads, how many do."""

    def __init__(self, node: Node, kind: type, topic: str, asked: bool) -> None:
        matched = compat.Matched(lambda: self.publisher.get_subscription_count())
        self.readers = matched.count
        events = matched.publisher_events() if asked else compat.no_events()
        self.publisher: Any = qos.create(
            node.create_publisher, kind, topic, qos.newest(), event_callbacks=events
        )


def jpeg(image: Pixels, quality: int, header: Any) -> CompressedImage:
    """A sensor_msgs/CompressedImage of a BGR image (H, W, 3), named as image_transport does.

    Raises UserError for an image that no JPEG can hold.
    """
    height, width = image.shape[:2]
    if max(height, width) > _LARGEST_JPEG:
        raise UserError(
            f"no JPEG holds {width} x {height} pixels, at most {_LARGEST_JPEG} a side: "
            "take overlay instead of overlay/compressed"
        )
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    message = CompressedImage(header=header, format="bgr8; jpeg compressed bgr8")
    message.data.frombytes(np.ascontiguousarray(data))
    return message
