"""What the node costs beside the network, and what it holds: `make bench-node`.

    python -m contextnet_ros.ros.node_benchmark --json docs/results/bench-node.json
    python -m contextnet_ros.ros.node_benchmark --only overhead --seconds 10

`overhead`: segment_node with a network that takes no time against a bare rclpy relay, in turns in
one run. `held`: 30 Hz with a network that sleeps 10 ms. `reliable`: the same with a reliable
subscription. `cameras`: frames that come in turn from three cameras against those of one. `batch`:
the network on three cameras' frames at once against one after another, as the node has them. Frames
are 1024 x 2048 unless --size says otherwise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from contextnet_ros.files import UserError, check_writable, run_command
from contextnet_ros.provenance import provenance
from contextnet_ros.ros.bag_make import CAMERA_TOPIC, BagFormat, make_bag, positive, positive_int
from contextnet_ros.ros.camera_batch import batched_ratio, frame_ms
from contextnet_ros.ros.checks import Check, tell, write_checks
from contextnet_ros.ros.frame_fates import latency
from contextnet_ros.ros.frame_sources import Frame, FrameSource
from contextnet_ros.ros.process_use import UseMeter
from contextnet_ros.ros.processes import ending_signals_as_interrupt
from contextnet_ros.ros.replay import Replayed, Setup, open_session
from contextnet_ros.tools.evaluate import parse_size

RELAY = "contextnet_ros.ros.relay"
STAND_IN = "contextnet_ros.ros.stand_in_node"

_FRAMES = 8
_OVERHEAD_HZ = 10.0
_HELD_HZ = 30.0
_SLEEP_MS = 10.0
_CAMERAS = ("front", "left", "right")
_BATCH_TURNS = 5

_RELIABLE = {f"qos_overrides.{CAMERA_TOPIC}.subscription.reliability": "reliable"}


@dataclass(frozen=True)
class Rig:
    """Where and on what the parts of the benchmark run; `faults`: sums of plays that don't hold."""

    work: Path
    bag: Path
    size: tuple[int, int]
    seconds: float
    rounds: int
    long_s: float
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Cost:
    """What one play cost the process under test."""

    run: Replayed
    cpu_ms_per_frame: float | None
    p50_ms: float | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "cpu_ms_per_frame": self.cpu_ms_per_frame,
            "latency": latency(self.run.sent, self.run.labels),
            "frames": self.run.fates.to_dict(),
            "faults": self.run.faults,
        }


def noise_source(height: int, width: int) -> FrameSource:
    """A few frames of noise: what is in a frame does not matter to the node."""

    def read() -> Iterator[Frame]:
        random = np.random.default_rng(0)
        for index in range(_FRAMES):
            image = random.integers(0, 256, (height, width, 3), np.uint8)
            yield Frame(f"noise_{index}", image, None)

    return FrameSource("noise", None, _FRAMES, read)


def play_once(
    rig: Rig,
    module: str,
    hz: float,
    seconds: float,
    *,
    node: tuple[str, ...] = (),
    parameters: dict[str, object] | None = None,
    cameras: tuple[str, ...] = (),
) -> Cost:
    """Start one process under test, play to it, and stop it."""
    height, width = rig.size
    setup = Setup(
        bag=rig.bag,
        logs=rig.work / "logs",
        image_topic=CAMERA_TOPIC,
        parameters={"warm_up_height": height, "warm_up_width": width, **(parameters or {})},
        node_module=module,
        node=node,
    )
    if cameras:
        setup = replace(
            setup,
            parameters={**setup.parameters, "cameras": list(cameras)},
            labels=tuple(f"/segmenter/{camera}/label" for camera in cameras),
            bag_topic=CAMERA_TOPIC,
            player=("--to-topic", *(f"/{camera}/image" for camera in cameras)),
        )
    with open_session(setup) as session:
        # The first frames find shared memory and pages cold.
        cold = session.play(hz, frames=_FRAMES)
        with UseMeter(session.node.process.pid) as meter:
            run = session.play(hz, frames=max(3, round(hz * seconds)))
    faults = [*cold.faults, *run.faults]
    rig.faults.extend(f"{module.rpartition('.')[2]} at {hz:g} Hz: {fault}" for fault in faults)
    first, last = meter.samples[0].process_cpu_s, meter.samples[-1].process_cpu_s
    cpu_ms = None
    if first is not None and last is not None and run.fates.received:
        cpu_ms = 1e3 * (last - first) / run.fates.received
    return Cost(run, cpu_ms, latency(run.sent, run.labels).get("p50_ms"))


def overhead(rig: Rig) -> tuple[list[Check], dict[str, Any]]:
    """CPU time a frame and added latency of the node as multiples of the relay's."""
    costs: dict[str, list[Cost]] = {"relay": [], "node": []}
    for turn in range(rig.rounds):
        for name, module in (("relay", RELAY), ("node", STAND_IN)):
            tell(f"overhead: {name}, turn {turn + 1} of {rig.rounds}")
            costs[name].append(play_once(rig, module, _OVERHEAD_HZ, rig.seconds))

    def ratio(value: Callable[[Cost], float | None]) -> float | None:
        return _ratio(costs["node"], costs["relay"], value)

    checks = [
        Check(
            "CPU time per frame, of a bare rclpy relay's",
            ratio(lambda cost: cost.cpu_ms_per_frame),
            "<=",
            1.5,
            "x",
        ),
        Check(
            "added latency (p50), of a bare rclpy relay's",
            ratio(lambda cost: cost.p50_ms),
            "<=",
            1.3,
            "x",
        ),
    ]
    return checks, {name: [cost.to_dict() for cost in each] for name, each in costs.items()}


def _ratio(
    these: list[Cost], those: list[Cost], value: Callable[[Cost], float | None]
) -> float | None:
    """Ratio of the medians over the turns; None where one of them was not measured."""
    above, below = (
        [seen for cost in costs if (seen := value(cost)) is not None] for costs in (these, those)
    )
    return median(above) / median(below) if above and below and median(below) else None


def held(rig: Rig) -> tuple[list[Check], dict[str, Any]]:
    """The share of frames answered at 30 Hz while the network sleeps 10 ms a frame."""
    tell(f"held: {_HELD_HZ:g} Hz for {rig.long_s:g} s")
    cost = play_once(rig, STAND_IN, _HELD_HZ, rig.long_s, node=("--sleep-ms", str(_SLEEP_MS)))
    fates = cost.run.fates
    answered = 100 * fates.monitored / fates.in_bag
    what = f"answered at {_HELD_HZ:g} Hz over {rig.long_s:g} s, network of {_SLEEP_MS:g} ms"
    return [Check(what, answered, ">=", 99.5, "%")], cost.to_dict()


def reliable(rig: Rig) -> tuple[list[Check], dict[str, Any]]:
    """Frames lost on either way when the node's subscription is reliable, of depth 5."""
    tell(f"reliable: {_HELD_HZ:g} Hz for {rig.long_s:g} s")
    cost = play_once(
        rig,
        STAND_IN,
        _HELD_HZ,
        rig.long_s,
        node=("--sleep-ms", str(_SLEEP_MS)),
        parameters=dict(_RELIABLE),
    )
    fates = cost.run.fates
    lost = float(fates.not_taken + fates.lost_out)
    return [Check("frames lost, reliable input of depth 5", lost, "<=", 0.0, "")], cost.to_dict()


def cameras(rig: Rig) -> tuple[list[Check], dict[str, Any]]:
    """CPU time and latency a frame with three cameras, of those with one, at the same rate."""
    costs: dict[str, list[Cost]] = {"one": [], "three": []}
    for turn in range(rig.rounds):
        for name, names in (("one", _CAMERAS[:1]), ("three", _CAMERAS)):
            tell(f"cameras: {name}, turn {turn + 1} of {rig.rounds}")
            costs[name].append(play_once(rig, STAND_IN, _OVERHEAD_HZ, rig.seconds, cameras=names))
    values: dict[str, Callable[[Cost], float | None]] = {
        "CPU time per frame": lambda cost: cost.cpu_ms_per_frame,
        "latency (p50)": lambda cost: cost.p50_ms,
    }
    checks = [
        Check(
            f"{what} with three cameras, of that with one",
            _ratio(costs["three"], costs["one"], value),
            "<=",
            1.1,
            "x",
        )
        for what, value in values.items()
    ]
    return checks, {name: [cost.to_dict() for cost in each] for name, each in costs.items()}


def batch(rig: Rig) -> tuple[list[Check], dict[str, Any]]:
    """Time a frame of the network with three cameras' frames in one batch, of one at a time."""
    tell("batch: three frames at once and one after another")
    took = frame_ms(len(_CAMERAS), *rig.size, _BATCH_TURNS * rig.rounds)
    what = "network's time per frame in a batch of three, of one alone (the node's way)"
    return [Check(what, batched_ratio(took), ">=", 1.0, "x")], {"frame_ms": took}


PARTS = {
    "overhead": overhead,
    "held": held,
    "reliable": reliable,
    "cameras": cameras,
    "batch": batch,
}


def _run(options: argparse.Namespace) -> int:
    check_writable(options.json)
    height, width = options.size
    with tempfile.TemporaryDirectory(prefix="contextnet-bench-node-") as folder:
        work = Path(folder)
        make_bag(noise_source(height, width), work / "bag", BagFormat(), progress=False)
        rig = Rig(work, work / "bag", options.size, options.seconds, options.rounds, options.long_s)
        checks: list[Check] = []
        details: dict[str, Any] = {}
        for name in options.only or PARTS:
            found, details[name] = PARTS[name](rig)
            checks += found
    settings = {
        "size": f"{height}x{width}",
        "seconds": options.seconds,
        "rounds": options.rounds,
        "long_s": options.long_s,
    }
    write_checks(options.json, checks, {**settings, **details, "provenance": provenance("cpu")})
    if rig.faults:
        raise UserError(f"the frames' sums do not hold: {'; '.join(rig.faults)}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; returns its exit code, which says of the measured only that sums hold."""
    parser = argparse.ArgumentParser(
        prog="node_benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", nargs="+", choices=sorted(PARTS), help="these parts (all)")
    add("--size", type=parse_size, default=(1024, 2048), help="of the frames (1024x2048)")
    add("--seconds", type=positive, default=20.0, help="of a turn of overhead (%(default)g)")
    add("--rounds", type=positive_int, default=3, help="turns of each (%(default)s)")
    add("--long-s", type=positive, default=300.0, help="of held and reliable (%(default)g)")
    add("--json", metavar="FILE", type=Path, help="write what was measured")
    options = parser.parse_args(argv)

    def run() -> int:
        with ending_signals_as_interrupt():
            return _run(options)

    return run_command(run, "node_benchmark")


if __name__ == "__main__":
    sys.exit(main())
