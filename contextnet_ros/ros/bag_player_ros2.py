"""Play a bag with `ros2 bag play`, for a session of replay.py: its commands in, its events out.

    python -m contextnet_ros.ros.bag_player_ros2 out/input_bag --interactive --topic /camera

Playback starts paused, so that nothing is sent before everybody is matched, with a read-ahead that
holds images, and goes on by the player's own service. What it sends is seen here by a subscription
of our own, since it does not say: the time of a frame is when it came here, and a frame that never
came counts as sent all the same, since rosbag2 leaves none out.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from contextnet_ros.files import UserError, run_command
from contextnet_ros.ros.bag_io import BagReader
from contextnet_ros.ros.bag_make import positive
from contextnet_ros.ros.bag_messages import COMPRESSED_IMAGE, header_stamp_ns
from contextnet_ros.ros.bag_turns import Played, rate_hz
from contextnet_ros.ros.control import Commands, emit

# rosbag2's own default, 1000 messages, would be six gigabytes of large frames.
_READ_AHEAD_BYTES = 1 << 30

_MATCH_S = 60.0
_SETTLE_S = 3.5
_LAST_FRAMES_S = 1.0
_RESUME = ("service", "call", "/rosbag2_player/resume", "rosbag2_interfaces/srv/Resume")


def require_ros2() -> None:
    """Raise UserError where there is no `ros2`."""
    if shutil.which("ros2") is None:
        raise UserError(
            "ros2 is not on the PATH: source a ROS 2 with rosbag2, or leave --player ros2 out"
        )


class Ros2Player:
    """Starts `ros2 bag play`, and watches the topic that it plays."""

    def __init__(self, bag: Path, topic: str | None, to_topic: str | None) -> None:
        require_ros2()
        with BagReader(bag) as reader:
            self.topic = reader.camera_topic(topic)
            kind = reader.image_topics()[self.topic]
            self.times_ns: list[int] = []
            self.stamps: list[int] = []
            largest = 0
            for time_ns, data in reader.raw_messages(self.topic):
                self.times_ns.append(time_ns)
                self.stamps.append(header_stamp_ns(data))
                largest = max(largest, len(data))
        if not self.stamps:
            raise UserError(f"{bag}: no frames on {self.topic}; record it again")
        if len(set(self.stamps)) < len(self.stamps):
            raise UserError(
                f"{bag}: stamps on {self.topic} do not tell its frames apart, and ros2 bag play "
                "can't change them; use --player own"
            )
        self.bag = bag
        self.to_topic = to_topic or self.topic
        self._read_ahead = max(1, min(len(self.stamps), _READ_AHEAD_BYTES // largest))

        import rclpy
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from rclpy.signals import SignalHandlerOptions
        from sensor_msgs.msg import CompressedImage, Image

        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._rclpy = rclpy
        self.node = rclpy.create_node("bag_watcher")
        self._seen: dict[int, int] = {}
        # Best effort goes with whatever the bag was recorded with.
        self.node.create_subscription(
            CompressedImage if kind == COMPRESSED_IMAGE else Image,
            self.to_topic,
            self._on_frame,
            QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT),
            raw=True,
        )

    def _on_frame(self, data: bytes) -> None:
        self._seen[header_stamp_ns(data)] = time.monotonic_ns()

    @property
    def bag_hz(self) -> float:
        """The rate at which the bag was recorded."""
        return rate_hz(self.times_ns)

    def close(self) -> None:
        """Leave the graph."""
        self.node.destroy_node()
        self._rclpy.shutdown()

    def matched(self) -> bool:
        """Whether somebody beside us subscribes."""
        self.spin(0.05)
        return bool(self.node.count_subscribers(self.to_topic) > 1)

    def spin(self, timeout_s: float) -> None:
        """Take what arrives; at most one message."""
        self._rclpy.spin_once(self.node, timeout_sec=timeout_s)

    def command(self, rate: float) -> list[str]:
        """How playback is started."""
        command = ["ros2", "bag", "play", str(self.bag), "--topics", self.topic]
        command += ["--rate", f"{rate:g}", "--start-paused", "--disable-keyboard-controls"]
        command += ["--read-ahead-queue-size", str(self._read_ahead)]
        if self.to_topic != self.topic:
            command += ["--remap", f"{self.topic}:={self.to_topic}"]
        return command

    def play(self, rate: float, limit_s: float, commands: Commands) -> Played:
        """Play the bag once, `rate` times as fast as recorded; raises UserError if it can't be."""
        self._seen.clear()
        # Its words go where ours go that are no events: to the log.
        process = subprocess.Popen(
            self.command(rate), stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=sys.stderr
        )
        cut = False
        try:
            self._wait_for_publisher(process)
            subprocess.run(
                ["ros2", *_RESUME], stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True
            )
            emit("playing")
            end = time.monotonic() + limit_s
            while process.poll() is None:
                self.spin(0.05)
                if time.monotonic() > end or commands.next() is None:
                    cut = True
                    process.send_signal(signal.SIGINT)
                    process.wait(10)
        except (OSError, subprocess.SubprocessError) as error:
            raise UserError(f"ros2 bag play could not be resumed: {error}") from error
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode != 0 and not cut:
            raise UserError(f"ros2 bag play ended with exit code {process.returncode}")
        end = time.monotonic() + _LAST_FRAMES_S
        while time.monotonic() < end:
            self.spin(0.05)
        return self._played(cut)

    def _wait_for_publisher(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _MATCH_S
        while self.node.count_publishers(self.to_topic) == 0:
            self.spin(0.05)
            if process.poll() is not None:
                raise UserError(f"ros2 bag play ended with exit code {process.returncode}")
            if time.monotonic() > deadline:
                raise UserError(f"ros2 bag play did not offer {self.to_topic}")
        # We see the publisher; whether the node does too can't be asked. A participant whose first
        # words were lost says them again after three seconds (Fast DDS's announcement period).
        end = time.monotonic() + _SETTLE_S
        while time.monotonic() < end:
            self.spin(0.05)

    def _played(self, cut: bool) -> Played:
        played = Played(len(self.stamps))
        last = max((i for i, s in enumerate(self.stamps) if s in self._seen), default=-1)
        for index, stamp in enumerate(self.stamps):
            if stamp in self._seen:
                played.sent.append((stamp, self._seen[stamp]))
            elif cut and index > last:
                played.not_sent.append((stamp, "time limit"))
        return played

    def unseen(self, played: Played) -> list[int]:
        """Stamps of frames that were played and did not come here."""
        told = {stamp for stamp, _ in played.sent} | {stamp for stamp, _ in played.not_sent}
        return [stamp for stamp in self.stamps if stamp not in told]


def _serve(player: Ros2Player, wait_s: float) -> None:
    commands = Commands()
    emit(
        "ready",
        topic=player.topic,
        in_bag=len(player.stamps),
        bag_hz=player.bag_hz,
        restamped=False,
    )
    deadline = time.monotonic() + wait_s
    while not player.matched():
        if commands.next() is None:
            return
        if time.monotonic() > deadline:
            raise UserError(f"nobody subscribed to {player.to_topic} within {wait_s:g} s")
    emit("matched")
    while (words := commands.next(timeout_s=0.5)) is not None:
        if words[:1] in (["play"], ["replay"]):
            rate = float(words[1])
            if words[0] == "play":
                rate /= max(player.bag_hz, 1e-6)
            played = player.play(rate, float(words[2]), commands)
            emit("played", **played.to_dict(), unseen=player.unseen(played))


def _run(argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="bag_player_ros2",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("bag", metavar="BAG", type=Path, help="rosbag2 folder")
    add("--topic", help="image topic of the bag, where it has several")
    add("--to-topic", metavar="TOPIC", help="topic to publish on, the bag's own unless given")
    add("--label-topic", help="not used: single frames can't be played")
    add("--wait", metavar="S", type=positive, default=60.0, help="for a subscriber (%(default)g)")
    add("--interactive", action="store_true", required=True, help="take commands on stdin")
    options = parser.parse_args(argv)
    player = Ros2Player(options.bag, options.topic, options.to_topic)
    try:
        _serve(player, options.wait)
    finally:
        player.close()
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the player; returns its exit code."""
    return run_command(lambda: _run(argv), "bag_player_ros2")


if __name__ == "__main__":
    sys.exit(main())
