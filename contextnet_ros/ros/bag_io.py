"""Read and write rosbag2 folders of images, sqlite3 or MCAP, with no ROS installed.

Beside its storage file a bag written here holds `frames.csv` (columns stamp_ns,name): which frame
of the source stands behind which header stamp, so that truth can be matched to what a node
published.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rosbags.highlevel import AnyReader
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer

from contextnet_ros.files import UserError, one_line
from contextnet_ros.labels import Pixels
from contextnet_ros.ros.bag_messages import (
    COMPRESSED_IMAGE,
    IMAGE,
    TYPES,
    decoded,
    header_stamp_ns,
)

STORAGES = {"sqlite3": StoragePlugin.SQLITE3, "mcap": StoragePlugin.MCAP}
FRAMES_FILE = "frames.csv"

# Humble is the oldest distribution served; its rosbag2 wants the QoS profiles as a string, which is
# how metadata version 8 has them. Later distributions read that too.
_METADATA_VERSION: Literal[8] = 8
_FOREVER = QosTime(9223372036, 854775807)
_OFFERED_QOS = Qos(
    QosHistory.KEEP_LAST,
    10,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    _FOREVER,
    _FOREVER,
    QosLiveliness.AUTOMATIC,
    _FOREVER,
    False,
)


def is_bag(path: Path) -> bool:
    """Whether `path` is a rosbag2 folder or one of its storage files."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file()
    return path.suffix in (".db3", ".mcap")


class BagReader:
    """A rosbag2 folder, or one storage file of it, opened for reading images.

    Raises UserError when it is missing, damaged or has no such topic.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise UserError(f"{path}: no such bag; give a rosbag2 folder")
        if not is_bag(path):
            raise UserError(f"{path}: not a rosbag2, it has no metadata.yaml")
        try:
            self._reader = AnyReader([path], default_typestore=TYPES)
            self._reader.open()
        except Exception as error:  # rosbags lets errors of its storages through as they are
            raise UserError(f"{path}: cannot be read as a rosbag2: {one_line(error)}") from error

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def image_topics(self) -> dict[str, str]:
        """Topics that carry images, each with its message type."""
        return {
            connection.topic: connection.msgtype
            for connection in self._reader.connections
            if connection.msgtype in (IMAGE, COMPRESSED_IMAGE)
        }

    def camera_topic(self, topic: str | None = None) -> str:
        """The one camera topic, or `topic` checked; raises UserError when it is not clear."""
        topics = self.image_topics()
        listed = ", ".join(sorted(topics)) or "none"
        if topic is not None:
            if topic not in topics:
                raise UserError(f"{self.path}: no image topic {topic}; it has: {listed}")
            return topic
        if len(topics) == 1:
            return next(iter(topics))
        # Recorders often keep a camera both raw and compressed: that is one camera.
        raw = [name for name, kind in topics.items() if kind == IMAGE]
        if len(raw) == 1 and all(f"{name}/".startswith(f"{raw[0]}/") for name in topics):
            return raw[0]
        if not topics:
            raise UserError(f"{self.path}: no image topic in it; record a camera's topic")
        raise UserError(f"{self.path}: several image topics; choose one with --topic: {listed}")

    def count(self, topic: str) -> int:
        """How many messages `topic` has."""
        return sum(connection.msgcount for connection in self._connections(topic))

    def raw_messages(self, topic: str) -> Iterator[tuple[int, bytes]]:
        """(time of recording in ns, CDR bytes) of each message of `topic`, in time's order."""
        messages = self._reader.messages(self._connections(topic))
        while True:
            try:
                _, time_ns, data = next(messages)
                # Before anybody looks for a stamp in it.
                header_stamp_ns(data)
            except StopIteration:
                return
            except Exception as error:  # of the storage, as it is
                raise UserError(
                    f"{self.path} {topic}: damaged, cannot be read to its end: {one_line(error)}"
                ) from error
            yield time_ns, bytes(data)

    def images(self, topic: str) -> Iterator[tuple[int, Pixels]]:
        """(header stamp in ns, image (H, W, 3) BGR uint8) of each frame of `topic`."""
        for stamp_ns, message in self._messages(topic):
            yield stamp_ns, decoded(message, f"{self.path} {topic}")

    def first_image(self, topic: str) -> tuple[str, tuple[int, int]]:
        """Encoding, or format where it is compressed, and (height, width) of the first frame."""
        _, message = next(self._messages(topic))
        height, width = decoded(message, f"{self.path} {topic}").shape[:2]
        return getattr(message, "encoding", None) or message.format, (height, width)

    def labels(self, topic: str) -> Iterator[tuple[int, Pixels]]:
        """(header stamp in ns, class ids (H, W) uint8) of each mono8 message of `topic`."""
        for stamp_ns, message in self._messages(topic):
            if message.encoding != "mono8":
                raise UserError(f"{self.path} {topic}: labels are mono8, not {message.encoding}")
            rows: Pixels = message.data.reshape(message.height, message.step)
            yield stamp_ns, rows[:, : message.width]

    def _messages(self, topic: str) -> Iterator[tuple[int, Any]]:
        kind = self.image_topics()[topic]
        for _, data in self.raw_messages(topic):
            try:
                message = self._reader.deserialize(data, kind)
            except Exception as error:  # whatever a parser meets in spoiled bytes
                raise UserError(
                    f"{self.path} {topic}: a message is damaged: {one_line(error)}"
                ) from error
            yield header_stamp_ns(data), message

    def frame_names(self) -> dict[int, str]:
        """Frame name of each header stamp, from `frames.csv`; empty where the bag has none.

        Raises UserError where that file is damaged.
        """
        path = self.path / FRAMES_FILE
        if not path.is_file():
            return {}
        try:
            with path.open(newline="", encoding="utf-8") as file:
                return {int(row["stamp_ns"]): str(row["name"]) for row in csv.DictReader(file)}
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise UserError(
                f"{path}: no table of stamp_ns and name ({one_line(error)}): make the bag anew, "
                "or take the file away"
            ) from error

    def _connections(self, topic: str) -> list[Connection]:
        return [c for c in self._reader.connections if c.topic == topic]


class BagWriter:
    """A rosbag2 that appears under its name only when it is whole.

    Used as a context manager; an exception, or a kill, leaves no bag behind. Raises UserError when
    `path` exists and `force` is not set, or is not a bag.
    """

    def __init__(
        self,
        path: Path,
        *,
        storage: str = "sqlite3",
        force: bool = False,
        about: dict[str, str] | None = None,
    ) -> None:
        refuse_to_overwrite(path, force)
        self.path = path
        self.counts: dict[str, int] = {}
        self._names: list[tuple[int, str]] = []
        self._connections: dict[str, Connection] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        # The storage file is named after its folder, hence a folder of the right name inside.
        self._folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            self._writer = Writer(
                self._folder / path.name,
                version=_METADATA_VERSION,
                storage_plugin=STORAGES[storage],
            )
            for key, value in (about or {"writer": "contextnet_ros"}).items():
                self._writer.set_custom_data(key, value)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def __enter__(self) -> BagWriter:
        try:
            self._writer.open()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        return self

    def add_topic(self, topic: str, message_type: str) -> None:
        """Announce `topic` with its message type, say sensor_msgs/msg/Image."""
        self._connections[topic] = self._writer.add_connection(
            topic, message_type, typestore=TYPES, offered_qos_profiles=[_OFFERED_QOS]
        )
        self.counts[topic] = 0

    def write(self, topic: str, time_ns: int, message: bytes, name: str | None = None) -> None:
        """Append one message of CDR bytes; `name` goes to `frames.csv` with its header stamp."""
        self._writer.write(self._connections[topic], time_ns, message)
        self.counts[topic] += 1
        if name is not None:
            self._names.append((header_stamp_ns(message), name))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._writer.__exit__(kind, error, trace)
            if kind is None:
                self._finish()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _finish(self) -> None:
        whole = self._folder / self.path.name
        if self._names:
            with (whole / FRAMES_FILE).open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("stamp_ns", "name"), *self._names])
        if self.path.exists():
            self.path.rename(self._folder / "replaced")
        whole.rename(self.path)


def refuse_to_overwrite(path: Path, force: bool) -> None:
    """Raise UserError when a bag may not be written to `path`."""
    if not path.exists():
        return
    if not force:
        raise UserError(f"{path}: exists already; choose another name or add --force")
    if not is_bag(path) and (path.is_file() or any(path.iterdir())):
        raise UserError(f"{path}: exists and is not a bag; --force replaces bags only")
