"""A managed node whose transitions are somebody else's methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn


class Steps(Protocol):
    """What each transition does; whatever is raised undoes the transition."""

    def configure(self) -> None: ...

    def activate(self) -> None: ...

    def deactivate(self) -> None: ...

    def cleanup(self) -> None:
        """Free everything, from any state."""

    def shutdown(self) -> None:
        """Free everything, from any state, for good."""

    def failed(self, transition: str, error: Exception) -> None:
        """Told of what a step raised, which rclpy would swallow."""


# rclpy's nodes come without type information.
class ManagedNode(LifecycleNode):  # type: ignore[misc]
    """Runs `steps`, and nothing else, so that no name meets one of rclpy's private ones."""

    def __init__(self, name: str, steps: Steps) -> None:
        self.steps = steps
        super().__init__(name)

    def on_configure(self, _state: Any) -> TransitionCallbackReturn:
        return self._do("configure", self.steps.configure)

    def on_activate(self, _state: Any) -> TransitionCallbackReturn:
        return self._do("activate", self.steps.activate)

    def on_deactivate(self, _state: Any) -> TransitionCallbackReturn:
        return self._do("deactivate", self.steps.deactivate)

    def on_cleanup(self, _state: Any) -> TransitionCallbackReturn:
        return self._do("cleanup", self.steps.cleanup)

    def on_shutdown(self, _state: Any) -> TransitionCallbackReturn:
        return self._do("shutdown", self.steps.shutdown)

    def on_error(self, _state: Any) -> TransitionCallbackReturn:
        return self._do("error", self.steps.cleanup)

    def _do(self, transition: str, step: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            step()
        except Exception as error:
            self.steps.failed(transition, error)
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS
