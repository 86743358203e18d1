"""docs/node.md against the running node, and docs/consumer.md's consumer on its topics."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: this test needs ROS 2")

from rcl_interfaces.srv import DescribeParameters, ListParameters
from ros_harness import REPOSITORY, next_domain, street

pytestmark = pytest.mark.ros


def table_rows(heading):
    section = (REPOSITORY / "docs" / "node.md").read_text().partition(f"## {heading}\n")[2]
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]


@pytest.fixture(scope="module")
def peer(start_node, open_peer):
    domain = next_domain()
    start_node(domain).wait_ready()
    return open_peer(domain).wait_for_node()


def ask(peer, kind, service, **fields):
    client = peer.node.create_client(kind, f"/segmenter/{service}")
    peer.spin_until(client.service_is_ready)
    answer = client.call_async(kind.Request(**fields))
    peer.spin_until(answer.done)
    return answer.result()


def test_the_page_has_the_topics_that_the_node_has_with_their_types(peer):
    written = {}
    for first, kind, _ in table_rows("Topics"):
        package, name = kind.split("/")
        written[re.search(r"`(.+?)`", first).group(1)] = f"{package}/msg/{name}"
    # Only with image_transport: compressed, and only where vision_msgs is installed.
    del written["/image/compressed"]
    try:
        import vision_msgs.msg  # noqa: F401
    except ImportError:
        del written["/segmenter/label_info"]
    found = peer.node.get_publisher_names_and_types_by_node("segmenter", "/")
    found += peer.node.get_subscriber_names_and_types_by_node("segmenter", "/")
    ours = {name: kinds[0] for name, kinds in found}
    for standard in ("/parameter_events", "/rosout", "/clock", "/segmenter/transition_event"):
        ours.pop(standard, None)
    assert ours == written


def test_the_page_has_the_services_of_the_node(peer):
    text = (REPOSITORY / "docs" / "node.md").read_text().partition("## Services\n")[2]
    written = set(re.findall(r"`(/segmenter/\w+)`", text.partition("\n## ")[0]))
    found = {name for name, _ in peer.node.get_service_names_and_types_by_node("segmenter", "/")}
    assert written <= found
    assert "/segmenter/enable" in written


def test_the_page_says_which_parameters_may_change_while_the_node_runs(peer):
    rows = table_rows("Parameters")
    names = [row[0].strip("`") for row in rows]
    described = ask(peer, DescribeParameters, "describe_parameters", names=names).descriptors
    changeable = {d.name for d in described if d.type != 0 and not d.read_only}
    assert changeable == {row[0].strip("`") for row in rows if row[2] == "yes"}
    # The class table's are named below the table; the others belong to rclpy.
    listed = ask(peer, ListParameters, "list_parameters").result.names
    ours = {n for n in listed if not n.startswith(("qos_overrides.", "use_sim_time", "start_type"))}
    assert ours == {*names, "class_table", "class_names", "class_colors"}


def test_the_consumer_of_the_page_reads_labels_of_their_own_images(peer):
    page = (REPOSITORY / "docs" / "consumer.md").read_text()
    names: dict = {}
    exec(re.search(r"```python\n(.+?)```", page, re.DOTALL).group(1), names)
    consumer = names["RoadShare"](context=peer.context)
    shares = []
    consumer.on_share = lambda image, share: shares.append((image.header.frame_id, share))
    peer.executor.add_node(consumer)
    try:
        peer.spin_until(lambda: bool(consumer.ids))
        peer.spin_until(lambda: peer.camera.get_subscription_count() == 2)
        pixels = street(96, 160)
        label = peer.ask(peer.message(pixels, frame_id="asked"))
        peer.spin_until(lambda: bool(shares))
        values = np.frombuffer(label.data, np.uint8)
        expected = np.mean(values[values != 255] == consumer.ids["road"])
        assert shares[-1] == ("asked", pytest.approx(expected))
    finally:
        peer.executor.remove_node(consumer)
        consumer.destroy_node()
