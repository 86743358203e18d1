"""Segment a camera stream: the command `segment_node`.

segment_node --ros-args -r image:=/camera/image_raw
segment_node --ros-args -r image:=/camera/image_raw -p model:=default -p device:=auto
segment_node --ros-args --params-file segment.yaml

Subscribes to `image`, or with image_transport:=compressed to `image/compressed`. Publishes
`~/label` (mono8, one class id a pixel); while somebody subscribes `~/overlay` (bgr8),
`~/overlay/compressed` (JPEG) and `~/confidence` (mono8); the class table on `~/classes` and
`~/label_info`; `/diagnostics`. `~/enable` pauses it; it is a lifecycle node, which starts by itself
unless autostart:=false. Parameters: `ros2 param describe /segmenter NAME`. Ctrl-C ends it after the
frame in hand.
"""

from __future__ import annotations

import queue
import signal
import sys
from types import FrameType
from typing import NoReturn

from contextnet_ros.files import UserError, run_command

PROG = "segment_node"


class StopRequest:
    """SIGINT and SIGTERM as a flag, and as a token in `wake`, which the main thread waits on.

    A SimpleQueue may be filled from a signal handler, unlike a Condition or an Event.
    """

    def __init__(self) -> None:
        self.requested = False
        self.wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._request)

    def _request(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        self.wake.put(None)


def run(arguments: list[str], stop: StopRequest) -> int:
    """Start, serve until `stop` is requested, end; raises UserError for what a user can mend."""
    # Imported only now, with the signal handlers in place: rclpy and torch take seconds, in which
    # Ctrl-C would otherwise end in a traceback.
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    from rclpy.utilities import remove_ros_args

    try:
        others = remove_ros_args([PROG, *arguments])[1:]
        if "-h" in others or "--help" in others:
            print((__doc__ or "").strip())
            return 0
        if others:
            raise UserError(f"argument {others[0]!r} is unknown: ROS arguments follow --ros-args")
        rclpy.init(args=[PROG, *arguments], signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:
        # rcl appends where in its sources it failed.
        cause = " ".join(str(error).split()).partition(", at /")[0]
        raise UserError(f"ROS refuses these arguments: {cause}") from error
    try:
        from contextnet_ros.inference.memory import keep_one_heap
        from contextnet_ros.ros.node import SegmentNode

        keep_one_heap()
        if stop.requested:
            return 0
        SegmentNode(stop).serve()
    finally:
        rclpy.try_shutdown()
    return 0


def main() -> NoReturn:
    """Console entry point; leaves with exit code 0, or 1 after one line on stderr."""
    stop = StopRequest()
    sys.exit(run_command(lambda: run(sys.argv[1:], stop), PROG))


if __name__ == "__main__":
    main()
