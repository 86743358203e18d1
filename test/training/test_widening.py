"""A wider network that begins with what a narrower one says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from random_network import random_network
from small_training import RECIPE, train

from contextnet_ros.network import VARIANTS, load_weights
from contextnet_ros.training.loop import Training
from contextnet_ros.training.widening import widen


@pytest.mark.parametrize(
    ("variant", "before", "after", "ppm"),
    [
        *((variant, 1.0, 1.5, False) for variant in VARIANTS),
        ("cn14", 1.0, 2.0, True),
        ("cn124", 0.5, 1.3, True),
        ("cn14-160", 0.5, 1.7, False),
    ],
)
@torch.no_grad()
def test_a_widened_network_gives_the_narrow_ones_logits(
    variant: str, before: float, after: float, ppm: bool
) -> None:
    network = random_network(variant, before, ppm).double()
    wide = widen(network, after)
    assert (wide.variant, wide.width, wide.ppm) == (variant, after, ppm)
    images = torch.randn(1, 3, 64, 128, dtype=torch.float64)
    expected = network.coarse_logits(images)
    assert expected.std(dim=(0, 2, 3)).min() > 1e-2, "constant logits would prove nothing"
    torch.testing.assert_close(wide.coarse_logits(images), expected, atol=1e-8, rtol=0)
    again = widen(network, after)
    assert torch.equal(wide.coarse_logits(images), again.coarse_logits(images))


def test_copies_of_a_map_learn_different_things() -> None:
    network = widen(random_network("cn14-160", 1.0), 2.0).double()
    images = torch.randn(2, 3, 64, 128, dtype=torch.float64)
    network.coarse_logits(images).square().mean().backward()
    for name, parameter in network.named_parameters():
        if name.endswith("0.weight") and parameter.ndim == 4:
            first, second = (part.flatten(1) for part in parameter.grad.chunk(2))
            # Of another direction, not of another size alone, which AdamW takes out again.
            apart = torch.cosine_similarity(first, second) < 1 - 1e-6
            moved = first.norm(dim=1) > 0
            assert apart[moved].double().mean() > 0.5, name


def test_maps_too_few_to_widen_are_told() -> None:
    with pytest.raises(ValueError, match=r"of width 0\.0625 other maps are added up than of 1: "):
        widen(random_network("cn14-160", 1 / 16), 1.0)
    wide = widen(random_network("cn14", 1 / 16), 0.1)
    assert all(torch.isfinite(tensor).all() for tensor in wide.state_dict().values())


@pytest.mark.parametrize("width", [1.0, 0.5])
def test_only_more_maps_are_wider(width: float) -> None:
    with pytest.raises(ValueError, match=rf"width {width:g} is not above the network's 1$"):
        widen(random_network("cn14-160", 1.0), width)


def test_a_training_begins_with_narrower_weights_widened(
    tmp_path: Path, camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "first", camvid)
    start = tmp_path / "first" / "best.safetensors"
    recipe = RECIPE.with_settings([f"init={start}", "width=1.25", f"variant={RECIPE.variant}"])
    network = Training(recipe, tmp_path / "second", camvid, "cpu").model.network
    assert network.width == 1.25
    assert f"init {start} is cn14: widened to 1.25" in capsys.readouterr().out
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found = network.eval().coarse_logits(images)
        expected = load_weights(start)[0].coarse_logits(images)
    torch.testing.assert_close(found, expected, atol=1e-4 * expected.abs().max().item(), rtol=0)
