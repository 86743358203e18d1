"""Street scenes with exact labels, drawn from a seed: image and label by the same strokes."""

from __future__ import annotations

from contextnet_ros.training.scenes.render import SceneFrame, render_frame, render_sequence

__all__ = ["SceneFrame", "render_frame", "render_sequence"]
