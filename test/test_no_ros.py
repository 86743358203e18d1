"""The package without ROS: what is shown here runs in a process where ROS can't be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

WITHOUT_ROS = """
import importlib.abc
import sys

ROS = {
    "rclpy", "rcl_interfaces", "builtin_interfaces", "std_msgs", "sensor_msgs", "diagnostic_msgs",
    "geometry_msgs", "nav_msgs", "lifecycle_msgs", "std_srvs", "vision_msgs", "cv_bridge",
    "launch", "launch_ros", "ament_index_python", "rosidl_runtime_py", "rpyutils",
}


class NoRos(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ROS:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
        return None


for name in [name for name in sys.modules if name.partition(".")[0] in ROS]:
    del sys.modules[name]
sys.meta_path.insert(0, NoRos())
"""


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ROS + code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_block_of_these_tests_works():
    assert (
        run("""
try:
    import rclpy
except ModuleNotFoundError as error:
    print(error)
""").strip()
        == "rclpy is blocked"
    )


def test_every_module_outside_ros_imports_without_ros():
    imported = run("""
import importlib
import pkgutil
import contextnet_ros

for module in pkgutil.walk_packages(contextnet_ros.__path__, "contextnet_ros."):
    if not module.name.startswith("contextnet_ros.ros"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            # Optional: the package's extra `fast`, and what a CUDA build of torch brings.
            if error.name not in ("onnx", "onnxruntime", "openvino", "triton"):
                raise
        else:
            print(module.name)
""").split()
    for part in ("labels", "network", "inference.segmenter", "training", "tools.segment"):
        assert f"contextnet_ros.{part}" in imported


def test_every_test_is_found_or_skipped_without_ros(tmp_path):
    found = run(f"""
import pytest

options = ["--collect-only", "-q", "-o", "cache_dir={tmp_path}", "--rootdir", {str(ROOT)!r}]
sys.exit(pytest.main([*options, {str(ROOT / "test")!r}]))
""")
    assert "test/network/" in found
    assert "test/ros/test_node.py::" not in found


def test_bag_making_imports_without_ros():
    run("import contextnet_ros.ros.bag_make")


def test_an_image_is_segmented_without_ros(tmp_path):
    output = run(f"""
import cv2
import numpy as np
from contextnet_ros.labels import CAMVID
from contextnet_ros.network import ContextNet, WeightHeader, save_weights
from contextnet_ros.tools.segment import main

folder = {str(tmp_path)!r}
save_weights(folder + "/weights.safetensors", ContextNet(11), WeightHeader(table=CAMVID))
cv2.imwrite(folder + "/image.png", np.zeros((40, 56, 3), np.uint8))
code = main([folder + "/image.png", "-o", folder, "--model", folder + "/weights.safetensors"])
print(code, cv2.imread(folder + "/image_label.png", cv2.IMREAD_UNCHANGED).shape)
""")
    assert output.splitlines()[-1] == "0 (40, 56)"
