"""The shipped weights: what they say of themselves, and a label recorded with them.

After new default weights: `python test/test_models.py` records anew; look at what it wrote.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from contextnet_ros.files import resource_dir
from contextnet_ros.inference import Segmenter, list_models
from contextnet_ros.labels import CAMVID
from contextnet_ros.network import count_parameters, load_weights, read_header
from contextnet_ros.training.scenes import render_frame

RECORDED = Path(__file__).parent / "data" / "default_scene_900100.png"


def frame_and_label() -> tuple[np.ndarray, np.ndarray]:
    image = render_frame(900_100, 3, 512, 1024).image_bgr
    return image, Segmenter.load("default", "cpu", "float32")(image).label


def test_the_default_weights_give_the_recorded_label() -> None:
    _, label = frame_and_label()
    recorded = cv2.imread(str(RECORDED), cv2.IMREAD_UNCHANGED)
    assert recorded.shape == label.shape
    assert len(np.unique(recorded)) >= 6, "a label of few classes would agree with too much"
    # Processors round differently, so that pixels between two classes may turn.
    assert (recorded == label).mean() >= 0.999


@pytest.mark.parametrize(
    ("name", "variant", "parameters"),
    [
        ("default", "cn14", 857_000),
        ("generated-cn14", "cn14", 857_000),
        ("cn14-160", "cn14-160", 161_000),
    ],
)
def test_a_shipped_model_is_what_its_name_says_with_scores(
    name: str, variant: str, parameters: int
) -> None:
    network, header = load_weights(resource_dir("models") / f"{name}.safetensors")
    assert (header.variant, header.table) == (variant, CAMVID)
    assert count_parameters(network) <= parameters
    assert header.scores
    assert all(score["network_size"] == str(header.network_size) for score in header.scores)


def test_licences_follow_the_data() -> None:
    assert {"default", "generated-cn14", "cn14-160"} <= set(list_models())
    terms = (resource_dir("models") / "LICENSE.md").read_text()
    for name in list_models():
        header = read_header(resource_dir("models") / f"{name}.safetensors")
        assert f"`{name}.safetensors`" in terms
        trained_on_camvid = any(entry["data"] == "camvid" for entry in header.recipe["train"])
        assert ("CC BY-NC" in header.data_licence) == trained_on_camvid


if __name__ == "__main__":
    RECORDED.parent.mkdir(exist_ok=True)
    image, label = frame_and_label()
    cv2.imwrite(str(RECORDED), label)
    cv2.imwrite("recorded.png", np.vstack([image, CAMVID.colorize(label)]))
