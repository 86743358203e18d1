"""The weight files in `models/`, by their names."""

from __future__ import annotations

import os
from pathlib import Path

from contextnet_ros.files import UserError, resource_dir


def list_models() -> list[str]:
    """Return the names of the models in `models/`, sorted."""
    return sorted(path.stem for path in resource_dir("models").glob("*.safetensors"))


def model_path(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the weight file of a shipped model's name, or the path itself.

    What has a folder or the ending `.safetensors` is a path. Raises UserError for an unknown name.
    """
    # No shell looks behind the := of ROS.
    path = Path(name_or_path).expanduser()
    if path.suffix or len(path.parts) > 1:
        return path
    shipped = resource_dir("models") / f"{path}.safetensors"
    if not shipped.is_file():
        known = ", ".join(list_models()) or "none"
        raise UserError(
            f"model {str(path)!r} is unknown: choose one of those shipped ({known}) or give the "
            "path of a .safetensors file"
        )
    return shipped
