"""Street scenes with exact labels, drawn from a seed: image and label by the same strokes."""

from __future__ import annotations

from contextnet_ros.training.scenes.render import (
    MIN_SIDE,
    SceneFrame,
    render_frame,
    render_sequence,
)

__all__ = ["MIN_SIDE", "SceneFrame", "render_frame", "render_sequence"]
