"""Record image topics from DDS into a bag, with the time at which each message arrived.

    python -m contextnet_ros.ros.bag_recorder out/output_bag \\
        --image /segmenter/label /segmenter/overlay --diagnostics /diagnostics

The commands `start`, `watch` and `stop` come on stdin; what arrives before `start` or `watch`, or
after `stop`, is dropped. Every arrival, every diagnostic status and every frame's times (--timings)
is printed as a JSON line. The bag appears under its name at the `stop` that follows a `start`;
after `watch` nothing is kept.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import threading
import time
from pathlib import Path
from typing import Any

from contextnet_ros.files import UserError, run_command
from contextnet_ros.ros.bag_io import STORAGES, BagWriter
from contextnet_ros.ros.bag_messages import IMAGE, header_stamp_ns
from contextnet_ros.ros.control import Commands, emit

# About half a gigabyte of labels and overlays of 1024 x 2048: the disk may lag behind DDS by that.
_QUEUE_MESSAGES = 128


class Recording(threading.Thread):
    """A thread that writes messages to a bag while others arrive."""

    def __init__(self, path: Path, topics: list[str], storage: str, force: bool) -> None:
        super().__init__(daemon=True)
        self._bag = BagWriter(path, storage=storage, force=force)
        self._topics = topics
        self._messages: queue.Queue[tuple[str, int, bytes] | None] = queue.Queue(_QUEUE_MESSAGES)
        self._items = iter(self._messages.get, None)
        self._error: BaseException | None = None
        self._whole = False

    def run(self) -> None:
        """Write until told to close."""
        try:
            with self._bag as bag:
                for topic in self._topics:
                    bag.add_topic(topic, IMAGE)
                for item in self._items:
                    bag.write(*item)
                if not self._whole:
                    # Leaving the bag's context by an exception drops the bag.
                    raise InterruptedError
        except BaseException as error:
            self._error = error
            # Whoever hands messages over must not wait for a disk that is full.
            for _ in self._items:
                pass

    def put(self, topic: str, message: bytes) -> None:
        """Hand one message of CDR bytes over."""
        self._messages.put((topic, time.time_ns(), message))

    def close(self, whole: bool) -> dict[str, int]:
        """Finish the bag, or drop it; returns how many messages each topic has."""
        self._whole = whole
        self._messages.put(None)
        self.join()
        if self._error is not None and whole:
            raise self._error
        return self._bag.counts


class BagRecorder:
    """A node that subscribes to image topics, to diagnostics and to the node's timings."""

    def __init__(self, images: list[str], diagnostics: str | None, timings: str | None) -> None:
        import rclpy
        from rclpy.qos import QoSProfile
        from rclpy.signals import SignalHandlerOptions
        from sensor_msgs.msg import Image

        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._rclpy = rclpy
        self.node = rclpy.create_node("bag_recorder")
        self.recording: Recording | None = None
        self._counts: dict[str, int] | None = None
        self._images = images
        for topic in images:
            self.node.create_subscription(
                Image,
                topic,
                lambda data, topic=topic: self._on_image(topic, data),
                QoSProfile(depth=10),
                raw=True,
            )
        if diagnostics is not None:
            from diagnostic_msgs.msg import DiagnosticArray

            self.node.create_subscription(
                DiagnosticArray, diagnostics, _on_diagnostics, QoSProfile(depth=10)
            )
        if timings is not None:
            from std_msgs.msg import String

            self.node.create_subscription(String, timings, self._on_timings, QoSProfile(depth=100))

    def start(self, recording: Recording | None) -> None:
        """Count what arrives from now on, and record it if there is a recording."""
        self._counts = dict.fromkeys(self._images, 0)
        self.recording = recording
        if recording is not None:
            recording.start()

    def stop(self) -> dict[str, int]:
        """End what `start` began; returns how many messages each topic had, {} if none was."""
        counts, self._counts = self._counts or {}, None
        recording, self.recording = self.recording, None
        return counts if recording is None else recording.close(whole=True)

    def close(self) -> None:
        """Leave the graph."""
        self.node.destroy_node()
        self._rclpy.shutdown()

    def spin_once(self, timeout_s: float) -> None:
        """Serve what arrives within `timeout_s`."""
        self._rclpy.spin_once(self.node, timeout_sec=timeout_s)

    def matched(self) -> bool:
        """Whether every image topic has a publisher."""
        return all(self.node.count_publishers(topic) > 0 for topic in self._images)

    def _on_image(self, topic: str, data: bytes) -> None:
        arrived_ns = time.monotonic_ns()
        if self._counts is None:
            return
        self._counts[topic] += 1
        emit("arrival", topic=topic, stamp_ns=header_stamp_ns(data), monotonic_ns=arrived_ns)
        if self.recording is not None:
            self.recording.put(topic, data)

    def _on_timings(self, message: Any) -> None:
        if self._counts is not None:
            emit("timings", **json.loads(message.data))


def _on_diagnostics(message: Any) -> None:
    arrived_ns = time.monotonic_ns()
    for status in message.status:
        emit(
            "diagnostics",
            name=status.name,
            level=int.from_bytes(status.level, "little"),
            message=status.message,
            values={item.key: item.value for item in status.values},
            monotonic_ns=arrived_ns,
        )


def _serve(recorder: BagRecorder, options: argparse.Namespace) -> None:
    commands = Commands()
    emit("ready")
    matched = False
    while (words := commands.next()) is not None:
        recorder.spin_once(0.05)
        if not matched and recorder.matched():
            matched = True
            emit("matched")
        if words == ["start"]:
            if options.bag is None:
                raise UserError("start: no bag was named to record to")
            recorder.start(Recording(options.bag, options.image, options.storage, options.force))
            emit("started")
        elif words == ["watch"]:
            recorder.start(None)
            emit("started")
        elif words == ["stop"]:
            emit("closed", counts=recorder.stop())


def _run(argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="bag_recorder",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("bag", metavar="BAG", type=Path, nargs="?", help="bag folder to write")
    add("--image", metavar="TOPIC", nargs="+", required=True, help="topics of sensor_msgs/Image")
    add("--diagnostics", metavar="TOPIC", help="topic of diagnostic_msgs/DiagnosticArray")
    add("--timings", metavar="TOPIC", help="topic of the times of the node's frames")
    add("--storage", choices=sorted(STORAGES), default="sqlite3", help="(%(default)s)")
    add("--force", action="store_true", help="replace a bag that exists")
    options = parser.parse_args(argv)
    recorder = BagRecorder(options.image, options.diagnostics, options.timings)
    try:
        _serve(recorder, options)
    finally:
        if recorder.recording is not None:
            recorder.recording.close(whole=False)
        recorder.close()
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the recorder; returns its exit code."""
    return run_command(lambda: _run(argv), "bag_recorder")


if __name__ == "__main__":
    sys.exit(main())
