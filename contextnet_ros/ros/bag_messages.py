"""CDR bytes of image messages, made and read with no ROS installed."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
from rosbags.typesys import Stores, get_typestore

from contextnet_ros.files import UserError
from contextnet_ros.labels import Pixels
from contextnet_ros.ros.image_msg import BadFrame, decode_compressed, to_bgr

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"

# Humble is the oldest distribution served; these messages have not changed since.
TYPES = get_typestore(Stores.ROS2_HUMBLE)


def header_stamp_ns(message: bytes) -> int:
    """Header stamp, in nanoseconds, of a CDR message whose first field is a std_msgs/Header."""
    seconds, nanoseconds = struct.unpack_from(_stamp_format(message), message, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def with_stamp(message: bytes, stamp_ns: int) -> bytes:
    """Copy of a CDR message, which begins with a std_msgs/Header, under another stamp."""
    changed = bytearray(message)
    struct.pack_into(_stamp_format(message), changed, 4, *divmod(stamp_ns, 1_000_000_000))
    return bytes(changed)


def _stamp_format(message: bytes) -> str:
    # The second byte of CDR's encapsulation header tells the byte order.
    return "<iI" if message[1] & 1 else ">iI"


def image_message(image: Pixels, encoding: str, stamp_ns: int, frame_id: str) -> bytes:
    """CDR bytes of a sensor_msgs/Image; image (H, W, 3) BGR or (H, W), encoding bgr8, rgb8, mono8.

    Raises UserError for another encoding.
    """
    if encoding == "rgb8":
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    elif encoding not in ("bgr8", "mono8"):
        raise UserError(f"encoding {encoding!r}: bags are written as bgr8 or rgb8")
    image = np.ascontiguousarray(image, np.uint8)
    message = TYPES.types[IMAGE](
        header=_header(stamp_ns, frame_id),
        height=image.shape[0],
        width=image.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=image.strides[0],
        data=image.reshape(-1),
    )
    return bytes(TYPES.serialize_cdr(message, IMAGE))


def compressed_message(
    image: Pixels, file_format: str, stamp_ns: int, frame_id: str, quality: int = 95
) -> bytes:
    """CDR bytes of a sensor_msgs/CompressedImage; image (H, W, 3) BGR, file_format jpeg or png."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if file_format == "jpeg" else []
    done, data = cv2.imencode(".jpg" if file_format == "jpeg" else ".png", image, options)
    if not done:
        raise UserError(f"OpenCV cannot write {file_format}; choose the other format")
    message = TYPES.types[COMPRESSED_IMAGE](
        header=_header(stamp_ns, frame_id),
        # What image_transport's own plugin writes; readers take the encoding from it.
        format=f"bgr8; {file_format} compressed bgr8",
        data=data.reshape(-1),
    )
    return bytes(TYPES.serialize_cdr(message, COMPRESSED_IMAGE))


def _header(stamp_ns: int, frame_id: str) -> Any:
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    time = TYPES.types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
    return TYPES.types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)


def decoded(message: Any, where: str) -> Pixels:
    """Image (H, W, 3) BGR of an Image or CompressedImage; `where` begins the UserError.

    Decoded as the node does, so that labels of the frame have its size.
    """
    try:
        return to_bgr(message) if hasattr(message, "encoding") else decode_compressed(message)
    except BadFrame as error:
        raise UserError(f"{where}: {error}") from error
