"""The thread that segments: one camera's newest frame after another's."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from contextnet_ros.files import UserError
from contextnet_ros.inference import DeviceError
from contextnet_ros.ros import image_msg
from contextnet_ros.ros.camera import Arrival, Camera
from contextnet_ros.ros.frames import Turns
from contextnet_ros.ros.live_segmenter import LiveSegmenter
from contextnet_ros.ros.settings import Settings
from contextnet_ros.ros.timings import FrameTimes

# A limit may be raised, or a camera closed, while a frame waits for its turn.
_LONGEST_WAIT_S = 0.1


class Stop(Protocol):
    """See segment_node.StopRequest; `wake` also bears a token for each frame that waits."""

    requested: bool
    wake: Any


class Worker:
    """Segments what the cameras hand over, in turns, with `live`, which is there before any does.

    `settings` is asked before each frame. `device_failure` says what ended the work, if that was
    the device.
    """

    def __init__(
        self, cameras: Sequence[Camera], stop: Stop, settings: Callable[[], Settings]
    ) -> None:
        self.live: LiveSegmenter | None = None
        self.device_failure = ""
        self._cameras = cameras
        self._turns = Turns(len(cameras))
        self._stop = stop
        self._settings = settings

    def work(self) -> None:
        """Until a stop is requested; raises UserError when the device fails."""
        wait_s: float | None = None
        while not self._stop.requested:
            with contextlib.suppress(queue.Empty):
                self._stop.wake.get(timeout=wait_s)
            wait_s = self._segment_waiting()

    def _segment_waiting(self) -> float | None:
        """Segment until no frame waits, or none may be taken yet: seconds until to look again."""
        while not self._stop.requested:
            settings = self._settings()
            now_s = time.monotonic()
            dues_s = [self._due_in_s(camera, now_s, settings) for camera in self._cameras]
            number = self._turns.next([due_s == 0 for due_s in dues_s])
            if number is None:
                waits_s = [due_s for due_s in dues_s if due_s is not None]
                return min([*waits_s, _LONGEST_WAIT_S]) if waits_s else None
            camera = self._cameras[number]
            arrival = camera.newest.take()
            if arrival is not None:
                camera.pace.taken(now_s, settings.max_rate_hz)
                try:
                    self._segment(camera, arrival, settings)
                finally:
                    camera.newest.done()
        return None

    def _due_in_s(self, camera: Camera, now_s: float, settings: Settings) -> float | None:
        if not camera.newest.waits():
            return None
        # Once no more are received, what waits is answered at once.
        return camera.pace.due_in_s(now_s, settings.max_rate_hz) if camera.receives else 0.0

    def _segment(self, camera: Camera, arrival: Arrival, settings: Settings) -> None:
        message = arrival.message
        times = FrameTimes(arrival.monotonic_s)
        times.mark("taken")
        assert self.live is not None
        device = self.live.segmenter.device
        try:
            image = camera.transport.decode(message)
            times.mark("decoded")
            frame = self.live(image, camera.wanted(), settings)
            times.mark("segmented")
        except image_msg.BadFrame as bad:
            camera.newest.finish_bad(bad.reason, str(bad))
        except DeviceError as error:
            self.device_failure = f"{device} failed: {first_line(error)}"
            camera.newest.finish_bad("device", self.device_failure)
            raise UserError(
                f"{self.device_failure}: the node ends, since no later frame would be segmented; "
                "start it again, and look at the driver's messages (dmesg)"
            ) from error
        except Exception as error:
            # One frame too large for the device's memory, say, must not end the stream.
            camera.newest.finish_bad(
                "segmentation",
                f"an image of {_size(message)} could not be segmented on {device} "
                f"({type(error).__name__}: {first_line(error)})",
            )
        else:
            camera.publish(frame, arrival, settings, times)


def first_line(error: BaseException) -> str:
    """What an error says first, or what it is."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _size(message: Any) -> str:
    if hasattr(message, "encoding"):
        return f"{message.width} x {message.height} {message.encoding}"
    return f"{len(message.data)} bytes of {message.format}"
