"""Class tables."""

from __future__ import annotations

import numpy as np
import pytest

from contextnet_ros.labels import CAMVID, CITYSCAPES, CITYSCAPES_TO_CAMVID, ClassTable


def test_tables_have_the_classes_of_their_data_sets() -> None:
    assert CITYSCAPES.num_classes == 19
    assert CITYSCAPES.names[0] == "road"
    assert CITYSCAPES.names[18] == "bicycle"
    assert CAMVID.num_classes == 11
    assert CAMVID.names[0] == "sky"
    assert CAMVID.names[10] == "bicyclist"


def test_no_two_classes_share_a_colour() -> None:
    for table in (CITYSCAPES, CAMVID):
        assert len(set(table.palette)) == table.num_classes


def test_colours_are_bgr_and_unlabelled_is_black() -> None:
    label = np.array([[3, 255]], np.uint8)
    assert CAMVID.colorize(label).tolist() == [[[128, 64, 128], [0, 0, 0]]]
    assert CITYSCAPES.colorize(np.array([[1]], np.uint8)).tolist() == [[[232, 35, 244]]]


def test_cityscapes_ids_map_to_camvid_ids_by_name() -> None:
    def mapped(name: str) -> int:
        return int(CITYSCAPES_TO_CAMVID[CITYSCAPES.names.index(name)])

    assert CAMVID.names[mapped("sidewalk")] == "pavement"
    assert CAMVID.names[mapped("bus")] == "car"
    assert mapped("rider") == mapped("bicycle") == CAMVID.names.index("bicyclist")
    assert mapped("terrain") == 255
    assert CITYSCAPES_TO_CAMVID[255] == 255
    assert (CITYSCAPES_TO_CAMVID[19:] == 255).all()


def test_a_table_survives_its_dict() -> None:
    assert ClassTable.from_dict(CAMVID.to_dict()) == CAMVID


@pytest.mark.parametrize(
    ("names", "palette"),
    [((), ()), (("a", "a"), ((0, 0, 0), (1, 1, 1))), (("a",), ()), (("a",), ((0, 0, 256),))],
)
def test_a_broken_table_is_refused(names: tuple[str, ...], palette: tuple) -> None:
    with pytest.raises(ValueError, match="class table 'x'"):
        ClassTable("x", names, palette)
