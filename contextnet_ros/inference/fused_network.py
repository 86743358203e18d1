"""A folded network whose layers are the kernels of `layer_kernels.py`: what it does, in fewer
launches."""

from __future__ import annotations

import copy
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import nn

from contextnet_ros.network import ContextNet
from contextnet_ros.network.blocks import Bottleneck, ConvUnit, PyramidPooling, SeparableConv
from contextnet_ros.network.contextnet import FusionUnit


def fuse_layers(network: ContextNet, kernels: ModuleType) -> ContextNet:
    """A copy of a folded network in half precision that runs `kernels`, the module, where there is
    one for a layer: pyramid pooling is PyTorch's."""
    fused = copy.deepcopy(network)
    _replace(fused, kernels)
    return fused


def _replace(parent: nn.Module, kernels: ModuleType) -> None:
    for name, child in parent.named_children():
        layer = _fused(child, kernels)
        if layer is not None:
            setattr(parent, name, layer)
        elif not isinstance(child, PyramidPooling):
            _replace(child, kernels)


def _fused(layer: nn.Module, kernels: ModuleType) -> nn.Module | None:
    if isinstance(layer, Bottleneck):
        return _FusedBottleneck(layer, kernels)
    if isinstance(layer, FusionUnit):
        return _FusedFusion(layer, kernels)
    if isinstance(layer, SeparableConv):
        return _Separable(layer[0], layer[1], kernels)
    if isinstance(layer, ConvUnit):
        pointwise = _convolution(layer).kernel_size == (1, 1)
        return _Pointwise(layer, kernels) if pointwise else _Stem(layer, kernels)
    if isinstance(layer, nn.Conv2d):
        return _Pointwise(nn.Sequential(layer), kernels)
    return None


class _Pointwise(nn.Module):
    """A 1 x 1 convolution, and ReLU6 if its unit has one."""

    def __init__(self, unit: nn.Module, kernels: ModuleType) -> None:
        super().__init__()
        self._kernels = kernels
        weight, bias = _parameters(unit)
        self.register_buffer("weight", weight[:, :, 0, 0].t().contiguous())
        self.register_buffer("bias", bias)
        self._relu6 = _has_relu6(unit)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self._kernels.pointwise(
            features, self.weight, self.bias, relu6=self._relu6
        )
        return out


class _Stem(nn.Module):
    """A 3 x 3 convolution of an image, with ReLU6."""

    def __init__(self, unit: nn.Module, kernels: ModuleType) -> None:
        super().__init__()
        self._kernels = kernels
        weight, bias = _parameters(unit)
        features = len(weight)
        self.register_buffer(
            "weight", weight.permute(2, 3, 1, 0).reshape(-1, features).contiguous()
        )
        self.register_buffer("bias", bias)
        self._stride = _convolution(unit).stride[0]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self._kernels.stem(images, self.weight, self.bias, stride=self._stride)
        return out


class _Separable(nn.Module):
    """A depth-wise convolution and the 1 x 1 behind it; `relu6`: another ReLU6 than its unit's."""

    def __init__(
        self,
        depthwise: nn.Module,
        unit: nn.Module,
        kernels: ModuleType,
        relu6: bool | None = None,
    ) -> None:
        super().__init__()
        self._kernels = kernels
        filters, depthwise_bias = _parameters(depthwise)
        self.register_buffer("depthwise", filters.flatten(1).t().contiguous())
        self.register_buffer("depthwise_bias", depthwise_bias)
        weight, bias = _parameters(unit)
        self.register_buffer("weight", weight[:, :, 0, 0].t().contiguous())
        self.register_buffer("bias", bias)
        convolution = _convolution(depthwise)
        self._options = {
            "stride": convolution.stride[0],
            "dilation": convolution.dilation[0],
            "inner_relu6": _has_relu6(depthwise),
            "relu6": _has_relu6(unit) if relu6 is None else relu6,
        }

    def forward(self, features: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        out: torch.Tensor = self._kernels.separable(
            features,
            self.depthwise,
            self.depthwise_bias,
            self.weight,
            self.bias,
            residual=residual,
            **self._options,
        )
        return out


class _FusedBottleneck(nn.Module):
    def __init__(self, block: Bottleneck, kernels: ModuleType) -> None:
        super().__init__()
        expand, depthwise, project = block.body
        self.expand = _Pointwise(expand, kernels)
        self.separable = _Separable(depthwise, project, kernels)
        self.residual = block.residual

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.separable(
            self.expand(features), features if self.residual else None
        )
        return out


class _FusedFusion(nn.Module):
    def __init__(self, unit: FusionUnit, kernels: ModuleType) -> None:
        super().__init__()
        depthwise, project = unit.context
        # The ReLU6 behind the sum.
        self.context = _Separable(depthwise, project, kernels, relu6=True)
        self.detail = _Pointwise(unit.detail, kernels)

    def forward(self, detail: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        context = F.interpolate(
            context, size=detail.shape[-2:], mode="bilinear", align_corners=False
        )
        out: torch.Tensor = self.context(context, self.detail(detail))
        return out


def _convolution(unit: nn.Module) -> nn.Conv2d:
    convolution = unit.get_submodule("0")
    assert isinstance(convolution, nn.Conv2d)
    return convolution


def _has_relu6(unit: nn.Module) -> bool:
    return any(isinstance(layer, nn.ReLU6) for layer in unit.children())


def _parameters(unit: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight, and bias as what sums are kept in."""
    convolution = _convolution(unit)
    assert convolution.bias is not None, "the network is not folded"
    return convolution.weight.detach(), convolution.bias.detach().float()
