"""Segmenter: a host frame in, a label map and an overlay out. Knows no ROS."""

from contextnet_ros.inference.device import DeviceError
from contextnet_ros.inference.models import list_models, model_path
from contextnet_ros.inference.segmented_frame import OUTPUTS, SegmentedFrame
from contextnet_ros.inference.segmenter import Segmenter

__all__ = ["OUTPUTS", "DeviceError", "SegmentedFrame", "Segmenter", "list_models", "model_path"]
