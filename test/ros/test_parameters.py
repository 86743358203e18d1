"""The node's parameters: one place for defaults, and wrong values refused in one line."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: the node's tests need ROS 2")

import rclpy
from rclpy.parameter import Parameter
from ros_harness import next_domain
from sensor_msgs.msg import Image

from contextnet_ros.files import UserError
from contextnet_ros.ros import parameters, qos

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def context():
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=next_domain())
    yield context
    context.shutdown()


@pytest.fixture
def make_node(context):
    nodes = []

    def make(**overrides):
        given = [Parameter(name, value=value) for name, value in overrides.items()]
        nodes.append(rclpy.create_node("n", context=context, parameter_overrides=given))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


def test_the_file_of_defaults_and_the_declared_parameters_are_the_same_set():
    path = parameters.resource_dir("config") / parameters.DEFAULTS_FILE
    written = parameters.yaml.safe_load(path.read_text())["/**"]["ros__parameters"]
    assert set(written) == {spec.name for spec in parameters.SPECS}
    assert parameters.read_defaults() == written


def test_every_parameter_is_declared_with_its_default_description_and_range(make_node):
    node = make_node()
    parameters.declare(node)
    for spec in parameters.SPECS:
        default = parameters.read_defaults()[spec.name]
        assert node.get_parameter(spec.name).value == default
        descriptor = node.describe_parameter(spec.name)
        assert descriptor.description == spec.description
        assert descriptor.read_only == spec.read_only
        if isinstance(default, (str, list)):
            assert descriptor.additional_constraints
        elif not isinstance(default, bool):
            (limits,) = [*descriptor.floating_point_range, *descriptor.integer_range]
            assert limits.from_value <= default <= limits.to_value


def test_a_parameter_that_is_none_is_told_with_the_nearest_that_is(make_node, capfd):
    node = make_node(modle="default", **{"qos_overrides./n/label.publisher.depth": 3})
    parameters.declare(node)
    told = capfd.readouterr().err
    assert "parameter modle is unknown (did you mean model?): it is ignored" in told
    assert "qos_overrides" not in told
    with pytest.raises(UserError, match=r"max_rate is unknown \(did you mean max_rate_hz"):
        parameters.refuse_unknown("max_rate")
    parameters.refuse_unknown("use_sim_time")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("overlay_opacity", 1.5, ["1.5", "from 0.0 to 1.0"]),
        ("overlay_opacity", -0.1, ["-0.1", "from 0.0 to 1.0"]),
        ("overlay_opacity", float("nan"), ["nan", "from 0.0 to 1.0"]),
        ("overlay_opacity", 1, ["'1'", "decimal point"]),
        ("log_period_s", float("inf"), ["inf", "from 0.0"]),
        ("log_period_s", "often", ["'often'", "decimal point"]),
        ("warm_up_width", 0, ["0", "an integer from 1 to 16384"]),
        ("warm_up_height", 20000, ["20000", "an integer from 1 to 16384"]),
        ("model", 3, ["'3'", "a text"]),
    ],
)
def test_a_wrong_value_at_the_start_is_refused_in_one_line(make_node, name, value, said):
    with pytest.raises(UserError) as caught:
        parameters.declare(make_node(**{name: value}))
    for text in [name, *said]:
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), 1, "half"])
def test_a_wrong_opacity_is_refused_while_it_runs_and_the_old_one_kept(make_node, value):
    node = make_node()
    parameters.declare(node)
    before = node.get_parameter("overlay_opacity").value
    (result,) = node.set_parameters([Parameter("overlay_opacity", value=value)])
    assert not result.successful
    assert result.reason
    assert node.get_parameter("overlay_opacity").value == before


def test_an_override_that_no_topic_took_up_is_told(make_node, capfd):
    used = "qos_overrides./image.subscription.depth"
    node = make_node(**{used: 3, "qos_overrides./imagee.subscription.depth": 3})
    kind = qos.sensor_data()
    qos.create(node.create_subscription, Image, "/image", lambda _: None, kind)
    parameters.warn_of_unused_overrides(node)
    told = capfd.readouterr().err
    assert "parameter qos_overrides./imagee.subscription.depth is ignored" in told
    assert used not in told
