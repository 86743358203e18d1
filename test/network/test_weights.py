"""Weight files: what is written is read; what can't be used is refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from contextnet_ros.files import resource_dir
from contextnet_ros.labels import CAMVID, CITYSCAPES
from contextnet_ros.network import (
    VARIANTS,
    ContextNet,
    NetworkSize,
    WeightFileError,
    WeightHeader,
    load_weights,
    read_header,
    save_weights,
)


@pytest.fixture
def header() -> WeightHeader:
    return WeightHeader(
        table=CAMVID,
        network_size=NetworkSize.parse("long_side 960"),
        scores=[{"data": "camvid val", "miou_percent": 12.5}],
        recipe={"steps": 3, "train": [{"data": "generated"}]},
        data_licence="none",
    )


@pytest.fixture
def weights(tmp_path: Path, header: WeightHeader) -> Path:
    path = tmp_path / "w.safetensors"
    save_weights(path, ContextNet(11), header)
    return path


def rewrite(path: Path, change: dict[str, object]) -> None:
    """Change entries of the JSON header and leave the tensors as they are."""
    with safe_open(path, framework="pt") as file:
        data = json.loads(file.metadata()["contextnet"])
    save_file(load_file(path), path, metadata={"contextnet": json.dumps({**data, **change})})


def test_network_and_header_come_back(tmp_path: Path, header: WeightHeader) -> None:
    network = ContextNet(11).eval()
    path = tmp_path / "deep" / "w.safetensors"
    save_weights(path, network, header)
    loaded, loaded_header = load_weights(path)
    assert loaded_header == header == read_header(path)
    assert not loaded.training
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(images), network(images))


@pytest.mark.parametrize(
    ("variant", "width", "ppm"),
    [*((variant, 1.0, False) for variant in VARIANTS), ("cn14", 1.25, False), ("cn124", 0.5, True)],
)
def test_every_variant_comes_back_as_it_was(
    tmp_path: Path, variant: str, width: float, ppm: bool
) -> None:
    network = ContextNet(11, variant, width=width, ppm=ppm).eval()
    path = tmp_path / "w.safetensors"
    save_weights(path, network, WeightHeader(CAMVID, variant, width, ppm))
    loaded, header = load_weights(path)
    assert (header.variant, header.width, header.ppm) == (variant, width, ppm)
    assert loaded.size_multiple == network.size_multiple
    images = torch.rand(1, 3, 50, 70)
    with torch.no_grad():
        assert torch.equal(loaded(images), network(images))


def test_a_file_from_before_width_and_pooling_is_a_plain_network(weights: Path) -> None:
    with safe_open(weights, framework="pt") as file:
        data = json.loads(file.metadata()["contextnet"])
    del data["width"], data["ppm"]
    save_file(load_file(weights), weights, metadata={"contextnet": json.dumps(data)})
    network, header = load_weights(weights)
    assert (header.width, header.ppm) == (1.0, False)
    assert (network.width, network.ppm) == (1.0, False)


@pytest.mark.parametrize("name", [p.stem for p in resource_dir("models").glob("*.safetensors")])
def test_shipped_weights_load(name: str) -> None:
    network, header = load_weights(resource_dir("models") / f"{name}.safetensors")
    assert (network.variant, network.width) == (header.variant, header.width)


def test_nothing_else_is_left_beside_the_file(weights: Path) -> None:
    assert [p.name for p in weights.parent.iterdir()] == ["w.safetensors"]


def test_header_and_network_must_agree(tmp_path: Path, header: WeightHeader) -> None:
    with pytest.raises(ValueError, match=r"11 classes.*with 19"):
        save_weights(tmp_path / "w.safetensors", ContextNet(19), header)
    assert not list(tmp_path.iterdir())


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WeightFileError, match=r"nowhere\.safetensors does not exist"):
        load_weights(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 1000, -10])
def test_truncated_file(weights: Path, keep: int) -> None:
    data = weights.read_bytes()
    weights.write_bytes(data[:keep])
    with pytest.raises(WeightFileError, match="truncated"):
        load_weights(weights)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_named_and_never_loaded(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "w.safetensors"
    torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightFileError, match="is a pickle"):
        load_weights(path)


@pytest.mark.parametrize("padding", range(32))
def test_a_sound_file_is_never_taken_for_a_pickle(
    tmp_path: Path, header: WeightHeader, padding: int
) -> None:
    # The first byte is the low byte of the header's length, a multiple of 8: 32 lengths in a row.
    path = tmp_path / "w.safetensors"
    save_weights(path, ContextNet(11), replace(header, data_licence="x" * 8 * padding))
    load_weights(path)


def test_a_folder_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(WeightFileError, match="is a folder"):
        load_weights(tmp_path)


def test_a_file_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(WeightFileError, match="not written by this package"):
        load_weights(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format version is 99"),
        ({"variant": "cn77"}, "'cn77' is not one of"),
        ({"width": 99}, "width 99.0 is outside"),
        ({"width": 2}, r"no cn14 x 2 with 11 classes"),
        ({"ppm": True}, r"no cn14 \+ ppm with 11 classes"),
        ({"variant": "cn14-160"}, "no cn14-160 with 11 classes"),
        ({"channel_order": "GRB"}, "'GRB' is neither"),
        ({"std": [1, 0, 1]}, "no such numbers"),
        ({"mean": [float("nan"), 0, 0]}, "no such numbers"),
        ({"ignore_id": float("inf")}, "can't be used"),
        ({"mean": [0, 0]}, "can't be used"),
        ({"table": CITYSCAPES.to_dict()}, r"no cn14 with 19 classes: classifier"),
        ({"network_size": {"size": "big", "interpolation": "area"}}, "'big' is unknown"),
        ({"network_size": {}}, "no 'size' in its header"),
        ({"network_size": {"size": 3, "interpolation": "area"}}, "'3' is unknown"),
    ],
)
def test_a_header_that_does_not_fit(weights: Path, change: dict[str, object], message: str) -> None:
    rewrite(weights, change)
    with pytest.raises(WeightFileError, match=message) as caught:
        load_weights(weights)
    assert "\n" not in str(caught.value)


def test_values_that_are_not_finite(weights: Path) -> None:
    with safe_open(weights, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(weights)
    tensors["classifier.bias"][0] = float(np.nan)
    save_file(tensors, weights, metadata=metadata)
    with pytest.raises(WeightFileError, match="not finite"):
        load_weights(weights)
