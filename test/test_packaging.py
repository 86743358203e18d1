"""An installed package finds its models and configuration, wherever pip put them."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from contextnet_ros import commands
from contextnet_ros.files import resource_dir
from contextnet_ros.inference import list_models

ROOT = resource_dir("config").parent
COMMANDS = {
    "segment_node",
    "contextnet-bag-benchmark",
    "contextnet-bag-make",
    "contextnet-bench",
    "contextnet-eval",
    "contextnet-export",
    "contextnet-prune",
    "contextnet-segment",
    "contextnet-study",
    "contextnet-train",
}
PROBE = """
import json, contextnet_ros
from contextnet_ros.files import resource_dir
from contextnet_ros.inference import list_models
from contextnet_ros.inference.compiled_upsample import COMPILED
print(json.dumps({
    "module": contextnet_ros.__file__,
    "config": str(resource_dir("config")),
    "recipes": sorted(p.name for p in (resource_dir("config") / "recipes").iterdir()),
    "models": list(list_models()),
    "compiled": COMPILED,
}))
"""


# Modules that are no ROS package: their rosdep key, or None where there is none that works on every
# platform (README tells how to install those).
PYTHON_KEYS = {
    "cv2": "python3-opencv",
    "numpy": "python3-numpy",
    "tqdm": "python3-tqdm",
    "yaml": "python3-yaml",
    "onnx": None,
    "onnxruntime": None,
    "openvino": None,
    "rosbags": None,
    "safetensors": None,
    "torch": None,
    "triton": None,
}

# The last releases with a build for Python 3.10.
NEWEST_ON_3_10 = {"hypothesis": "6.168.5", "onnxruntime": "1.23.2", "triton": "3.8.0"}


def test_every_command_starts_where_a_missing_package_is_told(tmp_path: Path) -> None:
    declared = dict(
        line.strip().strip('",').split(" = ")
        for line in (ROOT / "setup.py").read_text().splitlines()
        if " = contextnet_ros.commands:" in line
    )
    assert set(declared) == COMMANDS
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(name='torch')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    for name in ("contextnet-segment", "contextnet-train"):
        command = declared[name].partition(":")[2]
        start = f"import sys; from contextnet_ros.commands import {command} as c; sys.exit(c())"
        done = subprocess.run(
            [sys.executable, "-c", start], env=environment, capture_output=True, text=True
        )
        assert f"{name}: error: torch is not installed for" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert done.returncode == 1
    for place in declared.values():
        command = getattr(commands, place.partition(":")[2])
        module = importlib.util.find_spec(f"contextnet_ros.{command.args[0]}")
        assert module is not None


def files_below(folder: Path) -> set[Path]:
    paths = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {path.relative_to(folder) for path in paths}


def imported_modules(folder: Path) -> set[str]:
    """Top-level modules that are imported anywhere below, also where only a function needs them."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"contextnet_ros"}


def test_package_xml_names_every_dependency_that_has_a_rosdep_key() -> None:
    imported = imported_modules(ROOT / "contextnet_ros") | imported_modules(ROOT / "launch")
    needed = {PYTHON_KEYS.get(module, module) for module in imported} - {None}
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    named = {e.text for e in package.iter() if e.tag in ("depend", "exec_depend")}
    assert needed - named == set()
    # What is started, or spoken by rclpy's lifecycle nodes, and not imported.
    assert named - needed == {"lifecycle_msgs", "ros2launch", "rviz2"}


def pins_on(python: str) -> list[Requirement]:
    """What `make test` pins under this Python on Linux, torch excepted."""
    system = {"platform_system": "Linux", "platform_machine": "x86_64"}
    environment = {**system, "python_version": python, "python_full_version": f"{python}.12"}
    lines = []
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines += (ROOT / name).read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [pin for pin in pins if pin.marker is None or pin.marker.evaluate(environment)]


def test_every_python_that_make_takes_gets_one_version_of_each_package() -> None:
    named = {pin.name for pin in pins_on("3.11")}
    for python in ("3.10", "3.11", "3.12", "3.13"):
        pins = pins_on(python)
        assert sorted(pin.name for pin in pins) == sorted(named), python
        assert all(str(pin.specifier).startswith("==") for pin in pins), python


def test_pins_for_python_3_10_exist_there() -> None:
    pinned = {pin.name: str(pin.specifier).removeprefix("==") for pin in pins_on("3.10")}
    for name, newest in NEWEST_ON_3_10.items():
        assert Version(pinned[name]) <= Version(newest), name


def test_colcon_finds_that_pytest_runs_the_tests() -> None:
    """`colcon test` runs none where no extra named test, tests or testing has pytest."""
    (extras,) = (
        ast.literal_eval(node.value)
        for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(node, ast.keyword) and node.arg == "extras_require"
    )
    assert "pytest" in {Requirement(line).name for line in extras["test"]}
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    named = {e.text for e in package.iter("test_depend")}
    # pyproject.toml sets a timeout, which needs the plugin.
    assert {"launch_pytest", "python3-pytest", "python3-pytest-timeout"} <= named


def test_no_plugin_that_ends_the_session_at_a_skipped_file_is_loaded(
    request: pytest.FixtureRequest,
) -> None:
    """launch_testing and launch_testing_ros do, under whatever name they are registered."""
    modules = {getattr(p, "__name__", "") for p in request.config.pluginmanager.get_plugins()}
    assert not [name for name in modules if name.startswith("launch_testing")]


def test_this_installation_finds_models_and_config() -> None:
    """`make` installs with `pip install -e .`."""
    assert (resource_dir("config") / "segment.yaml").is_file()
    assert {"default", "generated-cn14"} <= set(list_models())


@pytest.mark.slow
def test_pip_install_finds_models_and_config(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", reason="building the package needs setuptools")
    prefix = tmp_path / "prefix"
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--ignore-installed"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--prefix", str(prefix), str(ROOT)],
        check=True,
        capture_output=True,
        timeout=200,
    )
    (module,) = prefix.rglob("contextnet_ros/files.py")
    site = module.parents[1]
    # Ubuntu 22.04 installs below PREFIX/local.
    prefix = site.parents[2]
    found = json.loads(
        subprocess.run(
            [sys.executable, "-c", PROBE],
            env={**os.environ, "PYTHONPATH": str(site)},
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
            timeout=100,
        ).stdout
    )
    assert found["module"].startswith(str(site)), "the installed copy has to be the one that ran"
    assert found["config"] == str(prefix / "share" / "contextnet_ros" / "config")
    assert found["recipes"] == sorted(p.name for p in (ROOT / "config" / "recipes").iterdir())
    # Else nobody would notice that every label comes from NumPy.
    assert found["compiled"] == (shutil.which("cc") is not None)
    shared = prefix / "share" / "contextnet_ros"
    for folder in ("config", "docs", "launch", "models"):
        assert files_below(shared / folder) == files_below(ROOT / folder), folder
    assert (shared / "package.xml").is_file()
    assert {"default", "generated-cn14"} <= set(found["models"])
    assert {p.name for p in (prefix / "bin").iterdir()} >= COMMANDS
    marker = prefix / "share" / "ament_index" / "resource_index" / "packages" / "contextnet_ros"
    assert marker.is_file()


@pytest.mark.parametrize("distribution", ["jazzy", None])
def test_make_leaves_a_sourced_ros_out(distribution: str | None, tmp_path: Path) -> None:
    probe = tmp_path / "probe.mk"
    probe.write_text("probe:\n\t@env\n")
    sourced = {"PYTHONPATH": "/opt/ros/site-packages", "LD_LIBRARY_PATH": "/opt/ros/lib"}
    env = {**os.environ, **sourced, **({"ROS_DISTRO": distribution} if distribution else {})}
    if distribution is None:
        env.pop("ROS_DISTRO", None)
    command = ["make", "--no-print-directory", "-f", "Makefile", "-f", str(probe), "probe"]
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    seen = {line.partition("=")[0] for line in ran.stdout.splitlines()}
    assert not {"ROS_DISTRO", *(sourced if distribution else ())} & seen
    assert distribution or sourced.keys() <= seen
