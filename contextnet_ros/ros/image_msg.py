"""sensor_msgs/Image and CompressedImage to a BGR array, and an array to an Image.

The five common 8-bit encodings are read in place. Of the others, cv_bridge converts what it can
where it is installed and works, OpenCV the rest. Messages are any object with the fields of
sensor_msgs, so that this module imports without ROS.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
from typing import Any, NamedTuple

import cv2
import numpy as np

from contextnet_ros.files import one_line
from contextnet_ros.labels import Pixels


class BadFrame(Exception):
    """A message that holds no usable image.

    `reason` is one of zero_size, unknown_encoding, small_step, short_data, conversion and
    segmentation; str() is one line with the values seen and the remedy.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class _Encoding(NamedTuple):
    bytes_per_pixel: int
    to_bgr: int | None  # cv2.cvtColor code; None: is BGR already
    packed: str = "pixels"  # "pairs": two pixels share their colour; "planes": Y, then UV
    sample_bytes: int = 1


IN_PLACE = {
    "bgr8": _Encoding(3, None),
    "rgb8": _Encoding(3, cv2.COLOR_RGB2BGR),
    "bgra8": _Encoding(4, cv2.COLOR_BGRA2BGR),
    "rgba8": _Encoding(4, cv2.COLOR_RGBA2BGR),
    "mono8": _Encoding(1, cv2.COLOR_GRAY2BGR),
}

# OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first
# row's first two and the second row's first two: rggb is OpenCV's BG.
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2BGR,
    "bggr": cv2.COLOR_BayerRG2BGR,
    "gbrg": cv2.COLOR_BayerGR2BGR,
    "grbg": cv2.COLOR_BayerGB2BGR,
}

CONVERTED = {
    "8UC1": IN_PLACE["mono8"],
    "8UC3": IN_PLACE["bgr8"],
    "8UC4": IN_PLACE["bgra8"],
    "yuv422": _Encoding(2, cv2.COLOR_YUV2BGR_UYVY, "pairs"),
    "uyvy": _Encoding(2, cv2.COLOR_YUV2BGR_UYVY, "pairs"),
    "yuv422_yuy2": _Encoding(2, cv2.COLOR_YUV2BGR_YUY2, "pairs"),
    "yuyv": _Encoding(2, cv2.COLOR_YUV2BGR_YUY2, "pairs"),
    "nv12": _Encoding(1, cv2.COLOR_YUV2BGR_NV12, "planes"),
    "nv21": _Encoding(1, cv2.COLOR_YUV2BGR_NV21, "planes"),
    **{f"bayer_{name}8": _Encoding(1, code) for name, code in _BAYER.items()},
    **{f"bayer_{name}16": _Encoding(2, code, sample_bytes=2) for name, code in _BAYER.items()},
    "mono16": _Encoding(2, cv2.COLOR_GRAY2BGR, sample_bytes=2),
    "bgr16": _Encoding(6, None, sample_bytes=2),
    "rgb16": _Encoding(6, cv2.COLOR_RGB2BGR, sample_bytes=2),
    "bgra16": _Encoding(8, cv2.COLOR_BGRA2BGR, sample_bytes=2),
    "rgba16": _Encoding(8, cv2.COLOR_RGBA2BGR, sample_bytes=2),
}


def check(message: Any) -> None:
    """Raise BadFrame where size, encoding, step and data don't fit each other."""
    height, width, step, size = message.height, message.width, message.step, len(message.data)
    if height == 0 or width == 0:
        raise BadFrame(
            "zero_size", f"the image is {width} x {height} pixels: check the camera's driver"
        )
    encoding = IN_PLACE.get(message.encoding) or CONVERTED.get(message.encoding)
    if encoding is None and cv_bridge()[0] is None:
        raise BadFrame(
            "unknown_encoding",
            f"the encoding {message.encoding!r} is not known: set the camera's driver to one of "
            f"{', '.join(sorted(IN_PLACE | CONVERTED))}",
        )
    row = _row_bytes(encoding, width) if encoding else 0
    if step < row:
        raise BadFrame(
            "small_step",
            f"step is {step} bytes, but {width} pixels of {message.encoding} take {row}: "
            "check the camera's driver",
        )
    rows = height + (height + 1) // 2 if encoding and encoding.packed == "planes" else height
    if size < rows * step:
        raise BadFrame(
            "short_data",
            f"data has {size} bytes, but {rows} rows of step {step} take {rows * step}: "
            "check the camera's driver",
        )


def to_bgr(message: Any) -> Pixels:
    """The image as BGR (H, W, 3), for bgr8 a view of the message's data with its step as stride.

    Of 16-bit samples the high byte is kept. Raises BadFrame.
    """
    check(message)
    encoding = IN_PLACE.get(message.encoding)
    if encoding is not None:
        return _convert(encoding, _rows(message, message.height), message)
    encoding = CONVERTED.get(message.encoding)
    bridge, _ = cv_bridge()
    if bridge is not None:
        try:
            return _bridge_bgr(bridge, message)
        except Exception as error:
            # cv_bridge raises what it likes; only an encoding that nobody knows is a bad frame.
            if encoding is None:
                raise BadFrame(
                    "conversion",
                    f"cv_bridge can't convert {message.encoding!r} to bgr8 "
                    f"({one_line(error)}): set the camera's driver to bgr8 or rgb8",
                ) from error
    assert encoding is not None
    rows = message.height + (message.height + 1) // 2 if encoding.packed == "planes" else None
    return _convert(encoding, _rows(message, rows or message.height), message)


# The first bytes of a file tell what it is, not `format`, into which drivers write anything.
_JPEG, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG = b"\x89PNG\r\n\x1a\n"
# Some cameras fill their buffers up with zeros.
_PADDING_BYTES = 4096


def check_compressed(message: Any) -> str:
    """JPEG or PNG; raises BadFrame where a CompressedImage is neither or lacks its end."""
    data = memoryview(message.data)
    start = bytes(data[:8])
    # OpenCV makes up what is missing of a JPEG or refuses it, depending on its version.
    if start.startswith(_JPEG):
        kind, whole = "JPEG", bytes(data[-_PADDING_BYTES:]).rstrip(b"\0").endswith(_JPEG_END)
    elif start == _PNG:
        kind, whole = "PNG", _is_whole_png(data)
    elif start:
        raise BadFrame(
            "unknown_encoding",
            f"an image of format {message.format!r} is neither JPEG nor PNG: set the camera's "
            "driver, or image_transport, to jpeg or png",
        )
    else:
        kind, whole = "compressed", False
    if not whole:
        raise BadFrame(
            "short_data",
            f"the {kind} image is cut off after {len(data)} bytes: check the camera's driver and "
            "the network",
        )
    return kind


def _is_whole_png(data: memoryview) -> bool:
    # Every chunk's length is looked at: OpenCV would make room for one of 2 GB.
    at = len(_PNG)
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        at += 12 + length
        if kind == b"IEND":
            return at <= len(data)
    return False


def decode_compressed(message: Any) -> Pixels:
    """The image of a sensor_msgs/CompressedImage as BGR (H, W, 3).

    Of 16-bit samples the high byte is kept. The orientation that a JPEG may name is not followed:
    the label has the size of the camera's frame. Raises BadFrame.
    """
    kind = check_compressed(message)
    # image_transport puts Bayer images into PNG as they are, into JPEG as grey ones.
    source = message.format.partition(";")[0].strip()
    stored = CONVERTED.get(source) if kind == "PNG" and source.startswith("bayer_") else None
    colours = cv2.IMREAD_GRAYSCALE if stored else cv2.IMREAD_COLOR
    try:
        file = np.frombuffer(message.data, np.uint8)
        image = cv2.imdecode(file, colours | cv2.IMREAD_IGNORE_ORIENTATION)
        cause = "it is damaged"
    except cv2.error as error:
        image, cause = None, one_line(error)
    if image is None:
        raise BadFrame(
            "conversion",
            f"OpenCV can't decode the {kind} image of {len(message.data)} bytes ({cause}): check "
            "the camera's driver and the network",
        )
    return np.asarray(cv2.cvtColor(image, stored.to_bgr) if stored and stored.to_bgr else image)


def fill(message: Any, pixels: Pixels, encoding: str, header: Any) -> Any:
    """Make an empty sensor_msgs/Image hold (H, W) or (H, W, C) pixels; returns it."""
    message.header = header
    message.height, message.width = pixels.shape[:2]
    message.encoding = encoding
    message.is_bigendian = 0
    message.step = pixels.nbytes // max(1, pixels.shape[0])
    # frombytes copies once; assigning to data would check every element in Python.
    message.data.frombytes(np.ascontiguousarray(pixels))
    return message


def converter_line(encoding: str) -> str:
    """One line on who converts an encoding that is not read in place."""
    bridge, why_not = cv_bridge()
    if bridge is not None:
        return f"{encoding} images are converted by cv_bridge"
    return f"{encoding} images are converted by OpenCV: {why_not}"


@functools.lru_cache(maxsize=1)
def cv_bridge() -> tuple[Any, str]:
    """A cv_bridge that was seen converting rightly, or None and why there is none."""
    if importlib.util.find_spec("cv_bridge") is None:
        return None, "cv_bridge is not installed"
    try:
        # One built against another NumPy prints a page to stderr before it fails.
        with contextlib.redirect_stderr(io.StringIO()):
            from cv_bridge import CvBridge

            bridge = CvBridge()
            works = _converts_rightly(bridge)
    except Exception as error:
        first_line = next(iter(str(error).splitlines()), "")
        return None, f"cv_bridge does not work here ({type(error).__name__}: {first_line})"
    return (bridge, "") if works else (None, "cv_bridge converts a red image wrongly here")


class _RedBayer:
    """A 4 x 4 bayer_rggb8 image of a red wall, with the fields of sensor_msgs/Image."""

    height = width = 4
    step = 6
    encoding = "bayer_rggb8"
    is_bigendian = 0
    data = bytes([255, 0, 255, 0, 9, 9] + [0] * 6) * 2


def _converts_rightly(bridge: Any) -> bool:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 2] = 255
    return np.array_equal(_bridge_bgr(bridge, _RedBayer()), red)


def _bridge_bgr(bridge: Any, message: Any) -> Pixels:
    image = np.asarray(bridge.imgmsg_to_cv2(message, "bgr8"))
    if image.dtype != np.uint8 or image.shape != (message.height, message.width, 3):
        raise ValueError(f"it made {image.dtype} {image.shape}")
    return image


def _row_bytes(encoding: _Encoding, width: int) -> int:
    # An odd width ends in half a pair, whose colour needs the other half's bytes.
    if encoding.packed == "pixels":
        return width * encoding.bytes_per_pixel
    return (width + width % 2) * encoding.bytes_per_pixel


def _rows(message: Any, rows: int) -> Pixels:
    flat = np.frombuffer(message.data, np.uint8)
    return flat[: rows * message.step].reshape(rows, message.step)


def _convert(encoding: _Encoding, rows: Pixels, message: Any) -> Pixels:
    """BGR (H, W, 3) of the message's rows of bytes, (H, step)."""
    height, width = message.height, message.width
    if encoding.packed == "planes":
        return _convert_planes(encoding, rows, height, width)
    used = rows[:, : _row_bytes(encoding, width)]
    if encoding.sample_bytes == 2:
        used = used[:, 0 if message.is_bigendian else 1 :: 2]
    channels = encoding.bytes_per_pixel // encoding.sample_bytes
    pixels = used.reshape(height, -1, channels)
    if encoding.to_bgr is None:
        return pixels
    return np.asarray(cv2.cvtColor(pixels, encoding.to_bgr))[:, :width]


def _convert_planes(encoding: _Encoding, rows: Pixels, height: int, width: int) -> Pixels:
    even_height, even_width = height + height % 2, width + width % 2
    planes = np.empty((even_height * 3 // 2, even_width), np.uint8)
    planes[:height] = rows[:height, :even_width]
    planes[height:even_height] = planes[height - 1]
    planes[even_height:] = rows[height:, :even_width]
    assert encoding.to_bgr is not None
    return np.asarray(cv2.cvtColor(planes, encoding.to_bgr))[:height, :width]
