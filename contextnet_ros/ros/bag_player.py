"""Play one image topic of a bag over DDS, from memory, at a rate that is held.

    python -m contextnet_ros.ros.bag_player out/input_bag --hz 10 --json sent.json
    python -m contextnet_ros.ros.bag_player out/input_bag --interactive

Messages go out as they were recorded, byte for byte. A frame whose turn is over before it could be
sent is not sent late but counted as not sent: the rate is what is being promised. With
--interactive the commands `probe FRAMES` and `play HZ SECONDS` come on stdin.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from contextnet_ros.files import UserError, atomic_write, run_command
from contextnet_ros.ros.bag_io import BagReader
from contextnet_ros.ros.bag_make import positive
from contextnet_ros.ros.bag_messages import COMPRESSED_IMAGE, header_stamp_ns, with_stamp
from contextnet_ros.ros.control import Commands, emit

LABEL_TOPIC = "/segmenter/label"
PROBE_TIMEOUT_S = 30.0
_PROBE_TRIES = 2

# A machine so slow that probing takes longer is known well enough by then.
_PROBING_S = 15.0

# Stamps of probe frames lie in 1970, where no camera's are.
_PROBE_STAMP_NS = 1_000_000_000


@dataclass
class Played:
    """What became of the frames of a bag: stamps, when they were sent, and which were not.

    `sent` holds [header stamp in ns, monotonic clock in ns before publishing]; `not_sent` holds
    [header stamp in ns, reason].
    """

    in_bag: int
    asked_hz: float
    sent: list[tuple[int, int]] = field(default_factory=list)
    not_sent: list[tuple[int, str]] = field(default_factory=list)

    @property
    def sent_hz(self) -> float:
        """Rate of what was sent, (n - 1) / duration; 0 for fewer than two frames."""
        if len(self.sent) < 2:
            return 0.0
        return (len(self.sent) - 1) * 1e9 / (self.sent[-1][1] - self.sent[0][1])


def play(
    messages: list[bytes],
    hz: float,
    publish: Callable[[bytes], None],
    *,
    limit_s: float = float("inf"),
    stopped: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Played:
    """Publish CDR messages at `hz`; those that miss their turn, or the limit, are not sent."""
    played = Played(len(messages), hz)
    start = clock()
    for index, message in enumerate(messages):
        stamp_ns = header_stamp_ns(message)
        due = start + index / hz
        if due - start > limit_s:
            played.not_sent.append((stamp_ns, "time limit"))
            continue
        if stopped():
            played.not_sent.append((stamp_ns, "stopped"))
            continue
        if clock() - due > 1 / hz:
            played.not_sent.append((stamp_ns, "late"))
            continue
        sleep(max(0.0, due - clock()))
        played.sent.append((stamp_ns, round(clock() * 1e9)))
        publish(message)
    return played


class BagPlayer:
    """A node that publishes the messages of one image topic of a bag."""

    def __init__(self, bag: Path, topic: str | None, to_topic: str | None, reliable: bool) -> None:
        with BagReader(bag) as reader:
            self.topic = reader.camera_topic(topic)
            kind = reader.image_topics()[self.topic]
            self.messages = [data for _, data in reader.raw_messages(self.topic)]
        if not self.messages:
            raise UserError(f"{bag}: no frames on {self.topic}; record it again")

        import rclpy
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from rclpy.signals import SignalHandlerOptions
        from sensor_msgs.msg import CompressedImage, Image

        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._rclpy = rclpy
        self._image_type = Image
        self.node = rclpy.create_node("bag_player")
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        self._publisher = self.node.create_publisher(
            CompressedImage if kind == COMPRESSED_IMAGE else Image,
            to_topic or self.topic,
            QoSProfile(depth=5, reliability=policy),
        )

    def close(self) -> None:
        """Leave the graph."""
        self.node.destroy_node()
        self._rclpy.shutdown()

    def publish(self, message: bytes) -> None:
        """Publish one message of CDR bytes."""
        self._publisher.publish(message)

    def matched(self) -> bool:
        """Whether somebody subscribes."""
        return bool(self._publisher.get_subscription_count() > 0)

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


def _fields(played: Played) -> dict[str, Any]:
    return {**asdict(played), "sent_hz": played.sent_hz}


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
    emit("ready", topic=player.topic, in_bag=len(player.messages))
    _wait_for_match(player, commands, options.wait)
    emit("matched")
    played = None
    while (words := commands.next(timeout_s=0.5)) is not None:
        if words[:1] == ["probe"]:
            emit("probed", times_ms=player.probe(int(words[1]), options.label_topic))
        elif words[:1] == ["play"]:
            played = play(
                player.messages,
                float(words[1]),
                player.publish,
                limit_s=float(words[2]),
                stopped=lambda: commands.next() is None,
            )
            emit("played", **_fields(played))
    return played


def _run(argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="bag_player",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("bag", metavar="BAG", type=Path, help="rosbag2 folder")
    add("--topic", help="image topic of the bag, where it has several")
    add("--to-topic", metavar="TOPIC", help="topic to publish on, the bag's own unless given")
    add("--label-topic", default=LABEL_TOPIC, help="where probes are answered (%(default)s)")
    add("--hz", type=positive, default=10.0, help="frames a second (%(default)g)")
    add("--best-effort", action="store_true", help="publish as a sensor driver may")
    add("--wait", metavar="S", type=positive, default=60.0, help="for a subscriber (%(default)g)")
    add("--interactive", action="store_true", help="take commands on stdin")
    add("--json", metavar="FILE", type=Path, help="write what was sent as JSON")
    options = parser.parse_args(argv)
    player = BagPlayer(options.bag, options.topic, options.to_topic, not options.best_effort)
    try:
        played: Played | None
        if options.interactive:
            played = _serve(player, options)
        else:
            _wait_for_match(player, None, options.wait)
            played = play(player.messages, options.hz, player.publish)
            emit("played", **_fields(played))
    finally:
        player.close()
    if options.json is not None and played is not None:
        with atomic_write(options.json) as temporary:
            temporary.write_text(json.dumps(_fields(played)) + "\n", encoding="utf-8")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the player; returns its exit code."""
    return run_command(lambda: _run(argv), "bag_player")


if __name__ == "__main__":
    sys.exit(main())
