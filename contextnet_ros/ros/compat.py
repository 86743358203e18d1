"""What differs between the ROS 2 distributions, Humble to Kilted."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from rclpy.subscription import Subscription

# Humble's rclpy hands no message info to callbacks; there, sequence gaps stay unseen.
HAS_MESSAGE_INFO = hasattr(Subscription, "CallbackType")


def image_callback(receive: Callable[[Any, dict[str, Any]], None]) -> Callable[..., None]:
    """A subscription callback that passes the message and its info, {} where there is none."""
    if HAS_MESSAGE_INFO:

        def with_info(message: Any, info: dict[str, Any]) -> None:
            receive(message, info)

        return with_info

    def without_info(message: Any) -> None:
        receive(message, {})

    return without_info


def publication(info: dict[str, Any], publishers: int) -> tuple[Hashable, int] | None:
    """Publisher and sequence number of a message; None where they can't be told.

    Jazzy gives the number but not whose it is, which is enough while there is one publisher.
    """
    number = info.get("publication_sequence_number")
    if number is None:
        return None
    gid = info.get("publisher_gid")
    if gid:
        return bytes(gid["data"]), number
    return ("the only one", number) if publishers == 1 else None
