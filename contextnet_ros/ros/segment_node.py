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

import ctypes
import queue
import signal
import sys
from types import FrameType
from typing import NoReturn

from contextnet_ros.files import UserError, one_line, run_command

PROG = "segment_node"

_M_ARENA_MAX = -8  # of glibc's malloc.h


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


def keep_one_heap() -> None:
    """Let all threads allocate from the process's one heap; to be called before there are any.

    glibc gives threads heaps of their own, up to 64 MiB, whose ends it never gives back: how much
    of a freed network stays would depend on the thread that happened to make it.
    """
    # Other C libraries have no such function, and no such heaps.
    options = getattr(ctypes.CDLL(None), "mallopt", None)
    if options is not None:
        options(_M_ARENA_MAX, 1)


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
        cause = one_line(error).partition(", at /")[0]
        raise UserError(f"ROS refuses these arguments: {cause}") from error
    try:
        from contextnet_ros.ros.node import SegmentNode

        if stop.requested:
            return 0
        SegmentNode(stop).serve()
    finally:
        rclpy.try_shutdown()
    return 0


def main() -> NoReturn:
    """Console entry point; leaves with exit code 0, or 1 after one line on stderr."""
    keep_one_heap()
    stop = StopRequest()
    code = run_command(lambda: run(sys.argv[1:], stop), PROG)
    # Python gives signals their default back while it ends, and what a killed process shared with
    # others in memory stays: a second Ctrl-C is for nothing now.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


if __name__ == "__main__":
    main()
