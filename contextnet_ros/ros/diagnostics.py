"""What `/diagnostics` says of the node, once a second and when it ends.

Statuses with keys that don't change, and values that parse as numbers where they are:

- `NODE: frames`: received, superseded, bad, published, pending, not_taken (all since the start;
  received is the sum of the four after it), bad_REASON for each reason seen, input_hz and
  output_hz (since the last message), latency_ms_p50 and latency_ms_p99 (from a frame's arrival
  to its label's publishing), stamp_latency_ms_p50 and _p99 (from its header's stamp), both over
  the last 1000 frames and nan before the first, odd_stamps (labels whose stamp is zero, of the
  future or older than a minute, which tells no latency), publishers (matched), topic.
- `NODE: frames of CAMERA`: the same for each of several cameras; `NODE: frames` is their sum then.
- `NODE: model`: model, state (of the lifecycle), and while a network is loaded variant,
  class_table, classes, network_size, device, precision, memory_bytes, data_licence.

WARN and ERROR say what is wrong and what to do.

NODE is the node's full name without the leading slash, `segmenter` unless it was changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from contextnet_ros.ros.dds_profiles import profile_variables
from contextnet_ros.ros.rates import LatencyWindow, Rates, percentile_ms


def dds_remedy(middleware: str, no_room: str = "") -> str:
    """What to do when frames are lost between the camera's process and ours; `no_room` says what
    is wrong with shared memory, and what to do about that."""
    if no_room:
        return no_room
    variables = profile_variables("auto", {"RMW_IMPLEMENTATION": middleware})
    if not variables:
        return f"give {middleware} room for large images, in the camera's process too"
    lines = " ".join(f"{name}={value}" for name, value in variables.items())
    return f"start the camera's process, as well as this one, with the DDS profile: {lines}"


@dataclass(frozen=True)
class Stream:
    """One camera's frames, or those of all, as `rates` read them last.

    `silent_s` is 0 unless frames are overdue; `publisher_faults` and `subscriber_faults` say why
    peers don't match; `idle` says why no frames are taken, where none should be; `remedy` is the
    one against loss on the way; `remaps` are those that would find images, where nobody publishes.
    """

    topic: str
    rates: Rates
    latency: Sequence[LatencyWindow]
    stamp_latency: Sequence[LatencyWindow]
    odd_stamps: int
    publishers: int
    silent_s: float = 0.0
    publisher_faults: Sequence[str] = ()
    subscriber_faults: Sequence[str] = ()
    idle: str = ""
    remedy: str = ""
    remaps: Sequence[str] = ()

    @property
    def faults(self) -> list[str]:
        """Why peers don't match, one line each."""
        return [*self.publisher_faults, *self.subscriber_faults]

    def judge(self) -> tuple[bytes, str]:
        """The level and what it is for, the worst first."""
        rates = self.rates
        if rates.new_failed > 0 and rates.new_published == 0:
            last = rates.counts.last_bad
            return DiagnosticStatus.ERROR, f"no frame could be segmented; the last: {last}"
        warnings = self.warnings()
        if warnings:
            return DiagnosticStatus.WARN, "; ".join(warnings)
        return DiagnosticStatus.OK, self.idle or f"{rates.output_hz:.1f} labels per second"

    def warnings(self) -> list[str]:
        """Everything that is not as it should be, one line each."""
        found = []
        rates = self.rates
        if rates.new_bad:
            found.append(f"{rates.new_bad} bad frames; the last: {rates.counts.last_bad}")
        found += self.faults
        if rates.new_not_taken:
            found.append(
                f"{rates.new_not_taken} frames were sent but did not arrive: {self.remedy}"
            )
        if self.idle:
            return found
        if self.publishers == 0 or self.silent_s:
            found.append(self.silence())
        return found

    def silence(self) -> str:
        """That no frames come, and what to do."""
        if self.publishers == 0:
            fitting = " that fits" if self.publisher_faults else ""
            elsewhere = f": for images that are there, remap {' or '.join(self.remaps)}"
            return f"nobody publishes {self.topic}{fitting}" + (elsewhere if self.remaps else "")
        # Of large frames that are all lost no sequence number tells.
        return (
            f"no frame came on {self.topic} for {self.silent_s:.0f} s, which has "
            f"{self.publishers} publishers: check the camera; where its images are larger "
            f"than half a megabyte, {self.remedy}"
        )

    def values(self) -> dict[str, Any]:
        """The status's keys and values."""
        counts = self.rates.counts
        values = asdict(counts)
        for key in ("bad_reasons", "last_bad"):
            del values[key]
        values |= {f"bad_{reason}": n for reason, n in sorted(counts.bad_reasons.items())}
        windows = {"latency": self.latency, "stamp_latency": self.stamp_latency}
        return values | {
            "input_hz": f"{self.rates.input_hz:.2f}",
            "output_hz": f"{self.rates.output_hz:.2f}",
            **{
                f"{name}_ms_p{percent}": f"{percentile_ms(window, percent):.2f}"
                for name, window in windows.items()
                for percent in (50, 99)
            },
            "odd_stamps": self.odd_stamps,
            "publishers": self.publishers,
            "topic": self.topic,
        }


def frames_status(name: str, stream: Stream) -> DiagnosticStatus:
    """The status `NAME` of a stream."""
    level, message = stream.judge()
    return _status(name, level, message, stream.values())


def summed_status(
    name: str, total: Stream, cameras: Sequence[DiagnosticStatus]
) -> DiagnosticStatus:
    """The status `NAME` of all cameras' streams together, as grave as the gravest of them."""
    level = max(status.level for status in cameras)
    message = "; ".join(
        f"{status.name.partition(' of ')[2]}: {status.message}"
        for status in cameras
        if status.level == level != DiagnosticStatus.OK
    )
    return _status(name, level, message or total.judge()[1], total.values())


def model_status(
    node_name: str, model: str, state: str, segmenter: Any = None, failure: str = ""
) -> DiagnosticStatus:
    """The status `NODE: model` of a loaded Segmenter, or of none; `failure` is what the device or
    a transition of the lifecycle did."""
    values = {"model": model, "state": state}
    message = f"{state}, no network is loaded"
    if segmenter is not None:
        header = segmenter.header
        message = segmenter.describe()
        values |= {
            "variant": header.variant,
            "class_table": header.table.name,
            "classes": header.table.num_classes,
            "network_size": segmenter.network_size,
            "device": segmenter.device,
            "precision": segmenter.precision,
            "memory_bytes": segmenter.memory_bytes(),
            "data_licence": header.data_licence,
        }
    level = DiagnosticStatus.ERROR if failure else DiagnosticStatus.OK
    return _status(f"{node_name}: model", level, failure or message, values)


def diagnostic_array(stamp: Any, statuses: list[DiagnosticStatus]) -> DiagnosticArray:
    """The message for `/diagnostics`; `stamp` is a builtin_interfaces/Time."""
    array = DiagnosticArray(status=statuses)
    array.header.stamp = stamp
    return array


def _status(name: str, level: bytes, message: str, values: dict[str, Any]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(name=name, level=level, message=message, hardware_id="", values=pairs)
