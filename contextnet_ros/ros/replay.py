"""Replay a bag through the real node: node, player and recorder each in a process of its own.

They meet over DDS in a private domain. The node counts what it did, the player what it sent and the
recorder what arrived; a `Session` brings the three together for one play of the bag after another,
and every process it started is stopped at its end.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from contextnet_ros.files import UserError
from contextnet_ros.ros.bag_player import LABEL_TOPIC
from contextnet_ros.ros.frame_fates import FrameFates, monitor_faults, node_counts
from contextnet_ros.ros.processes import Child, Children, Event, private_environment

OVERLAY_TOPIC = "/segmenter/overlay"
TIMINGS_TOPIC = "/segmenter/timings"
NODE_MODULE = "contextnet_ros.ros.segment_node"
PLAYER_MODULE = "contextnet_ros.ros.bag_player"

# One frame in flight at a time gives the best the machine can do; the rate played leaves room for
# the recorder, the player and whatever else the machine does.
HELD_SHARE = 0.6
MAX_HZ = 30.0
_WARM_UP_PROBES = 1
_PROBES = 4

_START_S = 120.0
_SETTLE_S = 20.0

# A status that was on its way while the last frame was answered is too old to tell of it.
_STATUS_AGE_NS = 300_000_000


def held_hz(round_trips_ms: list[float], max_hz: float = MAX_HZ) -> float:
    """A rate that a machine with these round trips holds with room to spare."""
    return min(max_hz, HELD_SHARE * 1e3 / statistics.median(round_trips_ms))


@dataclass(frozen=True)
class Setup:
    """Who takes part in a replay.

    `parameters` go to the node, and over them `overrides`, YAML as a user wrote it; `node` and
    `player` are further arguments. `labels`, one for each camera, and `outputs` are the image
    topics that are subscribed to; they are recorded to `output_bag` by the plays that ask for it.
    `timings` has the node tell of its stages.
    """

    bag: Path
    logs: Path
    image_topic: str
    parameters: dict[str, object]
    overrides: dict[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = (LABEL_TOPIC,)
    outputs: tuple[str, ...] = ()
    output_bag: Path | None = None
    timings: bool = False
    bag_topic: str | None = None
    node_module: str = NODE_MODULE
    node: tuple[str, ...] = ()
    player_module: str = PLAYER_MODULE
    player: tuple[str, ...] = ()


@dataclass(frozen=True)
class Replayed:
    """What one play measured; stamps are header stamps in ns, times the monotonic clock in ns.

    `timings`: what the node told of each frame, by stamp; see timings.py.
    """

    fates: FrameFates
    sent_hz: float
    sent: dict[int, int]
    labels: dict[int, int]
    overlays: set[int]
    not_sent: dict[int, str]
    timings: dict[int, Event]
    status: dict[str, str]
    faults: list[str] = field(default_factory=list)


@contextmanager
def open_session(
    setup: Setup,
    on_stage: Callable[[str], None] = lambda _: None,
    on_label: Callable[[int], None] = lambda _: None,
) -> Iterator[Session]:
    """A session whose processes are ready; `on_label` is told how many labels a play has so far.

    Raises UserError when a process ends early or does not get ready; whatever happens, no process
    is left afterwards.
    """
    with Children(private_environment(), setup.logs) as children:
        on_stage("starting the node, the player and the recorder")
        yield Session(setup, children, on_label)


class Session:
    """Node, player and recorder, matched with each other."""

    def __init__(
        self, setup: Setup, children: Children, on_label: Callable[[int], None] = lambda _: None
    ) -> None:
        self.setup = setup
        self.children = children
        self.on_label = on_label
        self.arrivals: list[tuple[int, int]] = []
        self.overlays: set[int] = set()
        self.timings: dict[int, Event] = {}
        self.about: dict[str, str] = {}
        self.statuses: list[Event] = []
        self.matched: set[str] = set()
        # The node's counts after the last play, while nothing has been sent since.
        self._standing: dict[str, str] | None = None
        self.node = self._start_node()
        self.recorder = self._start_recorder()
        self.player = self._start_player()
        # Outputs exist before the node warms up, its subscription only after: the player's match
        # is what says that the node serves.
        self.ready = self._wait(self.player, "ready", _START_S)
        self._wait(self.player, "matched", _START_S)
        self._until(lambda: "recorder" in self.matched, _START_S)

    @property
    def in_bag(self) -> int:
        """How many frames the player has."""
        return int(self.ready["in_bag"])

    def probe(self) -> list[float]:
        """Round trips in ms of single frames, from sending one to its label's arrival."""
        self._standing = None
        self.player.send("probe", _WARM_UP_PROBES + _PROBES)
        probed = self._wait(self.player, "probed", _START_S)
        times_ms = [float(time_ms) for time_ms in probed["times_ms"]]
        return times_ms[_WARM_UP_PROBES:] or times_ms

    def play(
        self,
        hz: float,
        *,
        limit_s: float = float("inf"),
        frames: int | None = None,
        record: bool = False,
    ) -> Replayed:
        """Play the bag once, or `frames` of it over and over, at `hz`."""
        count = self.in_bag if frames is None else frames
        words = ("play", hz, limit_s) if frames is None else ("play", hz, limit_s, frames)
        return self._play(words, min(count / hz, limit_s), record)

    def replay(
        self, rate: float, *, limit_s: float = float("inf"), record: bool = False
    ) -> Replayed:
        """Play the bag once, as it was recorded but `rate` times as fast."""
        lasts_s = self.in_bag / max(self.ready["bag_hz"], 1e-3) / rate
        return self._play(("replay", rate, limit_s), min(lasts_s, limit_s), record)

    def _play(self, words: tuple[object, ...], lasts_s: float, record: bool) -> Replayed:
        before = self._standing or self._settled(time.monotonic_ns())
        self.arrivals, self.overlays, self.timings = [], set(), {}
        self._command(self.recorder, "started", 10.0, "start" if record else "watch")
        # ros2 bag play takes seconds to start and to be resumed; only then does the play begin.
        self._command(self.player, "playing", _START_S, *words)
        played = self._wait(self.player, "played", lasts_s + _SETTLE_S)
        reached = int(before["received"]) + len(played["sent"])
        after = self._standing = self._settled(time.monotonic_ns(), reached)
        published = int(after["published"]) - int(before["published"])
        self._until(lambda: len(self.arrivals) >= published, 3.0)
        # What the disk has yet to take may be a gigabyte.
        closed = self._command(self.recorder, "closed", 60.0, "stop")
        return self._result(before, after, played, closed)

    def _start_node(self) -> Child:
        setup = self.setup
        arguments = [*setup.node, "--ros-args", "-r", f"image:={setup.image_topic}"]
        # Text in quotes, or a model named 11 would be taken for a number; JSON is YAML.
        texts = {n: json.dumps(v, ensure_ascii=False) for n, v in setup.parameters.items()}
        for name, text in {**texts, **setup.overrides}.items():
            arguments += ["-p", f"{name}:={text}"]
        return self.children.start("node", setup.node_module, arguments)

    def _start_recorder(self) -> Child:
        setup = self.setup
        arguments = [] if setup.output_bag is None else [str(setup.output_bag), "--force"]
        arguments += ["--diagnostics", "/diagnostics", "--image", *setup.labels, *setup.outputs]
        if setup.timings:
            arguments += ["--timings", TIMINGS_TOPIC]
        return self.children.start("recorder", "contextnet_ros.ros.bag_recorder", arguments)

    def _start_player(self) -> Child:
        setup = self.setup
        arguments = [str(setup.bag), "--interactive", "--label-topic", setup.labels[0]]
        arguments += ["--topic", setup.bag_topic or setup.image_topic, "--wait", str(_START_S)]
        return self.children.start("player", setup.player_module, [*arguments, *setup.player])

    def _settled(self, since_ns: int, reached: int | None = None) -> dict[str, str]:
        """The node's status once nothing is pending.

        With `reached`, once so many frames were received in all, or the counts stand still.
        """

        def found() -> bool:
            recent = [
                s["values"]
                for s in self.statuses
                if s["monotonic_ns"] > since_ns + _STATUS_AGE_NS and s["values"]["pending"] == "0"
            ]
            received = [int(values["received"]) for values in recent]
            if reached is None or not recent or received[-1] >= reached:
                return bool(recent)
            return len(received) > 1 and received[-1] == received[-2]

        if not self._until(found, _SETTLE_S) and not self.statuses:
            raise UserError(f"the node published no counts on /diagnostics within {_SETTLE_S:g} s")
        return dict(self.statuses[-1]["values"])

    def _result(
        self,
        before: dict[str, str],
        after: dict[str, str],
        played: Event,
        closed: Event,
    ) -> Replayed:
        sent = {int(stamp): int(time_ns) for stamp, time_ns in played["sent"]}
        # A player that is not ours tells when only of the frames that were seen on their way.
        unseen = [int(stamp) for stamp in played.get("unseen", [])]
        try:
            counts = node_counts(before, after)
        except ValueError as error:
            raise UserError(f"{error}; node and package are of different versions") from error
        fates = FrameFates(
            in_bag=int(played["in_bag"]),
            sent=len(sent) + len(unseen),
            not_sent=len(played["not_sent"]),
            monitored=sum(closed["counts"][topic] for topic in self.setup.labels),
            **counts,
        )
        stamps = [stamp for stamp, _ in self.arrivals]
        return Replayed(
            fates=fates,
            sent_hz=played["sent_hz"],
            sent=sent,
            labels=dict(self.arrivals),
            overlays=self.overlays,
            not_sent={int(stamp): reason for stamp, reason in played["not_sent"]},
            timings=self.timings,
            status={**self.about, **after},
            faults=fates.broken() + monitor_faults([*sent, *unseen], stamps),
        )

    def _note(self, event: Event) -> None:
        if event["event"] == "arrival" and event["topic"] in self.setup.labels:
            self.arrivals.append((event["stamp_ns"], event["monotonic_ns"]))
            self.on_label(len(self.arrivals))
        elif event["event"] == "arrival":
            self.overlays.add(event["stamp_ns"])
        elif event["event"] == "timings":
            self.timings[event["stamp_ns"]] = event
        elif event["event"] == "diagnostics" and event["name"].endswith(": frames"):
            self.statuses.append(event)
        elif event["event"] == "diagnostics":
            self.about.update(event["values"])
        elif event["event"] == "matched":
            self.matched.add(event["from"])

    def _wait(self, child: Child, kind: str, timeout_s: float) -> Event:
        return self.children.wait(child, kind, timeout_s, self._note)

    def _command(self, child: Child, kind: str, timeout_s: float, *words: object) -> Event:
        child.send(*words)
        return self._wait(child, kind, timeout_s)

    def _until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while True:
            for event in self.children.poll():
                self._note(event)
            if condition():
                return True
            if time.monotonic() > deadline:
                return False
            for child in self.children.all:
                child.check()
            time.sleep(0.02)
