"""Play one image topic of a bag over DDS, from memory, at a rate that is held.

    python -m contextnet_ros.ros.bag_player out/input_bag --hz 10 --json sent.json
    python -m contextnet_ros.ros.bag_player out/input_bag --rate 0.5
    python -m contextnet_ros.ros.bag_player out/input_bag --interactive

Messages go out as they were recorded, byte for byte, but for their stamps where a bag is played
over and over, or where stamps in it do not tell its frames apart. A frame whose turn is over before
it could be sent is not sent late but counted as not sent: the rate is what is being promised. With
--interactive the commands `probe FRAMES`, `play HZ LIMIT_S [FRAMES]` and `replay RATE LIMIT_S` come
on stdin.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from contextnet_ros.files import UserError, atomic_write, run_command
from contextnet_ros.provenance import available_bytes
from contextnet_ros.ros.bag_io import BagReader
from contextnet_ros.ros.bag_make import positive, positive_int
from contextnet_ros.ros.bag_messages import COMPRESSED_IMAGE, header_stamp_ns, with_stamp
from contextnet_ros.ros.bag_turns import Played, Turn, even_turns, play, rate_hz, recorded_turns
from contextnet_ros.ros.control import Commands, emit

LABEL_TOPIC = "/segmenter/label"
PROBE_TIMEOUT_S = 30.0
_PROBE_TRIES = 2
# Of the memory that is free, for what is played: the node and the recorder need theirs.
_MEMORY_SHARE = 0.5

# A machine so slow that probing takes longer is known well enough by then.
_PROBING_S = 15.0

# Stamps of probe frames lie in 1970, where no camera's are.
_PROBE_STAMP_NS = 1_000_000_000


def _held(bag: Path, messages: Iterable[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """All of them, in memory; raises UserError where they leave too little of it."""
    room = available_bytes() * _MEMORY_SHARE
    held: list[tuple[int, bytes]] = []
    size = 0
    for message in messages:
        held.append(message)
        size += len(message[1])
        if size > room > 0:
            raise UserError(
                f"{bag}: its first {len(held)} frames take {size / 1e9:.1f} GB, and it is played "
                f"from memory, of which {room / 1e9:.1f} GB may be taken: give --frames "
                f"{len(held) - 1}, or play it from its file with --player ros2"
            )
    return held


class BagPlayer:
    """A node that publishes the messages of one image topic of a bag."""

    def __init__(
        self,
        bag: Path,
        topic: str | None,
        to_topics: list[str] | None,
        reliable: bool,
        frames: int | None = None,
    ) -> None:
        with BagReader(bag) as reader:
            self.topic = reader.camera_topic(topic)
            kind = reader.image_topics()[self.topic]
            recorded = _held(bag, itertools.islice(reader.raw_messages(self.topic), frames))
        if not recorded:
            raise UserError(f"{bag}: no frames on {self.topic}; record it again")
        self.messages = [data for _, data in recorded]
        self.times_ns = [time_ns for time_ns, _ in recorded]
        self._stamps = [header_stamp_ns(data) for data in self.messages]
        # Labels are matched by stamp, which a driver may have left at zero.
        self.restamped = len(set(self._stamps)) < len(self._stamps)
        if self.restamped:
            self._stamps = [time_ns + i for i, time_ns in enumerate(self.times_ns)]

        import rclpy
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from rclpy.signals import SignalHandlerOptions
        from sensor_msgs.msg import CompressedImage, Image

        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._rclpy = rclpy
        self._image_type = Image
        self.node = rclpy.create_node("bag_player")
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        self._publishers = [
            self.node.create_publisher(
                CompressedImage if kind == COMPRESSED_IMAGE else Image,
                to_topic,
                QoSProfile(depth=5, reliability=policy),
            )
            for to_topic in to_topics or [self.topic]
        ]
        self._next = itertools.cycle(self._publishers)

    def close(self) -> None:
        """Leave the graph."""
        self.node.destroy_node()
        self._rclpy.shutdown()

    def publish(self, message: bytes) -> None:
        """Publish one message of CDR bytes, to the topics in turn."""
        next(self._next).publish(message)

    def at(self, hz: float, count: int | None = None) -> Iterable[Turn]:
        """Turns of the bag's frames at `hz`, once or `count` of them over and over."""
        return even_turns(self.messages, self._stamps, hz, count)

    def as_recorded(self, rate: float) -> Iterable[Turn]:
        """Turns of the bag's frames `rate` times as fast as they were recorded."""
        return recorded_turns(self.messages, self._stamps, self.times_ns, rate)

    def matched(self) -> bool:
        """Whether somebody subscribes to each topic."""
        return all(publisher.get_subscription_count() > 0 for publisher in self._publishers)

    def probe(self, frames: int, label_topic: str) -> list[float]:
        """Round trips in ms, from sending a frame to its label, one frame in flight at a time.

        Of `frames` round trips, or fewer on a slow machine, and one in any case.
        Raises UserError when a frame stays without a label.
        """
        from rclpy.qos import QoSProfile

        arrived: dict[int, int] = {}
        timeout_ns = PROBE_TIMEOUT_S * 1e9

        def on_label(data: bytes) -> None:
            arrived[header_stamp_ns(data)] = time.monotonic_ns()

        subscription = self.node.create_subscription(
            self._image_type, label_topic, on_label, QoSProfile(depth=5), raw=True
        )
        deadline = time.monotonic() + PROBE_TIMEOUT_S
        while self.node.count_publishers(label_topic) == 0 and time.monotonic() < deadline:
            self._rclpy.spin_once(self.node, timeout_sec=0.05)
        stamps = (_PROBE_STAMP_NS * (index + 1) for index in itertools.count())
        times_ms: list[float] = []
        end = time.monotonic() + _PROBING_S
        for index in range(frames):
            if times_ms and time.monotonic() > end:
                break
            message = self.messages[index * len(self.messages) // frames]
            # Subscribers to images are best effort: a frame may be lost without anybody's fault.
            for stamp_ns in itertools.islice(stamps, _PROBE_TRIES):
                sent_ns = time.monotonic_ns()
                self.publish(with_stamp(message, stamp_ns))
                while stamp_ns not in arrived and time.monotonic_ns() - sent_ns < timeout_ns:
                    self._rclpy.spin_once(self.node, timeout_sec=0.1)
                if stamp_ns in arrived:
                    times_ms.append((arrived[stamp_ns] - sent_ns) / 1e6)
                    break
            else:
                waited_s = _PROBE_TRIES * PROBE_TIMEOUT_S
                raise UserError(f"no label on {label_topic} within {waited_s:g} s of a frame")
        self.node.destroy_subscription(subscription)
        return times_ms


def _wait_for_match(player: BagPlayer, commands: Commands | None, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while not player.matched():
        if commands is not None and commands.next() is None:
            raise KeyboardInterrupt
        if time.monotonic() > deadline:
            raise UserError(f"nobody subscribed to {player.topic} within {wait_s:g} s")
        time.sleep(0.05)


def _serve(player: BagPlayer, options: argparse.Namespace) -> Played | None:
    commands = Commands()
    emit(
        "ready",
        topic=player.topic,
        in_bag=len(player.messages),
        bag_hz=rate_hz(player.times_ns),
        restamped=player.restamped,
    )
    _wait_for_match(player, commands, options.wait)
    emit("matched")
    played = None
    while (words := commands.next(timeout_s=0.5)) is not None:
        if words[:1] == ["probe"]:
            emit("probed", times_ms=player.probe(int(words[1]), options.label_topic))
        elif words[:1] in (["play"], ["replay"]):
            emit("playing")
            played = play(
                _turns(player, words),
                player.publish,
                limit_s=float(words[2]),
                stopped=lambda: commands.next() is None,
            )
            emit("played", **played.to_dict())
    return played


def _turns(player: BagPlayer, words: list[str]) -> Iterable[Turn]:
    if words[0] == "replay":
        return player.as_recorded(float(words[1]))
    return player.at(float(words[1]), int(words[3]) if len(words) > 3 else None)


def _run(argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="bag_player",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("bag", metavar="BAG", type=Path, help="rosbag2 folder")
    add("--topic", help="image topic of the bag, where it has several")
    add(
        "--to-topic",
        metavar="TOPIC",
        nargs="+",
        help="topic to publish on, the bag's own unless given; several get the frames in turn",
    )
    add("--label-topic", default=LABEL_TOPIC, help="where probes are answered (%(default)s)")
    add("--hz", type=positive, default=10.0, help="frames a second (%(default)g)")
    add("--rate", metavar="X", type=positive, help="as recorded, X times as fast")
    add("--frames", metavar="N", type=positive_int, help="take the first N frames")
    add("--best-effort", action="store_true", help="publish as a sensor driver may")
    add("--wait", metavar="S", type=positive, default=60.0, help="for a subscriber (%(default)g)")
    add("--interactive", action="store_true", help="take commands on stdin")
    add("--json", metavar="FILE", type=Path, help="write what was sent as JSON")
    options = parser.parse_args(argv)
    player = BagPlayer(
        options.bag, options.topic, options.to_topic, not options.best_effort, options.frames
    )
    try:
        played: Played | None
        if options.interactive:
            played = _serve(player, options)
        else:
            _wait_for_match(player, None, options.wait)
            turns = player.at(options.hz)
            if options.rate is not None:
                turns = player.as_recorded(options.rate)
            played = play(turns, player.publish)
            emit("played", **played.to_dict())
    finally:
        player.close()
    if options.json is not None and played is not None:
        with atomic_write(options.json) as temporary:
            temporary.write_text(json.dumps(played.to_dict()) + "\n", encoding="utf-8")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the player; returns its exit code."""
    return run_command(lambda: _run(argv), "bag_player")


if __name__ == "__main__":
    sys.exit(main())
