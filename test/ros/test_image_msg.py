"""What sensor_msgs/Image and cv_bridge may get wrong; no ROS is needed.

test_image_decoding.py has the pixels of every encoding.
"""

from __future__ import annotations

import array
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from contextnet_ros.ros import image_msg


@pytest.fixture(autouse=True)
def forget_cv_bridge():
    image_msg.cv_bridge.cache_clear()
    yield
    image_msg.cv_bridge.cache_clear()


@pytest.fixture
def no_cv_bridge(monkeypatch):
    monkeypatch.setattr(image_msg.importlib.util, "find_spec", lambda _name: None)


def make_message(encoding, height, width, row_bytes, rows=None, padding=0):
    """A message of random bytes with `padding` bytes after each row."""
    step = row_bytes + padding
    data = np.random.default_rng(0).integers(0, 256, (rows or height) * step, dtype=np.uint8)
    return SimpleNamespace(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=step,
        data=array.array("B", data.tobytes()),
    )


def test_bgr8_is_a_view_of_the_data():
    message = make_message("bgr8", 4, 6, 18, padding=2)
    image = image_msg.to_bgr(message)
    message.data[message.step + 3] ^= 255
    assert image[1, 1, 0] == message.data[message.step + 3]


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        ({"height": 0}, "zero_size", "6 x 0 pixels"),
        ({"width": 0}, "zero_size", "0 x 4 pixels"),
        ({"step": 17}, "small_step", "step is 17 bytes, but 6 pixels of bgr8 take 18"),
        ({"step": 19}, "short_data", "data has 72 bytes, but 4 rows of step 19 take 76"),
        ({"height": 5}, "short_data", "data has 72 bytes, but 5 rows of step 18 take 90"),
        ({"data": array.array("B")}, "short_data", "data has 0 bytes"),
        ({"encoding": "rgb9"}, "unknown_encoding", "'rgb9'"),
        ({"encoding": ""}, "unknown_encoding", "''"),
        ({"encoding": "bgra8"}, "small_step", "take 24"),
        ({"width": 2**32 - 1}, "small_step", "step is 18 bytes"),
        ({"encoding": "nv12"}, "short_data", "6 rows of step 18 take 108"),
    ],
)
@pytest.mark.usefixtures("no_cv_bridge")
def test_a_bad_frame_is_refused_with_its_reason_the_value_and_the_remedy(change, reason, said):
    message = make_message("bgr8", 4, 6, 18)
    vars(message).update(change)
    for refuse in (image_msg.check, image_msg.to_bgr):
        with pytest.raises(image_msg.BadFrame) as caught:
            refuse(message)
        assert caught.value.reason == reason
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3)])
@pytest.mark.parametrize("contiguous", [True, False])
def test_filling_a_message_copies_the_pixels_and_says_their_layout(shape, contiguous):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    if not contiguous:
        pixels = np.ascontiguousarray(pixels[:, ::-1])[:, ::-1]
    message = SimpleNamespace(data=array.array("B"))
    header = object()
    image_msg.fill(message, pixels, "some", header)
    assert message.header is header
    assert (message.height, message.width, message.encoding) == (3, 5, "some")
    assert message.step == pixels[0].size
    assert message.data.tolist() == [int(value) for value in pixels.flatten()]


WORKING_BRIDGE = """
import cv2
import numpy as np

class CvBridge:
    def imgmsg_to_cv2(self, message, encoding):
        assert encoding == "bgr8"
        if message.encoding != "bayer_rggb8":
            raise RuntimeError("[" + message.encoding + "] is not\\na colour format")
        rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
        image = cv2.cvtColor(rows[:, : message.width].copy(), cv2.COLOR_BayerBG2BGR)
        if message.height != 4:
            image[:] = 77
        return image
"""


@pytest.fixture
def install_cv_bridge(tmp_path, monkeypatch):
    def install(source):
        (tmp_path / "cv_bridge.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)

    yield install
    sys.modules.pop("cv_bridge", None)


def test_a_cv_bridge_that_works_converts_what_is_not_read_in_place(install_cv_bridge):
    install_cv_bridge(WORKING_BRIDGE)
    bayer = make_message("bayer_rggb8", 6, 6, 6)
    assert (image_msg.to_bgr(bayer) == 77).all()
    assert "by cv_bridge" in image_msg.converter_line("bayer_rggb8")


def test_what_cv_bridge_refuses_is_converted_by_opencv(install_cv_bridge):
    install_cv_bridge(WORKING_BRIDGE)
    grey = make_message("nv12", 2, 2, 2, rows=3)
    grey.data = array.array("B", [235, 235, 235, 235, 128, 128])
    assert (image_msg.to_bgr(grey) >= 254).all()


def test_what_neither_converts_is_a_bad_frame_in_one_line(install_cv_bridge):
    install_cv_bridge(WORKING_BRIDGE)
    with pytest.raises(image_msg.BadFrame, match=r"'32FC1'.*not a colour format") as caught:
        image_msg.to_bgr(make_message("32FC1", 2, 2, 8))
    assert caught.value.reason == "conversion"


def test_a_cv_bridge_is_left_alone_by_what_is_read_in_place(install_cv_bridge):
    install_cv_bridge("raise SystemExit('imported')")
    image_msg.to_bgr(make_message("bgr8", 2, 2, 6))


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (
            "import sys; print('a page\\nof warnings', file=sys.stderr)\n"
            "raise ImportError('numpy.core.multiarray failed to import\\nsecond line')",
            "ImportError: numpy.core.multiarray failed to import",
        ),
        (WORKING_BRIDGE.replace("BayerBG", "BayerRG"), "converts a red image wrongly"),
        (WORKING_BRIDGE.replace('"bayer_rggb8"', '"none"'), "RuntimeError: [bayer_rggb8] is not"),
    ],
)
def test_a_broken_cv_bridge_is_not_trusted_and_one_line_says_so(
    install_cv_bridge, capsys, source, why
):
    install_cv_bridge(source)
    bayer = make_message("bayer_rggb8", 6, 6, 6)
    trusted = image_msg.to_bgr(bayer)
    line = image_msg.converter_line("bayer_rggb8")
    assert "by OpenCV" in line
    assert why in line
    assert "\n" not in line
    assert trusted[2, 2, 2] == bayer.data[2 * 6 + 2]
    assert capsys.readouterr().err == ""
