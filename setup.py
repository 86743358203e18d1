"""Package for pip and for colcon (ament_python): one set-up serves both."""

import re
from pathlib import Path

from setuptools import Extension, find_packages, setup

PACKAGE = "contextnet_ros"
HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / PACKAGE / "__init__.py").read_text()).group(1)


def shared(folder: str) -> list[tuple[str, list[str]]]:
    """All files below `folder`, for the same place under share/contextnet_ros."""
    paths = [p for p in (HERE / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    return [
        (f"share/{PACKAGE}/{path.parent.relative_to(HERE)}", [str(path.relative_to(HERE))])
        for path in sorted(paths)
    ]


setup(
    name=PACKAGE,
    version=VERSION,
    description="ContextNet segmentation of camera streams for ROS 2",
    license="Apache-2.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    # Where it can't be compiled, NumPy does the same. No product is added to a sum before it is
    # rounded: else labels would depend on the processor.
    ext_modules=[
        Extension(
            # No package: what lies there is no module of Python's, and nobody should import it.
            f"{PACKAGE}.inference.compiled.upsample",
            [f"{PACKAGE}/inference/compiled/upsample.c"],
            extra_compile_args=["-O3", "-ffp-contract=off", "-fno-fast-math"],
            py_limited_api=True,
            optional=True,
        )
    ],
    python_requires=">=3.10",
    # Wide bounds: a distribution's NumPy 1.x and OpenCV serve as well as the newest.
    install_requires=[
        "numpy>=1.21",
        "opencv-python>=4.5",
        "PyYAML",
        "rosbags>=0.10.9",
        "safetensors>=0.4",
        "torch>=2.4",
        "tqdm",
    ],
    # `fast`: several times the speed on a CPU, and contextnet-export.
    # `test` tells colcon that pytest runs the tests: without it `colcon test` runs none.
    extras_require={
        "fast": ["onnx>=1.12", "onnxruntime>=1.12", "openvino>=2024.6"],
        "test": ["pytest>=6.2.5", "pytest-timeout"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        *shared("launch"),
        *shared("config"),
        *shared("models"),
        *shared("docs"),
    ],
    entry_points={
        "console_scripts": [
            "segment_node = contextnet_ros.commands:segment_node",
            "contextnet-bag-benchmark = contextnet_ros.commands:bag_benchmark",
            "contextnet-bag-make = contextnet_ros.commands:bag_make",
            "contextnet-bench = contextnet_ros.commands:bench",
            "contextnet-eval = contextnet_ros.commands:evaluate",
            "contextnet-export = contextnet_ros.commands:export",
            "contextnet-prune = contextnet_ros.commands:prune",
            "contextnet-segment = contextnet_ros.commands:segment",
            "contextnet-study = contextnet_ros.commands:study",
            "contextnet-train = contextnet_ros.commands:train",
        ]
    },
)
