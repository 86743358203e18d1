"""What differs between the ROS 2 distributions, Humble to Kilted."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable
from typing import Any

from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

# Humble's rclpy hands no message info to callbacks; there, sequence gaps stay unseen.
HAS_MESSAGE_INFO = hasattr(Subscription, "CallbackType")

# From Iron on. On Humble, who is matched has to be asked for.
HAS_MATCHED_EVENTS = "matched" in inspect.signature(PublisherEventCallbacks).parameters


def image_callback(receive: Callable[[Any, dict[str, Any]], None]) -> Callable[..., None]:
    """A subscription callback that passes the message and its info, {} where there is none."""
    if HAS_MESSAGE_INFO:

        def with_info(message: Any, info: dict[str, Any]) -> None:
            receive(message, info)

        return with_info

    def without_info(message: Any) -> None:
        receive(message, {})

    return without_info


def publication(info: dict[str, Any], publishers: Callable[[], int]) -> tuple[Hashable, int] | None:
    """Publisher and sequence number of a message; None where they can't be told.

    Jazzy gives the number but not whose it is, which is enough while `publishers` counts one.
    """
    number = info.get("publication_sequence_number")
    if number is None:
        return None
    gid = info.get("publisher_gid")
    if gid:
        return bytes(gid["data"]), number
    return ("the only one", number) if publishers() == 1 else None


def no_events() -> PublisherEventCallbacks:
    """For a publisher whose peers nobody asks for: each kind of event costs every wake-up of the
    executor."""
    return PublisherEventCallbacks(use_default_callbacks=False)


class Matched:
    """How many peers a publisher or subscription is matched with.

    The middleware tells of every match and loss through `publisher_events` or
    `subscription_events`; on Humble, which doesn't, `count` asks `poll`.
    """

    def __init__(self, poll: Callable[[], int]) -> None:
        self._poll = poll
        self._count = 0

    def count(self) -> int:
        return self._count if HAS_MATCHED_EVENTS else self._poll()

    def reset(self) -> None:
        """Forget them, where the entity is gone."""
        self._count = 0

    def publisher_events(self) -> PublisherEventCallbacks:
        return PublisherEventCallbacks(**self._options())

    def subscription_events(self) -> SubscriptionEventCallbacks:
        return SubscriptionEventCallbacks(**self._options())

    def _options(self) -> dict[str, Any]:
        # Of incompatible peers the node's own report says more than rclpy's lines.
        silent: dict[str, Any] = {"use_default_callbacks": False}
        return {**silent, "matched": self._on_matched} if HAS_MATCHED_EVENTS else silent

    def _on_matched(self, event: Any) -> None:
        self._count = event.current_count
