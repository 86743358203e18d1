"""The ROS node `segmenter`: images in, labels and what else is watched out.

Two threads: one receives every message at once, keeps the newest of each camera and answers
services; the main one segments. The network is loaded by the lifecycle's transition `configure`
and freed by `cleanup`; frames are received while the node is active and enabled.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.task import Future
from std_srvs.srv import SetBool

from contextnet_ros.files import UserError
from contextnet_ros.inference import Segmenter
from contextnet_ros.inference.memory import release_memory
from contextnet_ros.ros import parameters
from contextnet_ros.ros.camera import Camera
from contextnet_ros.ros.class_topics import ClassTopics, without_label_info
from contextnet_ros.ros.dds_profiles import shared_memory_fault
from contextnet_ros.ros.frames import total
from contextnet_ros.ros.lifecycle import ManagedNode
from contextnet_ros.ros.live_segmenter import LiveSegmenter
from contextnet_ros.ros.reporter import Condition, Reporter
from contextnet_ros.ros.settings import Settings, camera_names, check_transport
from contextnet_ros.ros.worker import Stop, Worker, first_line

NAME = "segmenter"

# How often a wait that another thread ends looks whether the node ends instead.
_LOOK_S = 0.1


class SegmentNode:
    """Declares everything at once; loads, subscribes and works in `serve`. Raises UserError."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._state = "unconfigured"
        self._enabled = True
        self._class_topics: ClassTopics | None = None
        self._step_failure: Exception | None = None
        self._last_failure = ""
        self._starting = False
        self._receiving_failed: BaseException | None = None
        self._ended = Future()
        no_room = shared_memory_fault(os.environ)
        self._node = ManagedNode(NAME, self)
        if no_room:
            self._node.get_logger().warning(no_room)
        parameters.declare(self._node)
        given = parameters.values(self._node)
        self._refuse_faulty()
        transport = check_transport(given["image_transport"])
        self.cameras = [
            Camera(self._node, name, transport, lambda: stop.wake.put(None))
            for name in camera_names(given["cameras"])
        ]
        self._worker = Worker(self.cameras, stop, self._settings)
        parameters.check_changes(self._node, self._fault)
        self._node.create_service(SetBool, "~/enable", self._on_enable)
        self._reporter = Reporter(self._node, self.cameras, self._condition, no_room)

    def serve(self) -> None:
        """Start by itself unless told not to, and segment until a stop is requested; then count
        up."""
        if not self.parameter("autostart"):
            self._node.get_logger().info("autostart is false: waits to be configured and activated")
        elif not self._start():
            return
        executor = SingleThreadedExecutor()
        executor.add_node(self._node)
        receiver = threading.Thread(target=self._receive, args=(executor,), name="receive")
        receiver.start()
        try:
            self._worker.work()
        finally:
            # Ended by a future: shutting an executor down while it spins can leave it waiting.
            self._stop.requested = True
            self._ended.set_result(None)
            receiver.join()
            executor.shutdown()
            self._reporter.report(last=True)
        if self._receiving_failed is not None:
            raise self._receiving_failed
        counts = total(camera.newest.counts() for camera in self.cameras)
        self._node.get_logger().info(f"ended: {counts}")

    def _start(self) -> bool:
        """Whether it is active now; raises what kept it from being."""
        self._starting = True
        for trigger in (self._node.trigger_configure, self._node.trigger_activate):
            if self._stop.requested:
                return False
            trigger()
            if self._step_failure is not None:
                raise self._step_failure
        self._starting = False
        return True

    def parameter(self, name: str) -> Any:
        """The value of a parameter now."""
        return self._node.get_parameter(name).value

    # The lifecycle's steps, in the receiving thread; at the start, before there is one.

    def configure(self) -> None:
        """Load the network, warm it up and offer its outputs."""
        self._last_failure = ""
        segmenter = self._load()
        if self._stop.requested:
            return
        try:
            self._refuse_faulty(segmenter)
            self._warm_up(segmenter)
            if self._stop.requested:
                return
            self._class_topics = ClassTopics(self._node, segmenter.header.table)
            for camera in self.cameras:
                camera.open_outputs()
        except Exception:
            self._free()
            raise
        self._worker.live = LiveSegmenter(segmenter)
        self._follow_settings()
        self._state = "inactive"

    def activate(self) -> None:
        """Receive frames, unless the node is disabled."""
        self._state = "active"
        self._last_failure = ""
        try:
            self._open_inputs()
        except Exception:
            self._close_inputs()
            self._state = "inactive"
            raise
        if self._enabled:
            parameters.warn_of_unused_overrides(self._node)
        self._reporter.start_log_period()
        log = self._node.get_logger()
        for camera in self.cameras:
            *others, last = camera.output_topics()
            log.info(f"listens to {camera.topic}, publishes {', '.join(others)} and {last}")
        if without_label_info():
            log.info(without_label_info())

    def deactivate(self) -> None:
        """Receive no more and answer the frames that came."""
        self._close_inputs()
        self._state = "inactive"

    def cleanup(self) -> None:
        """Free the network and everything that configure made, from any state."""
        self._close_inputs()
        self._free()
        self._state = "unconfigured"

    def shutdown(self) -> None:
        """As `cleanup`, for good."""
        self.cleanup()
        self._state = "finalized"

    def failed(self, transition: str, error: Exception) -> None:
        """At the start the error ends the node; later it is whoever asked who may try again."""
        if self._starting:
            self._step_failure = error
            return
        cause = str(error) if isinstance(error, UserError) else repr(error)
        self._last_failure = f"{transition} failed: {' '.join(cause.split())}"
        self._node.get_logger().error(self._last_failure)

    def _load(self) -> Segmenter:
        values = parameters.values(self._node)
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

    def _warm_up(self, segmenter: Segmenter) -> None:
        height = self.parameter("warm_up_height")
        width = self.parameter("warm_up_width")
        start_s = time.monotonic()
        try:
            segmenter.warm_up(height, width)
        except (RuntimeError, MemoryError) as error:
            raise UserError(
                f"warming up with {width} x {height} pixels failed on {segmenter.device} "
                f"({first_line(error)}): set warm_up_width, warm_up_height or network_size "
                "smaller, or device:=cpu"
            ) from error
        self._node.get_logger().info(
            f"runs on {segmenter.device} in {segmenter.precision}, network size "
            f"{segmenter.network_size}; warmed up with {width} x {height} pixels in "
            f"{time.monotonic() - start_s:.1f} s"
        )
        if segmenter.note:
            self._node.get_logger().warning(segmenter.note)

    def _free(self) -> None:
        for camera in self.cameras:
            camera.close_outputs()
        if self._class_topics is not None:
            self._class_topics.close()
        self._class_topics = self._worker.live = None
        release_memory()

    def _open_inputs(self) -> None:
        if self._state == "active" and self._enabled:
            for camera in self.cameras:
                camera.open_input()

    def _close_inputs(self) -> None:
        for camera in self.cameras:
            camera.close_input()
        for camera in self.cameras:
            while not camera.newest.wait_idle(_LOOK_S) and not self._stop.requested:
                pass

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

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        try:
            if request.data:
                self._open_inputs()
            else:
                self._close_inputs()
        except UserError as error:
            response.success, response.message = False, str(error)
            return response
        response.success = True
        done = "enabled" if request.data else "disabled, the network stays loaded"
        response.message = f"{done}; the node is {self._state}"
        return response

    def _condition(self) -> Condition:
        self._follow_settings()
        idle = "" if self._state == "active" else self._state
        if not idle and not self._enabled:
            idle = "disabled by ~/enable"
        live = self._worker.live
        segmenter = None if live is None else live.segmenter
        failure = self._worker.device_failure or self._last_failure
        return Condition(self._state, idle, segmenter, failure)

    def _follow_settings(self) -> None:
        if self._class_topics is not None:
            self._class_topics.follow(self._settings().min_confidence)

    def _settings(self) -> Settings:
        return Settings.of(self.parameter)

    def _fault(self, values: dict[str, Any]) -> str:
        live = self._worker.live
        table = None if live is None else live.segmenter.header.table
        return Settings.of(values.__getitem__).fault(table)

    def _refuse_faulty(self, segmenter: Segmenter | None = None) -> None:
        fault = self._settings().fault(None if segmenter is None else segmenter.header.table)
        if fault:
            raise UserError(fault)
