"""Property-based: every encoding, step, odd size and byte order against slow plain references.

No ROS is needed. A reference reads single bytes out of the message, pixel by pixel, by the
definitions in sensor_msgs/image_encodings.hpp and ITU-R BT.601.
"""

from __future__ import annotations

import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="hypothesis is missing: pip install hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st

from contextnet_ros.ros import image_msg

# The same examples in every run, and no deadline: this machine may be busy.
settings.register_profile("here", max_examples=25, deadline=None, derandomize=True)
settings.load_profile("here")


@pytest.fixture(autouse=True, scope="module")
def no_cv_bridge():
    """These are tests of our own converter, whatever cv_bridge this machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_msg, "cv_bridge", lambda: (None, "not asked"))
        yield


# Byte of blue, green and red within a pixel, and bytes per pixel; of 16-bit samples, the byte that
# the sample starts with.
BYTES = {
    "bgr8": ((0, 1, 2), 3),
    "8UC3": ((0, 1, 2), 3),
    "rgb8": ((2, 1, 0), 3),
    "bgra8": ((0, 1, 2), 4),
    "8UC4": ((0, 1, 2), 4),
    "rgba8": ((2, 1, 0), 4),
    "mono8": ((0, 0, 0), 1),
    "8UC1": ((0, 0, 0), 1),
    "bgr16": ((0, 2, 4), 6),
    "rgb16": ((4, 2, 0), 6),
    "bgra16": ((0, 2, 4), 8),
    "rgba16": ((4, 2, 0), 8),
    "mono16": ((0, 0, 0), 2),
}
# Byte of the luma within a pixel, and of U and V within a pair of pixels.
PAIRS = {
    "yuv422": (1, 0, 2),
    "uyvy": (1, 0, 2),
    "yuv422_yuy2": (0, 1, 3),
    "yuyv": (0, 1, 3),
}
# Byte of U and V within a pair of the second plane.
PLANES = {"nv12": (0, 1), "nv21": (1, 0)}
BAYER = [f"bayer_{p}{bits}" for p in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)]


def sample_bytes(encoding):
    return 2 if encoding.endswith("16") else 1


def high_byte(message):
    """Where the high byte of a 16-bit sample stands; 0 for 8-bit ones."""
    return 1 if sample_bytes(message.encoding) == 2 and not message.is_bigendian else 0


def picked_bytes(message):
    offsets, pixel_bytes = BYTES[message.encoding]
    expected = np.zeros((message.height, message.width, 3), np.uint8)
    for y in range(message.height):
        for x in range(message.width):
            start = y * message.step + x * pixel_bytes + high_byte(message)
            expected[y, x] = [message.data[start + offset] for offset in offsets]
    return expected


def yuv_to_bgr(y, u, v):
    """ITU-R BT.601, studio range; luma below black is black."""
    luma = 1.164 * max(0, y - 16)
    blue = luma + 2.018 * (u - 128)
    green = luma - 0.813 * (v - 128) - 0.391 * (u - 128)
    red = luma + 1.596 * (v - 128)
    return np.clip(np.round([blue, green, red]), 0, 255)


def pairs_to_bgr(message):
    luma, u, v = PAIRS[message.encoding]
    expected = np.zeros((message.height, message.width, 3))
    for y in range(message.height):
        for x in range(message.width):
            row = y * message.step
            pair = row + 4 * (x // 2)
            expected[y, x] = yuv_to_bgr(
                message.data[row + 2 * x + luma], message.data[pair + u], message.data[pair + v]
            )
    return expected


def planes_to_bgr(message):
    u, v = PLANES[message.encoding]
    expected = np.zeros((message.height, message.width, 3))
    for y in range(message.height):
        for x in range(message.width):
            pair = (message.height + y // 2) * message.step + 2 * (x // 2)
            expected[y, x] = yuv_to_bgr(
                message.data[y * message.step + x], message.data[pair + u], message.data[pair + v]
            )
    return expected


def bayer_to_bgr(message):
    """Bilinear: the mean of the samples of a colour among a pixel and its eight neighbours.

    Those beside the pixel where there are any, else those at its corners; the outermost pixels
    repeat their neighbours.
    """
    pattern, size = message.encoding[6:10], sample_bytes(message.encoding)
    height, width = message.height, message.width

    def sample(y, x):
        return message.data[y * message.step + x * size + high_byte(message)]

    def colour(y, x):
        return pattern[2 * (y % 2) + x % 2]

    expected = np.zeros((height, width, 3))
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            beside = [(y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x)]
            corners = [(y - 1, x - 1), (y - 1, x + 1), (y + 1, x - 1), (y + 1, x + 1)]
            for channel, wanted in enumerate("bgr"):
                for among in ([(y, x)], beside, corners):
                    found = [sample(*at) for at in among if colour(*at) == wanted]
                    if found:
                        expected[y, x, channel] = np.mean(found)
                        break
    inner = expected[1:-1, 1:-1]
    return np.pad(inner, ((1, 1), (1, 1), (0, 0)), mode="edge")


@st.composite
def messages(draw, encoding, smallest=1):
    """A message of random bytes: any size, padding after its rows, spare bytes after its data."""
    height = draw(st.integers(smallest, 9))
    # OpenCV 4.5 refuses a colour image of one pixel, which no camera sends.
    width = draw(st.integers(2 if height == 1 else smallest, 9))
    even = width + width % 2
    if encoding in BYTES:
        row_bytes, rows = width * BYTES[encoding][1], height
    elif encoding in PAIRS:
        row_bytes, rows = 2 * even, height
    elif encoding in PLANES:
        row_bytes, rows = even, height + (height + 1) // 2
    else:
        row_bytes, rows = width * sample_bytes(encoding), height
    step = row_bytes + draw(st.integers(0, 7))
    size = rows * step + draw(st.integers(0, 5))
    # Drawn bytes would be shrunk one by one; a seed is enough to find a wrong index.
    seed = draw(st.integers(0, 2**32 - 1))
    data = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    return SimpleNamespace(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=draw(st.integers(0, 1)),
        step=step,
        data=array.array("B", data.tobytes()),
    )


def test_every_encoding_that_is_converted_has_a_reference_here():
    assert {*BYTES, *PAIRS, *PLANES, *BAYER} == {*image_msg.IN_PLACE, *image_msg.CONVERTED}


@pytest.mark.parametrize("encoding", BYTES)
@given(data=st.data())
def test_pixels_are_picked_from_the_right_bytes(encoding, data):
    message = data.draw(messages(encoding))
    np.testing.assert_array_equal(image_msg.to_bgr(message), picked_bytes(message))


@pytest.mark.parametrize("encoding", [*PAIRS, *PLANES])
@given(data=st.data())
def test_yuv_follows_bt601(encoding, data):
    message = data.draw(messages(encoding))
    expected = pairs_to_bgr(message) if encoding in PAIRS else planes_to_bgr(message)
    np.testing.assert_allclose(image_msg.to_bgr(message), expected, atol=2)


@pytest.mark.parametrize("encoding", BAYER)
@given(data=st.data())
def test_bayer_is_demosaiced_by_means_of_neighbours(encoding, data):
    message = data.draw(messages(encoding, smallest=3))
    np.testing.assert_allclose(image_msg.to_bgr(message), bayer_to_bgr(message), atol=1)


@given(data=st.data())
def test_a_message_of_one_byte_too_few_is_refused_in_every_encoding(data):
    encoding = data.draw(st.sampled_from([*BYTES, *PAIRS, *PLANES, *BAYER]))
    message = data.draw(messages(encoding))
    rows = message.height + ((message.height + 1) // 2 if encoding in PLANES else 0)
    del message.data[rows * message.step - 1 :]
    with pytest.raises(image_msg.BadFrame) as caught:
        image_msg.to_bgr(message)
    assert caught.value.reason == "short_data"


# What image_transport, and drivers that don't follow it, write into `format`.
FORMATS = ["", "jpeg", "jpg", "png", "rgb8; jpeg compressed bgr8", "mono8; jpeg compressed mono8"]
FORMATS += ["bgr8; png compressed bgr8", "mono16; png compressed ", "bayer_grbg8; jpeg compressed "]


def compress(pixels, suffix, format_name="", *options):
    done, file = cv2.imencode(suffix, pixels, list(options))
    assert done
    return SimpleNamespace(format=format_name, data=array.array("B", file.tobytes()))


def random_pixels(draw, channels, dtype=np.uint8, smallest=1):
    height, width = draw(st.integers(smallest, 12)), draw(st.integers(smallest, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (height, width, channels) if channels > 1 else (height, width)
    return rng.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


@given(
    data=st.data(),
    channels=st.sampled_from([1, 3, 4]),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    name=st.sampled_from(["", "png", "rgb8; png compressed bgr8", "mono16; png compressed "]),
)
def test_a_png_gives_its_pixels_and_of_16_bits_the_high_byte(data, channels, dtype, name):
    pixels = random_pixels(data.draw, channels, dtype)
    image = image_msg.decode_compressed(compress(pixels, ".png", name))
    eight_bits = (pixels >> 8 if dtype == np.uint16 else pixels).astype(np.uint8)
    expected = np.repeat(eight_bits[..., None], 3, 2) if channels == 1 else eight_bits[..., :3]
    np.testing.assert_array_equal(image, expected)


@given(data=st.data(), encoding=st.sampled_from(BAYER))
def test_a_bayer_image_that_image_transport_put_into_a_png_is_demosaiced(data, encoding):
    dtype = np.uint16 if sample_bytes(encoding) == 2 else np.uint8
    pixels = random_pixels(data.draw, 1, dtype, smallest=3)
    raw = SimpleNamespace(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=pixels.shape[1] * pixels.itemsize,
        data=array.array("B", pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()),
    )
    sent = compress(pixels, ".png", f"{encoding}; png compressed ")
    np.testing.assert_allclose(image_msg.decode_compressed(sent), bayer_to_bgr(raw), atol=1)


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("name", FORMATS)
def test_a_jpeg_comes_out_in_its_colours_whatever_its_format_says(name, progressive):
    colours = np.array([[[200, 40, 30], [30, 180, 60]], [[20, 60, 220], [128, 128, 128]]], np.uint8)
    pixels = colours.repeat(16, 0).repeat(17, 1)
    options = (cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    image = image_msg.decode_compressed(compress(pixels, ".jpg", name, *options))
    assert image.shape == pixels.shape
    np.testing.assert_allclose(image[4::16, 8::17].astype(int), colours.astype(int), atol=6)


def test_the_label_has_the_frames_size_whatever_orientation_a_jpeg_names():
    message = compress(np.zeros((4, 9, 3), np.uint8), ".jpg")
    # An EXIF segment whose one entry, 0x0112, asks for a turn by 90 degrees (6).
    entry = bytes.fromhex("0112 0003 00000001 0006 0000")
    tiff = b"MM\0*" + bytes.fromhex("00000008 0001") + entry + bytes(4)
    exif = b"Exif\0\0" + tiff
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    message.data = array.array("B", bytes(message.data[:2]) + segment + bytes(message.data[2:]))
    turned = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    assert turned.shape == (9, 4, 3), "the file must really ask for it"
    assert image_msg.decode_compressed(message).shape == (4, 9, 3)


@pytest.mark.parametrize(("suffix", "kind"), [(".jpg", "JPEG"), (".png", "PNG")])
@given(data=st.data(), padding=st.integers(0, 4000))
def test_a_compressed_image_cut_off_anywhere_is_refused_one_with_zeros_after_it_is_not(
    suffix, kind, data, padding
):
    message = compress(random_pixels(data.draw, 3), suffix, "jpeg")
    whole = message.data
    length = data.draw(st.integers(0, len(whole) - 1))
    message.data = whole[:length]
    for refuse in (image_msg.check_compressed, image_msg.decode_compressed):
        with pytest.raises(image_msg.BadFrame) as caught:
            refuse(message)
        # Of its first bytes alone, nobody can tell what it was.
        assert caught.value.reason == "short_data" or (
            0 < length < 8 and caught.value.reason == "unknown_encoding"
        )
        assert "\n" not in str(caught.value)
    message.data = array.array("B", whole.tobytes() + bytes(padding))
    assert image_msg.check_compressed(message) == kind


@given(data=st.binary(min_size=1, max_size=60))
def test_what_is_no_image_is_refused_with_its_reason(data):
    png, end = b"\x89PNG\r\n\x1a\n", bytes(4) + b"IEND\xaeB`\x82"
    for first, last in ((b"", b""), (b"\xff\xd8\xff", b"\xff\xd9"), (png, end)):
        chunk = len(data).to_bytes(4, "big") + b"IHDR" + data + bytes(4) if first == png else data
        for middle in (data, chunk):
            message = SimpleNamespace(format="x", data=array.array("B", first + middle + last))
            with pytest.raises(image_msg.BadFrame) as caught:
                image_msg.decode_compressed(message)
            assert caught.value.reason in ("unknown_encoding", "short_data", "conversion")
            assert "\n" not in str(caught.value)


def test_a_compressed_depth_image_is_refused_by_its_format():
    # Its PNG stands behind twelve bytes of its own.
    png = compress(np.zeros((3, 3), np.uint16), ".png")
    name = "16UC1; compressedDepth png"
    message = SimpleNamespace(format=name, data=array.array("B", bytes(12) + png.data.tobytes()))
    with pytest.raises(image_msg.BadFrame, match="16UC1; compressedDepth png") as caught:
        image_msg.decode_compressed(message)
    assert caught.value.reason == "unknown_encoding"
