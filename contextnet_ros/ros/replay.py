"""Replay a bag through the real node: node, player and recorder each in a process of its own.

They meet over DDS in a private domain. The node counts what it did, the player what it sent and the
recorder what arrived; `replay` brings the three together and stops every process it started.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from contextnet_ros.files import UserError
from contextnet_ros.ros.bag_player import LABEL_TOPIC
from contextnet_ros.ros.frame_fates import FrameFates, monitor_faults, node_counts
from contextnet_ros.ros.processes import Child, Children, Event, private_environment

OVERLAY_TOPIC = "/segmenter/overlay"
NODE_MODULE = "contextnet_ros.ros.segment_node"

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


@dataclass(frozen=True)
class ReplayPlan:
    """What to replay: `hz` None finds a rate the machine can hold; `end` is a time.monotonic().

    `parameters` go to the node; frames whose turn would come after `end` are not sent.
    """

    bag: Path
    output_bag: Path
    logs: Path
    image_topic: str
    parameters: dict[str, object]
    end: float
    hz: float | None = None


@dataclass(frozen=True)
class Replayed:
    """What a replay measured; stamps are header stamps in ns, times the monotonic clock in ns."""

    fates: FrameFates
    hz: float
    sent_hz: float
    sent: dict[int, int]
    labels: dict[int, int]
    overlays: set[int]
    not_sent: dict[int, str]
    round_trips_ms: list[float]
    status: dict[str, str]
    faults: list[str] = field(default_factory=list)


def replay(
    plan: ReplayPlan,
    on_stage: Callable[[str], None] = lambda _: None,
    on_label: Callable[[int], None] = lambda _: None,
) -> Replayed:
    """Run the plan; `on_label` is told how many labels have arrived.

    Raises UserError when a process ends early or does not get ready; whatever happens, no process
    is left when it returns.
    """
    with Children(private_environment(), plan.logs) as children:
        return _Replay(plan, children, on_stage, on_label).run()


class _Replay:
    def __init__(
        self,
        plan: ReplayPlan,
        children: Children,
        on_stage: Callable[[str], None],
        on_label: Callable[[int], None],
    ) -> None:
        self.plan = plan
        self.children = children
        self.on_stage = on_stage
        self.on_label = on_label
        self.in_bag = 0
        self.arrivals: list[tuple[int, int]] = []
        self.overlays: set[int] = set()
        self.about: dict[str, str] = {}
        self.statuses: list[Event] = []
        self.matched: set[str] = set()

    def run(self) -> Replayed:
        self.on_stage("starting the node, the player and the recorder")
        player, recorder = self._start()
        trips_ms: list[float] = []
        hz = self.plan.hz
        if hz is None:
            self.on_stage("finding a rate that this machine holds")
            trips_ms = self._probe(player)
            hz = min(MAX_HZ, HELD_SHARE * 1e3 / statistics.median(trips_ms))
        before = self._settled(time.monotonic_ns())
        self._command(recorder, "started", 10.0, "start")
        limit_s = max(1.0, self.plan.end - time.monotonic())
        play_s = min(self.in_bag / hz, limit_s)
        self.on_stage(f"playing {self.in_bag} frames at {hz:.2f} Hz, about {play_s:.0f} s")
        player.send("play", hz, limit_s)
        played = self._wait(player, "played", play_s + _SETTLE_S)
        after = self._settled(time.monotonic_ns(), twice=True)
        published = int(after["published"]) - int(before["published"])
        self._until(lambda: len(self.arrivals) >= published, 3.0)
        # What the disk has yet to take may be a gigabyte.
        closed = self._command(recorder, "closed", 60.0, "stop")
        return self._result(hz, trips_ms, before, after, played, closed)

    def _start(self) -> tuple[Child, Child]:
        plan = self.plan
        arguments = ["--ros-args", "-r", f"image:={plan.image_topic}"]
        for name, value in plan.parameters.items():
            arguments += ["-p", f"{name}:={value}"]
        start = self.children.start
        start("node", NODE_MODULE, arguments)
        outputs = ["--image", LABEL_TOPIC, OVERLAY_TOPIC]
        recorder = start(
            "recorder",
            "contextnet_ros.ros.bag_recorder",
            [str(plan.output_bag), "--force", "--diagnostics", "/diagnostics", *outputs],
        )
        topics = ["--topic", plan.image_topic, "--label-topic", LABEL_TOPIC]
        player = start(
            "player",
            "contextnet_ros.ros.bag_player",
            [str(plan.bag), "--interactive", *topics, "--wait", str(_START_S)],
        )
        # Outputs exist before the node warms up, its subscription only after: the player's match
        # is what says that the node serves.
        self.in_bag = self._wait(player, "ready", _START_S)["in_bag"]
        self._wait(player, "matched", _START_S)
        self._until(lambda: "recorder" in self.matched, _START_S)
        return player, recorder

    def _probe(self, player: Child) -> list[float]:
        player.send("probe", _WARM_UP_PROBES + _PROBES)
        probed = self._wait(player, "probed", _START_S)
        times_ms = [float(time_ms) for time_ms in probed["times_ms"]]
        return times_ms[_WARM_UP_PROBES:] or times_ms

    def _settled(self, since_ns: int, twice: bool = False) -> dict[str, str]:
        """The node's status once nothing is pending; `twice`: once its counts stand still."""

        def found() -> bool:
            recent = [
                s["values"]
                for s in self.statuses
                if s["monotonic_ns"] > since_ns + _STATUS_AGE_NS and s["values"]["pending"] == "0"
            ]
            if not twice:
                return bool(recent)
            return len(recent) > 1 and recent[-1]["received"] == recent[-2]["received"]

        if not self._until(found, _SETTLE_S) and not self.statuses:
            raise UserError(f"the node published no counts on /diagnostics within {_SETTLE_S:g} s")
        return dict(self.statuses[-1]["values"])

    def _result(
        self,
        hz: float,
        trips_ms: list[float],
        before: dict[str, str],
        after: dict[str, str],
        played: Event,
        closed: Event,
    ) -> Replayed:
        sent = {int(stamp): int(time_ns) for stamp, time_ns in played["sent"]}
        try:
            counts = node_counts(before, after)
        except ValueError as error:
            raise UserError(f"{error}; node and package are of different versions") from error
        fates = FrameFates(
            in_bag=self.in_bag,
            sent=len(sent),
            not_sent=len(played["not_sent"]),
            monitored=int(closed["counts"][LABEL_TOPIC]),
            **counts,
        )
        stamps = [stamp for stamp, _ in self.arrivals]
        return Replayed(
            fates=fates,
            hz=hz,
            sent_hz=played["sent_hz"],
            sent=sent,
            labels=dict(self.arrivals),
            overlays=self.overlays,
            not_sent={int(stamp): reason for stamp, reason in played["not_sent"]},
            round_trips_ms=trips_ms,
            status={**self.about, **after},
            faults=fates.broken() + monitor_faults(list(sent), stamps),
        )

    def _note(self, event: Event) -> None:
        if event["event"] == "arrival" and event["topic"] == LABEL_TOPIC:
            self.arrivals.append((event["stamp_ns"], event["monotonic_ns"]))
            self.on_label(len(self.arrivals))
        elif event["event"] == "arrival":
            self.overlays.add(event["stamp_ns"])
        elif event["event"] == "diagnostics" and "received" in event["values"]:
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
