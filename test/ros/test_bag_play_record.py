"""Player and recorder: the rate that is held, and messages that survive a way over DDS."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from contextnet_ros.files import UserError
from contextnet_ros.ros import bag_player
from contextnet_ros.ros.bag_io import BagReader
from contextnet_ros.ros.bag_make import CAMERA_TOPIC, BagFormat, make_bag
from contextnet_ros.ros.bag_messages import header_stamp_ns, image_message
from contextnet_ros.ros.bag_turns import even_turns, play, recorded_turns
from contextnet_ros.ros.frame_sources import generated_source
from contextnet_ros.ros.processes import Children, Event, private_environment
from contextnet_ros.ros.replay import Session, Setup

FRAMES = 8


def messages(count: int) -> list[bytes]:
    pixels = np.zeros((1, 1), np.uint8)
    return [image_message(pixels, "mono8", 1 + index, "") for index in range(count)]


def turns(count: int, hz: float):
    return even_turns(messages(count), range(1, 1 + count), hz)


class Clock:
    """Time that passes only by sleeping, and by publishing where that is slow."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_frames_go_out_at_the_rate() -> None:
    clock = Clock()
    times = []
    played = play(
        turns(5, 4.0),
        lambda _: times.append(clock.now),
        clock=clock,
        sleep=clock.sleep,
    )
    assert times == [100.0, 100.25, 100.5, 100.75, 101.0]
    assert played.sent == [(1 + i, round(t * 1e9)) for i, t in enumerate(times)]
    assert played.not_sent == []
    assert played.sent_hz == 4.0


def test_a_frame_whose_turn_is_over_is_not_sent_and_the_rest_keep_their_turns() -> None:
    clock = Clock()
    times = {}

    def publish(message: bytes) -> None:
        stamp = int.from_bytes(message[8:12], "little")
        times[stamp] = clock.now
        if stamp == 2:
            # Until 3.3 periods after the start: the turns of frames 3 and 4 begin at 2 and 3.
            clock.now = 103.3

    played = play(turns(6, 1.0), publish, clock=clock, sleep=clock.sleep)
    assert played.not_sent == [(3, "late")]
    assert times == {1: 100.0, 2: 101.0, 4: 103.3, 5: 104.0, 6: 105.0}
    assert played.in_bag == len(played.sent) + len(played.not_sent)


def test_after_the_limit_or_a_stop_frames_are_counted_as_not_sent() -> None:
    clock = Clock()
    limited = play(turns(4, 1.0), lambda _: None, limit_s=1.5, clock=clock, sleep=clock.sleep)
    assert [stamp for stamp, _ in limited.sent] == [1, 2]
    assert limited.not_sent == [(3, "time limit"), (4, "time limit")]
    stopped = play(turns(2, 1.0), lambda _: None, stopped=lambda: True)
    assert stopped.not_sent == [(1, "stopped"), (2, "stopped")]


def test_a_bag_played_on_and_on_gets_stamps_as_if_it_had_been_recorded_so() -> None:
    clock = Clock()
    stamps = []
    played = play(
        even_turns(messages(3), [1, 2, 3], 2.0, 8),
        lambda message: stamps.append(header_stamp_ns(message)),
        clock=clock,
        sleep=clock.sleep,
    )
    assert stamps == [1, 2, 3, 4, 5, 6, 7, 8]
    assert played.in_bag == 8
    assert [stamp for stamp, _ in played.sent] == stamps
    assert clock.now == 103.5


def test_a_bags_own_times_are_kept_and_multiplied() -> None:
    clock = Clock()
    recorded_ns = [7_000_000_000, 7_100_000_000, 9_000_000_000]
    played = play(
        recorded_turns(messages(3), [1, 2, 3], recorded_ns, 2.0),
        lambda _: None,
        clock=clock,
        sleep=clock.sleep,
    )
    assert [time_ns / 1e9 for _, time_ns in played.sent] == pytest.approx([100, 100.05, 101])


@pytest.fixture(scope="module")
def street_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "street"
    source = generated_source(frames=FRAMES, height=64, width=128, seed=1)
    make_bag(source, path, BagFormat(), progress=False)
    return path


@pytest.mark.ros
@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_what_is_played_over_dds_is_recorded_byte_for_byte(
    tmp_path: Path, street_bag: Path, storage: str
) -> None:
    pytest.importorskip("rclpy")
    arrivals: list[Event] = []
    matched: set[str] = set()

    def note(event: Event) -> None:
        if event["event"] == "arrival":
            arrivals.append(event)
        if event["event"] == "matched":
            matched.add(event["from"])

    with Children(private_environment(), tmp_path / "logs") as children:
        recorder = children.start(
            "recorder",
            "contextnet_ros.ros.bag_recorder",
            [str(tmp_path / "recorded"), "--image", CAMERA_TOPIC, "--storage", storage],
        )
        player = children.start(
            "player", "contextnet_ros.ros.bag_player", [str(street_bag), "--interactive"]
        )
        # In either order.
        children.wait(player, "matched", 60, note)
        if "recorder" not in matched:
            children.wait(recorder, "matched", 60)
        recorder.send("start")
        children.wait(recorder, "started", 60)
        player.send("play", 20, 60)
        played = children.wait(player, "played", 60, note)
        while len(arrivals) < FRAMES:
            arrivals.append(children.wait(recorder, "arrival", 60))
        recorder.send("stop")
        closed = children.wait(recorder, "closed", 60)
    assert closed["counts"] == {CAMERA_TOPIC: FRAMES}
    with BagReader(street_bag) as before, BagReader(tmp_path / "recorded") as after:
        expected = [data for _, data in before.raw_messages(CAMERA_TOPIC)]
        assert [data for _, data in after.raw_messages(CAMERA_TOPIC)] == expected
    sent = dict(played["sent"])
    assert [event["stamp_ns"] for event in arrivals] == list(sent)
    assert all(event["monotonic_ns"] > sent[event["stamp_ns"]] for event in arrivals)


@pytest.mark.ros
def test_a_recorder_whose_starter_is_gone_ends_and_leaves_no_bag(tmp_path: Path) -> None:
    pytest.importorskip("rclpy")
    command = [sys.executable, "-m", "contextnet_ros.ros.bag_recorder", str(tmp_path / "bag")]
    done = subprocess.run(
        [*command, "--image", "/nothing"],
        input=b"start\n",
        cwd=Path(__file__).parents[2],
        env=private_environment(),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert b'"started"' in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ros
def test_the_nodes_parameters_keep_their_types(tmp_path: Path) -> None:
    rclpy = pytest.importorskip("rclpy")
    parameters: dict[str, object] = {
        "model": "11", "device": "true", "path": 'über "a": [b]', "cameras": ["1", "left"],
        "num_threads": 2, "period": 1.0, "count": 3, "asked": False,
    }  # fmt: skip
    overrides = {"count": "4", "device": "cpu"}
    setup = Setup(tmp_path, tmp_path, "/camera/image", parameters, overrides)
    started = SimpleNamespace(setup=setup, children=Mock())
    Session._start_node(started)
    ((_, _, arguments), _) = started.children.start.call_args
    context = rclpy.Context()
    context.init(args=arguments)
    node = rclpy.create_node(
        "typed", context=context, automatically_declare_parameters_from_overrides=True
    )
    told = {name: node.get_parameter(name).value for name in parameters}
    node.destroy_node()
    context.shutdown()
    assert told == {**parameters, "count": 4, "device": "cpu"}
    assert type(told["period"]) is float


@pytest.mark.ros
def test_a_player_without_a_subscriber_says_so(street_bag: Path) -> None:
    pytest.importorskip("rclpy")
    done = subprocess.run(
        [sys.executable, "-m", "contextnet_ros.ros.bag_player", str(street_bag), "--wait", "0.5"],
        env=private_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 1
    assert "nobody subscribed to /camera/image_raw within 0.5 s" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bag_that_memory_does_not_hold_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(bag_player, "available_bytes", lambda: 1000)
    messages = [(time_ns, bytes(200)) for time_ns in range(3)]
    with pytest.raises(UserError, match=r"its first 3 frames.*--frames 2.*--player ros2"):
        bag_player._held(Path("bag"), iter(messages))
    assert bag_player._held(Path("bag"), iter(messages[:2])) == messages[:2]
