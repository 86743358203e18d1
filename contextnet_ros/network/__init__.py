"""The network, its folding for inference, and the weight files."""

from contextnet_ros.network.contextnet import ContextNet, count_parameters
from contextnet_ros.network.fold import fold_batch_norm
from contextnet_ros.network.size import NetworkSize
from contextnet_ros.network.variants import VARIANTS
from contextnet_ros.network.weights import (
    WeightFileError,
    WeightHeader,
    load_weights,
    read_header,
    save_weights,
)

__all__ = [
    "VARIANTS",
    "ContextNet",
    "NetworkSize",
    "WeightFileError",
    "WeightHeader",
    "count_parameters",
    "fold_batch_norm",
    "load_weights",
    "read_header",
    "save_weights",
]
