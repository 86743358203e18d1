"""A Segmenter's place taken in this process, so that the node can be watched and made to fail."""

from __future__ import annotations

import queue
import threading
from types import SimpleNamespace

import numpy as np
import rclpy
from ros_harness import TIMEOUT_S

from contextnet_ros.inference import SegmentedFrame
from contextnet_ros.labels import CAMVID
from contextnet_ros.network import WeightHeader
from contextnet_ros.ros.node import SegmentNode


class StandIn:
    """The label is the frame's blue, the confidence its green; records what it was asked for,
    fails or waits when told to."""

    header = WeightHeader(table=CAMVID)
    device = "nowhere"
    precision = "none"
    network_size = "frame"
    overlay_opacity = 0.5
    note = ""

    def __init__(self):
        self.asked = []
        self.warmed_up = []
        self.fail_next = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, image, outputs):
        self.asked.append(outputs)
        self.may_go_on.wait(TIMEOUT_S)
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error
        overlay = np.zeros_like(image) if "overlay" in outputs else None
        confidence = image[..., 1].copy() if "confidence" in outputs else None
        return SegmentedFrame(image[..., 0].copy(), overlay, confidence)

    def warm_up(self, height, width):
        self.warmed_up.append((height, width))

    def describe(self):
        return "a stand-in"

    def memory_bytes(self):
        return 0


def serve(stand_in, domain, *arguments, **parameters):
    """A node served by a thread of this process; `end` stops it, `close` frees its context too,
    `failure` is what it raised."""
    pairs = [word for n, value in parameters.items() for word in ("-p", f"{n}:={value}")]
    rclpy.init(args=["node", "--ros-args", *pairs, *arguments], domain_id=domain)
    stop = SimpleNamespace(requested=False, wake=queue.SimpleQueue())
    node = SegmentNode(stop)
    result = SimpleNamespace(node=node, failure=None)

    def run():
        try:
            node.serve()
        except Exception as error:
            result.failure = error

    thread = threading.Thread(target=run)
    thread.start()

    def end():
        stop.requested = True
        stop.wake.put(None)
        stand_in.may_go_on.set()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()

    def close():
        end()
        rclpy.shutdown()

    result.end, result.close, result.thread = end, close, thread
    return result
