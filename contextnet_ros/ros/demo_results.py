"""From a replay's bags to the rows of the demo's picture, and labels to their score."""

from __future__ import annotations

from typing import Any

from contextnet_ros.files import UserError
from contextnet_ros.labels import CAMVID, ClassTable
from contextnet_ros.ros.bag_io import BagReader
from contextnet_ros.ros.bag_make import CAMERA_TOPIC
from contextnet_ros.ros.bag_player import LABEL_TOPIC
from contextnet_ros.ros.demo_picture import PictureRow, draw_picture
from contextnet_ros.ros.demo_report import Demo
from contextnet_ros.ros.label_score import Truth, camvid_lookup, score_labels
from contextnet_ros.ros.replay import OVERLAY_TOPIC, Replayed
from contextnet_ros.tools.media import write_image

_PICTURE_ROWS = 4


def score_demo(demo: Demo, truth: Truth | None) -> dict[str, Any] | None:
    """Score of the published labels; None without truth, or in classes that have no CamVid name."""
    if truth is None or camvid_lookup(demo.header.table) is None:
        return None
    with BagReader(demo.input_bag) as bag:
        names = bag.frame_names()
    with BagReader(demo.output_bag) as bag:
        return score_labels(bag.labels(LABEL_TOPIC), names, truth, demo.header.table)


def draw_demo(demo: Demo, replayed: Replayed, truth: Truth | None, footer: str) -> None:
    """Write the demo's picture; raises UserError when no overlay arrived."""
    rows = _picture_rows(demo, replayed, truth)
    if not rows:
        raise UserError("no overlay arrived, so there is nothing to show; see the node's log")
    rows, table = _shared_classes(rows, demo.header.table, truth)
    picture = draw_picture(rows, table, "ContextNet: a camera stream segmented over ROS 2", footer)
    write_image(demo.picture, picture)


def _pick(stamps: list[int], count: int) -> list[int]:
    """`count` of the stamps from the middles of as many equal parts, so that drives differ."""
    count = min(count, len(stamps))
    return [stamps[(2 * i + 1) * len(stamps) // (2 * count)] for i in range(count)]


def _picture_rows(demo: Demo, replayed: Replayed, truth: Truth | None) -> list[PictureRow]:
    chosen = _pick(sorted(replayed.overlays & replayed.labels.keys()), _PICTURE_ROWS)
    with BagReader(demo.input_bag) as bag:
        names = bag.frame_names()
        images = {stamp: i for stamp, i in bag.images(CAMERA_TOPIC) if stamp in chosen}
    with BagReader(demo.output_bag) as bag:
        overlays = {stamp: i for stamp, i in bag.images(OVERLAY_TOPIC) if stamp in chosen}
        labels = {stamp: i for stamp, i in bag.labels(LABEL_TOPIC) if stamp in chosen}
    rows = []
    for stamp in chosen:
        delay_ms = (replayed.labels[stamp] - replayed.sent[stamp]) / 1e6
        caption = f"{names[stamp]}, label {delay_ms:.0f} ms after the frame was sent"
        true = None if truth is None else truth.label(names[stamp])
        rows.append(PictureRow(caption, images[stamp], overlays[stamp], labels[stamp], true))
    return rows


def _shared_classes(
    rows: list[PictureRow], label_table: ClassTable, truth: Truth | None
) -> tuple[list[PictureRow], ClassTable]:
    """The rows with labels and truth in one table: the weights' own where that is possible."""
    if truth is None or truth.table.names == label_table.names:
        return rows, label_table
    of_label, of_truth = camvid_lookup(label_table), camvid_lookup(truth.table)
    if of_label is None or of_truth is None:
        return [PictureRow(r.caption, r.image, r.overlay, r.label, None) for r in rows], label_table
    shared = []
    for r in rows:
        true = None if r.truth is None else of_truth[r.truth]
        shared.append(PictureRow(r.caption, r.image, r.overlay, of_label[r.label], true))
    return shared, CAMVID
