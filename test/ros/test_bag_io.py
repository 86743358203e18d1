from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from contextnet_ros.files import UserError
from contextnet_ros.ros.bag_io import BagReader, BagWriter
from contextnet_ros.ros.bag_messages import (
    COMPRESSED_IMAGE,
    IMAGE,
    compressed_message,
    header_stamp_ns,
    image_message,
    with_stamp,
)

TOPIC = "/camera/image_raw"
STAMPS = [1_500_000_000_000_000_000, 1_500_000_000_033_333_333, 1_500_000_001_999_999_999]
LATEST = get_typestore(Stores.LATEST)


def picture(seed: int, height: int = 20, width: int = 34) -> np.ndarray:
    """Smooth, so that JPEG keeps it nearly as it is."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def write(path: Path, storage: str = "sqlite3", kind: str = "bgr8", topic: str = TOPIC) -> None:
    compressed = kind in ("jpeg", "png")
    with BagWriter(path, storage=storage) as bag:
        bag.add_topic(topic, COMPRESSED_IMAGE if compressed else IMAGE)
        for index, stamp in enumerate(STAMPS):
            make = compressed_message if compressed else image_message
            message = make(picture(index), kind, stamp, "camera")
            bag.write(topic, stamp, message, f"frame, {index}")


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
@pytest.mark.parametrize("kind", ["bgr8", "rgb8", "png", "jpeg"])
def test_what_is_written_is_read_back(tmp_path: Path, storage: str, kind: str) -> None:
    write(tmp_path / "bag", storage, kind)
    with BagReader(tmp_path / "bag") as bag:
        assert bag.camera_topic() == TOPIC
        assert bag.count(TOPIC) == len(STAMPS)
        read = list(bag.images(TOPIC))
        assert bag.frame_names() == {s: f"frame, {i}" for i, s in enumerate(STAMPS)}
    assert [stamp for stamp, _ in read] == STAMPS
    for index, (_, image) in enumerate(read):
        if kind == "jpeg":
            assert np.abs(image.astype(int) - picture(index)).mean() < 4
        else:
            np.testing.assert_array_equal(image, picture(index))


@pytest.mark.parametrize("kind", ["bgr8", "rgb8"])
def test_raw_messages_hold_the_bytes_that_another_reader_sees(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "bag", kind=kind)
    with Reader(tmp_path / "bag") as reader:
        messages: list[Any] = [
            LATEST.deserialize_cdr(data, connection.msgtype)
            for connection, _, data in reader.messages()
        ]
    for index, message in enumerate(messages):
        stamp = message.header.stamp
        assert stamp.sec * 1_000_000_000 + stamp.nanosec == STAMPS[index]
        assert (message.header.frame_id, message.encoding) == ("camera", kind)
        assert (message.height, message.width, message.step) == (20, 34, 102)
        expected = picture(index) if kind == "bgr8" else picture(index)[..., ::-1]
        assert message.data.tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_compressed_messages_name_their_format_as_image_transport_does(kind: str) -> None:
    message: Any = LATEST.deserialize_cdr(
        compressed_message(picture(0), kind, STAMPS[0], "camera"), COMPRESSED_IMAGE
    )
    assert message.format == f"bgr8; {kind} compressed bgr8"
    assert message.data.tobytes()[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0")


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_metadata_is_what_humble_and_later_read(tmp_path: Path, storage: str) -> None:
    write(tmp_path / "bag", storage)
    text = (tmp_path / "bag" / "metadata.yaml").read_text()
    about = yaml.safe_load(text)["rosbag2_bagfile_information"]
    topic = about["topics_with_message_count"][0]
    assert about["version"] <= 8
    assert about["storage_identifier"] == storage
    assert about["relative_file_paths"] == ["bag.db3" if storage == "sqlite3" else "bag.mcap"]
    assert topic["message_count"] == about["message_count"] == len(STAMPS)
    # Up to Jazzy's predecessor the profiles are a YAML text inside the YAML, with numbers.
    (qos,) = yaml.safe_load(topic["topic_metadata"]["offered_qos_profiles"])
    assert (qos["reliability"], qos["durability"], qos["history"]) == (1, 2, 1)
    assert qos["depth"] > 0


def test_message_definitions_are_stored(tmp_path: Path) -> None:
    write(tmp_path / "bag")
    with sqlite3.connect(tmp_path / "bag" / "bag.db3") as database:
        rows = database.execute(
            "SELECT topic_type, encoded_message_definition FROM message_definitions"
        ).fetchall()
    assert [row[0] for row in rows] == [IMAGE]
    assert "uint32 step" in rows[0][1]


def test_a_changed_stamp_changes_nothing_else() -> None:
    before = image_message(picture(1), "bgr8", STAMPS[0], "camera")
    after = with_stamp(before, 7_000_000_009)
    assert header_stamp_ns(after) == 7_000_000_009
    assert header_stamp_ns(before) == STAMPS[0]
    assert after == image_message(picture(1), "bgr8", 7_000_000_009, "camera")


def test_stamps_of_big_endian_messages_are_read() -> None:
    message = b"\x00\x00\x00\x00" + (5).to_bytes(4, "big") + (6).to_bytes(4, "big") + bytes(20)
    assert header_stamp_ns(message) == 5_000_000_006


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> None:
        with BagWriter(tmp_path / "bag") as bag:
            bag.add_topic(TOPIC, IMAGE)
            bag.write(TOPIC, 1, image_message(picture(0), "bgr8", 1, "camera"), "frame")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_the_bag_that_was_to_be_replaced(tmp_path: Path) -> None:
    write(tmp_path / "bag")
    with pytest.raises(RuntimeError), BagWriter(tmp_path / "bag", force=True):
        raise RuntimeError
    with BagReader(tmp_path / "bag") as bag:
        assert bag.count(TOPIC) == len(STAMPS)


def test_force_replaces_a_bag_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "bag")
    with pytest.raises(UserError, match="--force"):
        BagWriter(tmp_path / "bag")
    with BagWriter(tmp_path / "bag", force=True) as bag:
        bag.add_topic("/other", IMAGE)
        bag.write("/other", 1, image_message(picture(0), "bgr8", 1, "camera"))
    with BagReader(tmp_path / "bag") as bag:
        assert bag.camera_topic() == "/other"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.png").touch()
    with pytest.raises(UserError, match="not a bag"):
        BagWriter(tmp_path / "photos", force=True)
    assert (tmp_path / "photos" / "mine.png").exists()


def write_jpeg(path: Path, data: bytes) -> None:
    message: Any = LATEST.deserialize_cdr(
        compressed_message(picture(0), "jpeg", STAMPS[0], "camera"), COMPRESSED_IMAGE
    )
    message.data = np.frombuffer(data, np.uint8)
    with BagWriter(path) as bag:
        bag.add_topic(TOPIC, COMPRESSED_IMAGE)
        bag.write(TOPIC, 1, bytes(LATEST.serialize_cdr(message, COMPRESSED_IMAGE)))


def test_compressed_frames_have_the_size_that_the_node_sees(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", picture(0))[1].tobytes()
    # An EXIF segment whose one entry, 0x0112, asks for a turn by 90 degrees (6).
    tiff = b"MM\0*" + bytes.fromhex("00000008 0001 0112 0003 00000001 0006 0000") + bytes(4)
    exif = b"Exif\0\0" + tiff
    turned = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    write_jpeg(tmp_path / "bag", turned)
    with BagReader(tmp_path / "bag") as bag:
        assert bag.first_image(TOPIC)[1] == (20, 34)
        ((_, image),) = bag.images(TOPIC)
    assert image.shape == (20, 34, 3)


def test_a_compressed_frame_that_the_node_refuses_is_named_with_its_bag(tmp_path: Path) -> None:
    write_jpeg(tmp_path / "bag", cv2.imencode(".jpg", picture(0))[1].tobytes()[:-40])
    with BagReader(tmp_path / "bag") as bag, pytest.raises(UserError, match="cut off") as error:
        bag.first_image(TOPIC)
    assert str(error.value).startswith(f"{tmp_path / 'bag'} {TOPIC}: ")


def two_topics(path: Path, *topics: tuple[str, str]) -> Path:
    with BagWriter(path) as bag:
        for topic, kind in topics:
            bag.add_topic(topic, kind)
    return path


def test_of_several_cameras_one_must_be_chosen(tmp_path: Path) -> None:
    path = two_topics(tmp_path / "bag", ("/left", IMAGE), ("/right", IMAGE))
    with BagReader(path) as bag:
        with pytest.raises(UserError, match="--topic: /left, /right"):
            bag.camera_topic()
        assert bag.camera_topic("/right") == "/right"
        with pytest.raises(UserError, match="/up; it has: /left, /right"):
            bag.camera_topic("/up")


def test_a_camera_recorded_raw_and_compressed_is_one(tmp_path: Path) -> None:
    path = two_topics(tmp_path / "bag", ("/a/compressed", COMPRESSED_IMAGE), ("/a", IMAGE))
    with BagReader(path) as bag:
        assert bag.camera_topic() == "/a"


def test_a_camera_whose_name_goes_on_is_another_one(tmp_path: Path) -> None:
    rear = ("/camera_rear/compressed", COMPRESSED_IMAGE)
    path = two_topics(tmp_path / "bag", ("/camera", IMAGE), rear)
    with BagReader(path) as bag:
        with pytest.raises(UserError, match="--topic: /camera, /camera_rear/compressed"):
            bag.camera_topic()
        assert bag.camera_topic("/camera") == "/camera"


def test_a_bag_without_images_is_refused(tmp_path: Path) -> None:
    path = two_topics(tmp_path / "bag", ("/imu", "std_msgs/msg/Header"))
    with BagReader(path) as bag, pytest.raises(UserError, match="no image topic"):
        bag.camera_topic()


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_a_truncated_bag_is_refused_in_one_line(tmp_path: Path, storage: str) -> None:
    write(tmp_path / "bag", storage)
    file = next(f for f in (tmp_path / "bag").iterdir() if f.suffix in (".db3", ".mcap"))
    os.truncate(file, file.stat().st_size // 2)

    def read_all() -> None:
        with BagReader(tmp_path / "bag") as bag:
            list(bag.images(bag.camera_topic()))

    with pytest.raises(UserError) as error:
        read_all()
    assert str(tmp_path / "bag") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("length", [5, 60])
def test_a_message_that_is_cut_off_is_named_with_its_bag(tmp_path: Path, length: int) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic(TOPIC, IMAGE)
        bag.write(TOPIC, 1, image_message(picture(0), "bgr8", STAMPS[0], "camera")[:length])
    with BagReader(tmp_path / "bag") as bag, pytest.raises(UserError, match="damaged") as error:
        list(bag.images(TOPIC))
    assert str(error.value).startswith(f"{tmp_path / 'bag'} {TOPIC}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "table", [b"a,b\n1,2\n", b"stamp_ns,name\nx,y\n", b"stamp_ns,name\n\n1\n2,\xff\n"]
)
def test_names_that_are_damaged_are_refused(tmp_path: Path, table: bytes) -> None:
    write(tmp_path / "bag", "mcap")
    (tmp_path / "bag" / "frames.csv").write_bytes(table)
    with BagReader(tmp_path / "bag") as bag, pytest.raises(UserError, match=r"frames\.csv: no tab"):
        bag.frame_names()


def test_what_is_no_bag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such bag"):
        BagReader(tmp_path / "missing")
    with pytest.raises(UserError, match="not a rosbag2"):
        BagReader(tmp_path)
    (tmp_path / "metadata.yaml").write_text("rosbag2_bagfile_information: {version: 5}\n")
    with pytest.raises(UserError, match="cannot be read as a rosbag2"):
        BagReader(tmp_path)


def test_a_kill_while_writing_leaves_no_bag(tmp_path: Path) -> None:
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from contextnet_ros.ros.bag_io import BagWriter
with BagWriter(Path({str(tmp_path / "bag")!r})) as bag:
    bag.add_topic("/camera", "sensor_msgs/msg/Image")
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert not (tmp_path / "bag").exists()
