"""What the diagnostics say of a stream, and which stamps tell a latency."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: the node's tests need ROS 2")

from diagnostic_msgs.msg import DiagnosticStatus

from contextnet_ros.ros import diagnostics
from contextnet_ros.ros import rates as rates_module
from contextnet_ros.ros.frames import FrameCounts
from contextnet_ros.ros.rates import (
    LatencyWindow,
    Rates,
    Silence,
    percentile_ms,
    stamp_latency_ms,
)

pytestmark = pytest.mark.ros
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
SECOND_NS = 1_000_000_000


def stream(counts, **what):
    rates = Rates()
    rates.update(counts)
    remedy = diagnostics.dds_remedy("rmw_fastrtps_cpp")
    given = {
        "remedy": remedy,
        "latency": [],
        "stamp_latency": [],
        "odd_stamps": 0,
        "publishers": 1,
        **what,
    }
    return diagnostics.Stream("/image", rates, **given)


def test_a_stream_that_runs_is_ok():
    assert stream(FrameCounts(received=9, published=9)).judge()[0] == OK


@pytest.mark.parametrize(
    ("counts", "what", "said"),
    [
        (FrameCounts(), {"publishers": 0}, ["nobody publishes /image"]),
        (
            FrameCounts(),
            {"publishers": 0, "remaps": ["image:=/cam/image", "image:=/b"]},
            [
                "nobody publishes /image: for images that are there, remap image:=/cam/image or "
                "image:=/b"
            ],
        ),
        (FrameCounts(), {"silent_s": 7.0}, ["check the camera", "half a megabyte", "fastdds.xml"]),
        (
            FrameCounts(),
            {"publishers": 0, "publisher_faults": ["QoS: a, b"]},
            ["QoS: a, b", "nobody publishes /image that fits"],
        ),
        (
            FrameCounts(),
            {"publishers": 0, "subscriber_faults": ["QoS: c"], "remaps": ["image:=/b"]},
            ["QoS: c", "nobody publishes /image: for images"],
        ),
        (FrameCounts(received=3), {"silent_s": 7.0}, ["no frame came on /image for 7 s"]),
        (
            FrameCounts(received=3, bad=1, bad_reasons={"x": 1}, last_bad="data has 3 bytes"),
            {},
            ["1 bad frames", "data has 3 bytes"],
        ),
        (FrameCounts(received=3, not_taken=4), {}, ["4 frames", "fastdds.xml", "camera's process"]),
    ],
)
def test_what_goes_wrong_is_a_warning_that_says_what(counts, what, said):
    level, message = stream(counts, **what).judge()
    assert level == WARN
    for text in said:
        assert text in message


def test_the_remedy_against_loss_is_that_of_the_middleware_in_use():
    assert "CYCLONEDDS_URI=file:///" in diagnostics.dds_remedy("rmw_cyclonedds_cpp")
    assert "rmw_other" in diagnostics.dds_remedy("rmw_other")
    assert diagnostics.dds_remedy("rmw_fastrtps_cpp", "/dev/shm is full") == "/dev/shm is full"


def test_rates_are_of_the_seconds_between_two_readings(monkeypatch):
    now_s = iter([100.0, 102.0, 102.5])
    monkeypatch.setattr(rates_module.time, "monotonic", lambda: next(now_s))
    rates = Rates()
    rates.update(FrameCounts(received=30, published=20))
    assert (rates.input_hz, rates.output_hz) == (15.0, 10.0)
    rates.update(FrameCounts(received=40, published=20))
    assert (rates.input_hz, rates.output_hz) == (20.0, 0.0)
    values = diagnostics.Stream("/image", rates, [], [], 0, 1).values()
    assert (values["input_hz"], values["output_hz"]) == ("20.00", "0.00")


def test_every_warning_is_said_at_once():
    counts = FrameCounts(received=3, bad=1, not_taken=4, last_bad="spoiled")
    _, message = stream(counts, publisher_faults=["QoS"], silent_s=3.0).judge()
    for text in ("spoiled", "QoS", "4 frames were sent", "for 3 s"):
        assert text in message


def test_frames_that_all_fail_are_an_error_and_one_that_fails_is_not():
    failed = {"bad": 2, "bad_reasons": {"segmentation": 2}, "last_bad": "out of memory"}
    level, message = stream(FrameCounts(received=2, **failed)).judge()
    assert level == ERROR
    assert "out of memory" in message
    assert stream(FrameCounts(received=3, published=1, **failed)).judge()[0] == WARN


def test_a_node_that_is_not_to_take_frames_does_not_warn_of_silence():
    level, message = stream(FrameCounts(), publishers=0, silent_s=9.0, idle="inactive").judge()
    assert (level, message) == (OK, "inactive")


def test_the_sum_of_cameras_is_as_grave_as_the_gravest_and_names_it():
    good = diagnostics.frames_status("n: frames of left", stream(FrameCounts(received=1)))
    mute = diagnostics.frames_status("n: frames of right", stream(FrameCounts(), publishers=0))
    both = stream(FrameCounts(received=1), publishers=1)
    status = diagnostics.summed_status("n: frames", both, [good, mute])
    assert status.level == WARN
    assert status.message == "right: nobody publishes /image"
    assert diagnostics.summed_status("n: frames", both, [good, good]).level == OK


@pytest.mark.parametrize(
    ("stamp_ns", "expected_ms"),
    [
        (1000 * SECOND_NS - 30_000_000, 30.0),
        (1000 * SECOND_NS, 0.0),
        (0, None),
        (1001 * SECOND_NS, None),
        (900 * SECOND_NS, None),
    ],
)
def test_a_stamp_tells_a_latency_unless_it_is_zero_of_the_future_or_long_ago(stamp_ns, expected_ms):
    sec, nanosec = divmod(stamp_ns, SECOND_NS)
    stamp = SimpleNamespace(sec=sec, nanosec=nanosec)
    latency_ms = stamp_latency_ms(stamp, 1000 * SECOND_NS)
    assert latency_ms == (None if expected_ms is None else pytest.approx(expected_ms))


def test_percentiles_are_over_all_windows_together():
    one, two = LatencyWindow(), LatencyWindow()
    for number in range(1, 100):
        (one if number % 2 else two).add(number)
    assert percentile_ms([one, two], 50) == 50
    assert str(percentile_ms([], 50)) == "nan"


def test_silence_is_measured_by_the_cameras_own_period():
    silence = Silence()
    silence.start(0.0)
    assert silence.lasts_s(1.5) == 0
    assert silence.lasts_s(2.5) == 2.5
    for number in range(50):
        silence.broken(10.0 + number / 30)
    last_s = 10.0 + 49 / 30
    assert silence.lasts_s(last_s + 1.9) == 0
    assert silence.lasts_s(last_s + 2.1) == pytest.approx(2.1)
    for number in range(50):
        silence.broken(100.0 + 4 * number)
    assert silence.lasts_s(100.0 + 4 * 49 + 8) == 0
