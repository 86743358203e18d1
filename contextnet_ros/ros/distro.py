"""What differs between the ROS 2 distributions in the environment that a process gets.

No ROS is imported here; what differs in rclpy is in compat.py.
"""

from __future__ import annotations

from collections.abc import Mapping

_DISCOVERY = (
    # Later distributions have it go before the range where it is set.
    "ROS_LOCALHOST_ONLY",
    "ROS_AUTOMATIC_DISCOVERY_RANGE",
    "ROS_STATIC_PEERS",
    "ROS_DISCOVERY_SERVER",
)


def on_this_machine_only(env: Mapping[str, str]) -> dict[str, str]:
    """`env` with discovery kept to this machine, in the way of the distribution it names."""
    kept = {name: value for name, value in env.items() if name not in _DISCOVERY}
    if env.get("ROS_DISTRO") == "humble":
        return {**kept, "ROS_LOCALHOST_ONLY": "1"}
    return {**kept, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
