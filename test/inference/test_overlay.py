from __future__ import annotations

import numpy as np
import pytest

from contextnet_ros.files import UserError
from contextnet_ros.inference.overlay import OverlayBlender
from contextnet_ros.inference.team import Team
from contextnet_ros.labels import CAMVID, IGNORE_ID


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


@pytest.fixture
def label():
    return np.random.default_rng(1).integers(0, 11, (40, 60)).astype(np.uint8)


@pytest.mark.parametrize("opacity", [0, 0.25, 0.5, 0.8, 1])
def test_overlay_is_the_blend_of_frame_and_class_colour(image, label, opacity):
    overlay = OverlayBlender(CAMVID, opacity)(image, label)
    colours = np.array(CAMVID.palette)[label][..., ::-1]
    exact = (1 - opacity) * image + opacity * colours
    assert overlay.dtype == np.uint8
    # Frame and colour are rounded on their own, by half a level each.
    assert np.abs(overlay - exact).max() <= 1


def test_opacity_zero_is_the_frame_and_one_the_colours(image, label):
    np.testing.assert_array_equal(OverlayBlender(CAMVID, 0)(image, label), image)
    np.testing.assert_array_equal(OverlayBlender(CAMVID, 1)(image, label), CAMVID.colorize(label))


def test_white_on_white_does_not_overflow():
    table = type(CAMVID)("white", ("all",), ((255, 255, 255),))
    white = np.full((4, 4, 3), 255, np.uint8)
    assert (OverlayBlender(table, 0.5)(white, np.zeros((4, 4), np.uint8)) == 255).all()


def test_pixels_without_a_class_keep_the_frame(image, label):
    label[5:10] = IGNORE_ID
    label[20] = 11
    overlay = OverlayBlender(CAMVID, 0.7)(image, label)
    np.testing.assert_array_equal(overlay[5:10], image[5:10])
    np.testing.assert_array_equal(overlay[20], image[20])
    assert (overlay[0] != image[0]).any()


@pytest.mark.parametrize("opacity", [-0.1, 1.01, float("nan")])
def test_an_opacity_out_of_range_is_refused(opacity):
    with pytest.raises(UserError, match="0 to 1"):
        OverlayBlender(CAMVID, opacity)


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_threads_change_nothing(image, label, rows):
    label[:, 3] = IGNORE_ID
    frame, classes = image[:rows], label[:rows]
    alone, shared = (OverlayBlender(CAMVID, 0.7, Team(n))(frame, classes) for n in (1, 3))
    np.testing.assert_array_equal(alone, shared)
