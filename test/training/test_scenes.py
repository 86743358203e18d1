"""Generated street scenes: repeatable, complete, and labelled where the image says so."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

from contextnet_ros.labels import CAMVID, CITYSCAPES, CITYSCAPES_TO_CAMVID, IGNORE_ID
from contextnet_ros.training.scenes import SceneFrame, render_frame, render_sequence

ROAD, SKY = CITYSCAPES.names.index("road"), CITYSCAPES.names.index("sky")
BUILDING, PERSON = CITYSCAPES.names.index("building"), CITYSCAPES.names.index("person")
VEHICLES = [CITYSCAPES.names.index(name) for name in ("car", "truck", "bus")]


@pytest.fixture(scope="module")
def streets() -> list[SceneFrame]:
    """Frames (120, 160) of 24 streets, each at another place of its drive."""
    return [render_frame(seed, seed, 120, 160) for seed in range(24)]


def test_same_arguments_give_the_same_bytes_in_another_process() -> None:
    here = [render_frame(seed, 4, 72, 104) for seed in (3, 41)]
    # The other process draws in another order and at another size first: no state may matter.
    script = (
        "import hashlib\n"
        "from contextnet_ros.training.scenes import render_frame\n"
        "render_frame(41, 9, 90, 60)\n"
        "frames = [render_frame(41, 4, 72, 104), render_frame(3, 4, 72, 104)][::-1]\n"
        "data = b''.join(f.image_bgr.tobytes() + f.label.tobytes() for f in frames)\n"
        "print(hashlib.sha256(data).hexdigest())\n"
    )
    data = b"".join(frame.image_bgr.tobytes() + frame.label.tobytes() for frame in here)
    there = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert there.stdout.strip() == hashlib.sha256(data).hexdigest()


def test_a_house_narrower_than_its_chimneys_margin_is_drawn() -> None:
    assert render_frame(353, 3, 72, 104).label.shape == (72, 104)


def test_different_seeds_give_different_streets(streets: list[SceneFrame]) -> None:
    labels = [frame.label for frame in streets]
    for first in range(len(labels)):
        for second in range(first):
            assert (labels[first] != labels[second]).mean() > 0.05


def test_a_sequence_gives_the_frames_that_render_frame_gives() -> None:
    frames = list(render_sequence(7, 3, 48, 64, start=5, fps=12.5))
    assert [frame.index for frame in frames] == [5, 6, 7]
    assert [frame.name for frame in frames] == [
        "scene_0007_0005",
        "scene_0007_0006",
        "scene_0007_0007",
    ]
    for frame in frames:
        alone = render_frame(7, frame.index, 48, 64, fps=12.5)
        np.testing.assert_array_equal(frame.image_bgr, alone.image_bgr)
        np.testing.assert_array_equal(frame.label, alone.label)


@pytest.mark.parametrize(
    ("height", "width"), [(16, 16), (17, 33), (37, 101), (200, 40), (64, 400), (96, 128)]
)
def test_any_size_is_drawn_in_full(height: int, width: int) -> None:
    frame = render_frame(5, 11, height, width)
    assert frame.image_bgr.shape == (height, width, 3)
    assert frame.label.shape == (height, width)
    assert frame.image_bgr.dtype == frame.label.dtype == np.uint8
    known = set(range(CITYSCAPES.num_classes)) | {IGNORE_ID}
    assert set(np.unique(frame.label).tolist()) <= known
    assert len(np.unique(frame.label)) > 2


def test_another_size_shows_the_same_scene() -> None:
    agreements = []
    for seed in range(4):
        small = render_frame(seed, 2, 90, 120).label
        large = render_frame(seed, 2, 270, 360).label
        # The middle pixel of every block of three is where the small frame looked.
        agreements.append(np.mean(large[1::3, 1::3] == small))
    assert min(agreements) > 0.9


def test_every_camvid_class_appears_and_little_is_left_unlabelled(
    streets: list[SceneFrame],
) -> None:
    counts = np.zeros(256, np.int64)
    for frame in streets:
        label = CITYSCAPES_TO_CAMVID[frame.label]
        counts += np.bincount(label.ravel(), minlength=256)
    shares = counts / counts.sum()
    missing = [name for name, share in zip(CAMVID.names, shares, strict=False) if share < 5e-4]
    assert missing == []
    assert shares[IGNORE_ID] < 0.06


def test_the_road_is_below_and_the_sky_above(streets: list[SceneFrame]) -> None:
    road_below = []
    for frame in streets:
        below = frame.label[100:108, 68:92]
        road_below.append(np.isin(below, [ROAD, IGNORE_ID, *VEHICLES]).mean() > 0.9)
        # The horizon lies at 40 to 53 % of the height: road is below it, sky above.
        assert not (frame.label[: int(0.36 * 120)] == ROAD).any()
        assert not (frame.label[int(0.58 * 120) :] == SKY).any()
    assert np.mean(road_below) > 0.9


def test_neighbouring_frames_overlap_and_distant_ones_do_not() -> None:
    for seed in (1, 4, 9):
        first, following, later = (render_frame(seed, index, 96, 128).label for index in (0, 1, 60))
        assert not np.array_equal(first, following)
        near, far = np.mean(first == following), np.mean(first == later)
        assert near > 0.85
        assert near > far


def test_what_stands_still_moves_outward_as_the_camera_drives_on() -> None:
    outward = []
    for seed in range(6):
        images = [
            cv2.cvtColor(frame.image_bgr, cv2.COLOR_BGR2GRAY)
            for frame in render_sequence(seed, 2, 240, 320)
        ]
        label = render_frame(seed, 0, 240, 320).label
        flow = cv2.calcOpticalFlowFarneback(*images, None, 0.5, 4, 25, 3, 7, 1.5, 0)
        for columns, direction in ((slice(0, 90), -1.0), (slice(230, 320), 1.0)):
            houses = (label[:, columns] == BUILDING) & (images[0][:, columns] > 0)
            if houses.sum() > 1500:
                outward.append(direction * np.median(flow[:, columns][houses][:, 0]) > 0)
    assert len(outward) >= 4
    assert np.mean(outward) > 0.8


def test_label_borders_lie_on_image_edges() -> None:
    """Borders found in the label alone must be where the image, drawn with grain, changes."""
    on_border, away, moved = [], [], []
    for seed in range(5):
        frame = render_frame(seed, 1, 240, 320)
        grey = cv2.cvtColor(frame.image_bgr, cv2.COLOR_BGR2GRAY).astype(np.float32)
        grey = cv2.GaussianBlur(grey, (3, 3), 0)
        slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
        kernel = np.ones((3, 3), np.uint8)
        border = cv2.dilate(frame.label, kernel) != cv2.erode(frame.label, kernel)
        on_border.append(slope[border].mean())
        away.append(slope[~cv2.dilate(border.astype(np.uint8), kernel).astype(bool)].mean())
        # A label that is one or two pixels off would miss the edges.
        moved.append([slope[np.roll(border, shift, axis=1)].mean() for shift in (-2, -1, 1, 2)])
    assert np.mean(on_border) > 2.0 * np.mean(away)
    assert np.mean(on_border) > 1.04 * np.mean(moved, axis=0).max()


def test_sky_is_brighter_than_the_road_it_lights(streets: list[SceneFrame]) -> None:
    brighter = []
    for frame in streets:
        grey = cv2.cvtColor(frame.image_bgr, cv2.COLOR_BGR2GRAY)
        sky, road = grey[frame.label == SKY], grey[frame.label == ROAD]
        if sky.size > 50:
            brighter.append(np.median(sky) > np.median(road))
    assert len(brighter) > 8
    assert np.mean(brighter) > 0.9


def test_road_and_houses_are_not_flat_colours(streets: list[SceneFrame]) -> None:
    for frame in streets[:8]:
        grey = cv2.cvtColor(frame.image_bgr, cv2.COLOR_BGR2GRAY).astype(np.float32)
        for class_id in (ROAD, BUILDING):
            values = grey[frame.label == class_id]
            if values.size > 300:
                assert values.std() > 3.0


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [((1, 0, 8, 64), "8 x 64"), ((-1, 0, 64, 64), "-1"), ((1, -2, 64, 64), "-2")],
)
def test_impossible_arguments_are_named(arguments: tuple[int, ...], seen: str) -> None:
    with pytest.raises(ValueError, match=seen):
        render_frame(*arguments)
