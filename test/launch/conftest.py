"""Fixtures for tests of launch files."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def packages_in(monkeypatch):
    """Let a folder's packages be found before all others."""

    def put(prefix):
        others = os.environ.get("AMENT_PREFIX_PATH", "")
        monkeypatch.setenv("AMENT_PREFIX_PATH", f"{prefix}{os.pathsep}{others}")

    return put
