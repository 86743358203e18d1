"""The node in a process of its own, over DDS: what goes in, what comes out."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: the node's tests need ROS 2")

from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros_harness import next_domain, street, to_array

from contextnet_ros.inference import Segmenter

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def node_and_peer(start_node, open_peer):
    domain = next_domain()
    node = start_node(domain)
    peer = open_peer(domain)
    node.wait_ready()
    return node, peer.wait_for_node()


@pytest.fixture
def node(node_and_peer):
    return node_and_peer[0]


@pytest.fixture
def peer(node_and_peer):
    return node_and_peer[1]


@pytest.fixture(scope="module")
def segmenter(weights):
    return Segmenter.load(weights, device="cpu", num_threads=1)


def set_parameter(peer, name, value):
    """Result of the node's own parameter service."""
    client = peer.node.create_client(SetParameters, "/segmenter/set_parameters")
    peer.spin_until(client.service_is_ready)
    message = Parameter(name, value=value).to_parameter_msg()
    future = client.call_async(SetParameters.Request(parameters=[message]))
    peer.spin_until(future.done)
    return future.result().results[0]


@pytest.mark.parametrize("size", [(96, 160), (77, 131), (120, 200)])
def test_the_label_equals_the_segmenters_byte_for_byte(peer, segmenter, size):
    image = street(*size)
    label = peer.ask(peer.message(image))
    expected = segmenter(image).label
    assert len(np.unique(expected)) > 2
    assert (label.encoding, label.step, label.is_bigendian) == ("mono8", size[1], 0)
    np.testing.assert_array_equal(to_array(label), expected)


def test_the_overlay_equals_the_segmenters_and_comes_only_while_watched(peer, segmenter):
    image = street(96, 160, seed=1)
    peer.ask(peer.message(image))
    peer.watch_overlay(True)
    peer.ask(peer.message(image, frame_id="watched"), lambda: peer.overlays)
    overlay = peer.overlays[0]
    expected = segmenter(image, ("label", "overlay")).overlay
    assert overlay.encoding == "bgr8"
    assert overlay.header == peer.labels[0].header
    np.testing.assert_array_equal(to_array(overlay, 3), expected)
    peer.watch_overlay(False)


def test_the_header_comes_back_untouched(peer):
    message = peer.message(street(96, 160), frame_id="camera_front_optical_frame")
    label = peer.ask(message)
    assert label.header == message.header


@pytest.mark.parametrize(
    ("encoding", "make"),
    [
        ("rgb8", lambda bgr: bgr[..., ::-1]),
        ("bgra8", lambda bgr: np.dstack([bgr, np.full(bgr.shape[:2], 7, np.uint8)])),
        ("rgba8", lambda bgr: np.dstack([bgr[..., ::-1], np.full(bgr.shape[:2], 7, np.uint8)])),
    ],
)
def test_every_colour_order_gives_the_label_of_the_same_picture(peer, segmenter, encoding, make):
    image = street(96, 160, seed=2)
    label = peer.ask(peer.message(make(image), encoding))
    np.testing.assert_array_equal(to_array(label), segmenter(image).label)


def test_a_grey_image_is_segmented_as_three_equal_channels(peer, segmenter):
    grey = street(96, 160, seed=3)[..., 0]
    label = peer.ask(peer.message(grey, "mono8"))
    np.testing.assert_array_equal(to_array(label), segmenter(np.dstack([grey] * 3)).label)


def test_a_padded_step_is_respected(peer, segmenter):
    image = street(97, 161, seed=4)
    padded = np.full((97, 161 * 3 + 29), 255, np.uint8)
    padded[:, : 161 * 3] = image.reshape(97, -1)
    message = peer.message(padded)
    message.width = 161
    label = peer.ask(message)
    np.testing.assert_array_equal(to_array(label), segmenter(image).label)


@pytest.mark.parametrize("encoding", ["bayer_rggb8", "yuv422", "yuv422_yuy2", "nv12", "mono16"])
def test_other_encodings_are_answered_too(peer, node, encoding):
    rows, bytes_per_pixel = (144, 1) if encoding == "nv12" else (96, 1 + (encoding[0] in "ym"))
    pixels = np.full((rows, 160 * bytes_per_pixel), 128, np.uint8)
    message = peer.message(pixels, encoding)
    message.height, message.width = 96, 160
    label = peer.ask(message)
    assert (label.height, label.width) == (96, 160)
    node.wait_for_line(f"{encoding} images are converted by")


def shorten_data(message):
    message.data = message.data[:-1]


def empty_data(message):
    message.data = message.data[:0]


def zero_height(message):
    message.height = 0


def zero_width(message):
    message.width = 0


def small_step(message):
    message.step = 3 * message.width - 1


def unknown_encoding(message):
    message.encoding = "32FC7"


BAD_FRAMES = [
    (shorten_data, "bad_short_data"),
    (empty_data, "bad_short_data"),
    (zero_height, "bad_zero_size"),
    (zero_width, "bad_zero_size"),
    (small_step, "bad_small_step"),
    (unknown_encoding, "bad_unknown_encoding"),
]


def test_bad_frames_are_counted_and_reported_and_every_good_one_between_them_is_served(peer, node):
    before = peer.wait_for_counts(lambda counts: counts["pending"] == 0)
    first_line = len(node.lines)
    for spoil, _ in BAD_FRAMES:
        bad = peer.message(street(96, 160), frame_id="bad")
        spoil(bad)
        peer.send(bad)
        peer.ask(peer.message(street(96, 160), frame_id=spoil.__name__))
    after = peer.wait_for_counts(lambda counts: counts["bad"] == before["bad"] + len(BAD_FRAMES))
    assert "bad" not in {label.header.frame_id for label in peer.labels}
    for reason in {reason for _, reason in BAD_FRAMES}:
        sent = sum(1 for _, name in BAD_FRAMES if name == reason)
        assert after[reason] == before.get(reason, 0) + sent

    def reported():
        reports = [line for line in node.lines[first_line:] if "bad frames; the last:" in line]
        return sum(int(line.split("]: ")[1].split()[0]) for line in reports)

    # The log comes through a pipe, the counts over DDS: either may be first.
    peer.spin_until(lambda: reported() >= len(BAD_FRAMES))
    assert reported() == len(BAD_FRAMES)


def test_the_opacity_changes_while_it_runs_and_is_refused_out_of_range(peer, segmenter):
    image = street(96, 160, seed=5)
    assert set_parameter(peer, "overlay_opacity", 0.0).successful
    peer.watch_overlay(True)
    peer.ask(peer.message(image), lambda: peer.overlays)
    np.testing.assert_array_equal(to_array(peer.overlays[0], 3), image)

    refused = set_parameter(peer, "overlay_opacity", 1.5)
    assert not refused.successful
    assert "overlay_opacity" in refused.reason
    assert "1.5" in refused.reason

    assert set_parameter(peer, "overlay_opacity", 1.0).successful
    peer.ask(peer.message(image), lambda: peer.overlays)
    palette = segmenter.header.table.palette_bgr()
    np.testing.assert_array_equal(to_array(peer.overlays[0], 3), palette[to_array(peer.labels[0])])
    peer.watch_overlay(False)


@pytest.mark.parametrize(
    ("name", "value"), [("model", "other"), ("device", "cuda"), ("warm_up_width", 64)]
)
def test_what_is_set_at_the_start_is_refused_later_with_a_reason(peer, name, value):
    refused = set_parameter(peer, name, value)
    assert not refused.successful
    assert "read-only" in refused.reason


def test_a_wrong_type_is_refused_with_a_reason(peer):
    refused = set_parameter(peer, "log_period_s", "often")
    assert not refused.successful
    assert "type" in refused.reason


def test_the_diagnostics_say_what_runs(peer, weights):
    peer.ask(peer.message(street(96, 160)))
    peer.wait_for_counts(lambda counts: counts["published"] > 0)
    model = peer.diagnostics[-1]["segmenter: model"]
    assert model["model"] == str(weights)
    assert model["device"] == "cpu"
    assert model["classes"] == "11"
    assert model["data_licence"] == "not stated"
    frames = peer.diagnostics[-1]["segmenter: frames"]
    assert frames["topic"] == "/image"
    assert float(frames["latency_ms_p50"]) <= float(frames["latency_ms_p99"])


def test_the_start_lines_say_what_was_loaded_where_and_what_it_listens_to(node, weights):
    said = [line.split("[segmenter]: ")[1] for line in node.lines if "[segmenter]: " in line]
    assert said[0].startswith(f"loaded {weights}: cn14, 11 classes (camvid)")
    assert "not stated" in said[0]
    assert said[1].startswith(f"runs on cpu in {Segmenter.load(weights, 'cpu').precision}")
    assert "warmed up with 160 x 96 pixels" in said[1]
    # Behind what is missing for a faster backend, where something is.
    assert any(line.startswith("listens to /image") for line in said[2:4])
