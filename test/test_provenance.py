from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import torch

import contextnet_ros
from contextnet_ros import provenance as provenance_module
from contextnet_ros.provenance import device_name, provenance

SOURCE = Path(contextnet_ros.__file__).parent


def test_versions_are_those_of_the_imported_modules():
    versions = provenance()["versions"]
    assert versions["numpy"] == np.__version__
    assert versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert versions["contextnet_ros"] == contextnet_ros.__version__
    assert versions["python"] == platform.python_version()


def test_provenance_is_json_and_dated_now_in_utc():
    result = json.loads(json.dumps(provenance()))
    age = datetime.now(timezone.utc) - datetime.fromisoformat(result["date"])
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert result["device"] == device_name("cpu")
    assert result["cpus"] >= 1


def test_a_processor_without_a_name_is_called_as_its_board(monkeypatch, tmp_path):
    files = tmp_path / "cpuinfo", tmp_path / "model"
    patterns = [pattern for _, pattern in provenance_module._PROCESSOR_NAMES]
    monkeypatch.setattr(
        provenance_module, "_PROCESSOR_NAMES", tuple(zip(files, patterns, strict=True))
    )
    assert device_name() == (platform.processor() or platform.machine())
    files[1].write_text("Jetson\0")
    files[0].write_text("processor\t: 0\nBogoMIPS\t: 62.5\n")
    assert device_name() == "Jetson"
    files[0].write_text("processor\t: 0\nmodel name\t: A 7 CPU\n\nmodel name\t: B\n")
    assert device_name() == "A 7 CPU"


def test_a_containers_share_of_the_processors_counts(monkeypatch, tmp_path):
    share = tmp_path / "cpu.max"
    monkeypatch.setattr(provenance_module, "_CPU_SHARE", share)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert provenance_module.usable_cpus() == 8
    for text, count in (("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1)):
        share.write_text(f"{text}\n")
        assert provenance_module.usable_cpus() == count


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_of_a_gpu_is_its_name():
    assert provenance("cuda")["device"] == torch.cuda.get_device_name(0)


def commit_seen_from(folder: Path) -> str:
    code = "from contextnet_ros.provenance import provenance; print(provenance()['commit'])"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder
    ).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_the_checkout_that_tracks_the_package(tmp_path):
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    package = tmp_path / "contextnet_ros"
    package.mkdir()
    for name in ("__init__.py", "provenance.py"):
        shutil.copy(SOURCE / name, package / name)
    (tmp_path / "notes").write_text("of another project")
    git("init", "-q")
    git("add", "notes")
    git("commit", "-q", "-m", "another project")
    assert commit_seen_from(tmp_path) == "None"

    git("add", "contextnet_ros")
    git("commit", "-q", "-m", "the package")
    assert commit_seen_from(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "notes").write_text("changed")
    assert commit_seen_from(tmp_path) == git("rev-parse", "HEAD") + "-dirty"
