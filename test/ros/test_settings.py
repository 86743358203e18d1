"""Settings that may change while it runs are judged together; no ROS is needed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from contextnet_ros.files import UserError
from contextnet_ros.inference import SegmentedFrame
from contextnet_ros.labels import CAMVID
from contextnet_ros.network import WeightHeader
from contextnet_ros.ros.live_segmenter import LiveSegmenter
from contextnet_ros.ros.settings import Settings, camera_names, check_transport

PLAIN = Settings(
    overlay_opacity=0.5,
    overlay_classes=("all",),
    jpeg_quality=80,
    min_confidence=0.0,
    max_rate_hz=0.0,
    log_period_s=10.0,
)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ((), "is empty"),
        (("car", "car"), "twice"),
        (("all", "car"), "alone"),
        (("car", "unicorn"), "'unicorn' is not among the classes of camvid: sky, building"),
    ],
)
def test_wrong_classes_are_named_with_the_remedy(classes, said):
    fault = replace(PLAIN, overlay_classes=classes).fault(CAMVID)
    assert said in fault
    assert "\n" not in fault


def test_right_settings_have_no_fault_and_any_class_is_right_before_a_table_is_known():
    assert PLAIN.fault(CAMVID) == ""
    assert replace(PLAIN, overlay_classes=("road", "sign symbol")).fault(CAMVID) == ""
    assert replace(PLAIN, overlay_classes=("unicorn",)).fault(None) == ""


def test_cameras_are_named_or_there_is_one_without_a_name():
    assert camera_names([""]) == camera_names([]) == ("",)
    assert camera_names(["front", "rear/left_2"]) == ("front", "rear/left_2")


@pytest.mark.parametrize("names", [["front", ""], ["1st"], ["a b"], ["a/"], ["/a"], ["a", "a"]])
def test_names_that_make_no_topics_are_refused(names):
    with pytest.raises(UserError, match="cameras"):
        camera_names(names)


def test_an_unknown_transport_is_refused_with_those_known():
    with pytest.raises(UserError, match=r"'theora'.*raw or compressed"):
        check_transport("theora")


class Fixed:
    """Gives the same label and confidence for every frame."""

    header = WeightHeader(table=CAMVID)
    overlay_opacity = 0.5

    def __init__(self, label, confidence):
        self.frame = SegmentedFrame(label, None, confidence)
        self.asked = []

    def __call__(self, image, outputs):
        self.asked.append(outputs)
        overlay = np.full_like(image, 77) if "overlay" in outputs else None
        confidence = self.frame.confidence if "confidence" in outputs else None
        return SegmentedFrame(self.frame.label.copy(), overlay, confidence)


@pytest.fixture
def fixed():
    chance = np.random.default_rng(0)
    label = chance.integers(0, 11, (31, 47), dtype=np.uint8)
    return Fixed(label, chance.integers(0, 256, label.shape, dtype=np.uint8))


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 256, (31, 47, 3), dtype=np.uint8)


def test_with_plain_settings_only_what_is_wanted_is_asked_for(fixed, image):
    live = LiveSegmenter(fixed)
    assert live(image, set(), PLAIN).confidence is None
    assert live(image, {"overlay"}, PLAIN).overlay.max() == 77
    live(image, {"overlay", "confidence"}, PLAIN)
    assert fixed.asked == [("label",), ("label", "overlay"), ("label", "confidence", "overlay")]


@pytest.mark.parametrize("least", [0.001, 0.5, 128 / 255, 0.7, 1.0])
def test_pixels_below_the_least_confidence_are_unlabelled_and_no_others(fixed, image, least):
    frame = LiveSegmenter(fixed)(image, set(), replace(PLAIN, min_confidence=least))
    expected = fixed.frame.label.copy()
    for index, confidence in np.ndenumerate(fixed.frame.confidence):
        if int(confidence) < 255 * least:
            expected[index] = 255
    assert (expected == 255).any()
    np.testing.assert_array_equal(frame.label, expected)
    assert frame.confidence is None


def test_classes_not_shown_and_unlabelled_pixels_show_the_camera(fixed, image):
    settings = replace(
        PLAIN, overlay_opacity=1.0, overlay_classes=("car", "sky"), min_confidence=0.5
    )
    overlay = LiveSegmenter(fixed)(image, {"overlay"}, settings).overlay
    for index, number in np.ndenumerate(fixed.frame.label):
        certain = fixed.frame.confidence[index] >= math.ceil(127.5)
        shown = certain and CAMVID.names[number] in ("car", "sky")
        expected = CAMVID.palette[number][::-1] if shown else image[index]
        np.testing.assert_array_equal(overlay[index], expected)


def test_each_frame_follows_its_own_settings(fixed, image):
    live = LiveSegmenter(fixed)
    strict = replace(PLAIN, min_confidence=1.0)
    assert (live(image, set(), strict).label == 255).mean() > 0.9
    np.testing.assert_array_equal(live(image, set(), PLAIN).label, fixed.frame.label)
    live(image, {"overlay"}, replace(PLAIN, overlay_opacity=0.25))
    assert fixed.overlay_opacity == 0.25
