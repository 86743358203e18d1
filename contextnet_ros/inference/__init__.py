"""Segmenter: a host frame in, a label map and an overlay out. Knows no ROS."""

from contextnet_ros.inference.backend import DeviceError
from contextnet_ros.inference.segmenter import (
    OUTPUTS,
    SegmentedFrame,
    Segmenter,
    list_models,
    model_path,
)

__all__ = ["DeviceError", "OUTPUTS", "SegmentedFrame", "Segmenter", "list_models", "model_path"]
