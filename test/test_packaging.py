"""An installed package finds its models and configuration, wherever pip put them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
from contextnet_ros.inference import list_models
print(json.dumps({
    "module": contextnet_ros.__file__,
    "config": str(resource_dir("config")),
    "recipes": sorted(p.name for p in (resource_dir("config") / "recipes").iterdir()),
    "launch": sorted(p.name for p in resource_dir("launch").iterdir()),
    "models": list(list_models()),
}))
"""


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
    (site,) = prefix.glob("lib/python*/site-packages")
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
    assert "segment.launch.py" in found["launch"]
    assert {"default", "generated-cn14"} <= set(found["models"])
    assert {p.name for p in (prefix / "bin").iterdir()} >= COMMANDS
    marker = prefix / "share" / "ament_index" / "resource_index" / "packages" / "contextnet_ros"
    assert marker.is_file()
