"""What the network sees of a frame."""

from __future__ import annotations

import pytest

from contextnet_ros.network import NetworkSize


@pytest.mark.parametrize(
    ("text", "frame", "expected"),
    [
        ("frame", (360, 480), (360, 480)),
        ("scale 0.5", (1024, 2048), (512, 1024)),
        ("scale 2", (360, 480), (720, 960)),
        ("long_side 960", (360, 480), (720, 960)),
        ("long_side 960", (1024, 2048), (480, 960)),
        ("long_side 960", (1280, 720), (960, 540)),
        ("long_side 960", (1, 4000), (1, 960)),
    ],
)
def test_size_of_a_frame(text: str, frame: tuple[int, int], expected: tuple[int, int]) -> None:
    size = NetworkSize.parse(text)
    assert size.resolve(*frame) == expected
    assert str(size) == text
    assert NetworkSize.parse(str(size)) == size


def test_a_scale_of_many_digits_survives_its_text() -> None:
    size = NetworkSize("scale", 1 / 3)
    assert NetworkSize.parse(str(size)).resolve(1080, 1920) == size.resolve(1080, 1920)


@pytest.mark.parametrize(
    "text", ["", "half", "scale", "scale x", "scale 0", "scale -1", "long_side 12.5", "frame 2"]
)
def test_other_texts_are_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(ValueError, match=r"'scale S'.*'long_side N'"):
        NetworkSize.parse(text)
