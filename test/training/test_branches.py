"""One branch without the other."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from contextnet_ros.network import VARIANTS, ContextNet, WeightHeader, fold_batch_norm
from contextnet_ros.training.branches import zero_branch
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.start import initial_model

IMAGES = torch.randn(1, 3, 64, 128, generator=torch.Generator().manual_seed(1))


def network(variant: str) -> ContextNet:
    torch.manual_seed(3)
    result = ContextNet(5, variant).eval()
    for module in result.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias)
            torch.nn.init.normal_(module.running_mean)
    return result


@pytest.mark.parametrize("variant", sorted(VARIANTS))
@pytest.mark.parametrize("branch", ["context", "detail"])
def test_a_zeroed_branch_is_one_whose_output_is_zero(variant: str, branch: str) -> None:
    whole = network(variant)
    detail, context = whole.detail_features(IMAGES), whole.context_features(IMAGES)
    if branch == "detail":
        detail = tuple(torch.zeros_like(part) for part in detail)
    else:
        context = torch.zeros_like(context)
    expected = whole.classify(detail, context)
    assert not torch.allclose(expected, whole.coarse_logits(IMAGES), atol=1e-3)
    zero_branch(whole, branch)
    torch.testing.assert_close(whole.coarse_logits(IMAGES), expected)
    folded = fold_batch_norm(whole).coarse_logits(IMAGES)
    torch.testing.assert_close(folded, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("branch", ["context", "detail"])
def test_training_one_branch_teaches_the_other_nothing(branch: str) -> None:
    recipe = Recipe.from_dict(
        {"variant": "cn14-160", "branch": branch,
         "train": [{"data": "generated", "first_seed": 0, "num_scenes": 1, "share": 1}]}
    )  # fmt: skip
    model = initial_model(recipe, WeightHeader(recipe.table, "cn14-160"), None)
    images = torch.cat([IMAGES, IMAGES.flip(-1)])
    truth = torch.randint(0, 11, (2, 8, 16))
    F.cross_entropy(model(images)[0], truth).backward()
    taught = {"detail": model.network.detail, "context": model.network.context}
    idle = taught.pop("context" if branch == "detail" else "detail")
    assert all(not parameter.grad.any() for parameter in idle.parameters())
    (busy,) = taught.values()
    assert all(parameter.grad.any() for parameter in busy.parameters() if parameter.ndim == 4)


def test_another_branch_is_refused() -> None:
    with pytest.raises(ValueError, match="branch 'left'"):
        zero_branch(ContextNet(5, "cn14-160"), "left")
