"""The documents and the layouts name only what is there."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from contextnet_ros.files import resource_dir
from contextnet_ros.labels import CAMVID

ROOT = resource_dir("config").parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def page_id(path):
    return str(path.relative_to(ROOT))


def table_rows(heading):
    """Cells of the rows of the table below a heading of docs/node.md."""
    section = (ROOT / "docs" / "node.md").read_text().partition(f"## {heading}\n")[2]
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def topics():
    """Topics that docs/node.md has."""
    return {re.search(r"`(.+?)`", row[0]).group(1) for row in table_rows("Topics")}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def declared_arguments(launch_file):
    text = (ROOT / "launch" / launch_file).read_text()
    names = set(re.findall(r'DeclareLaunchArgument\(\s*"(\w+)"', text))
    options = re.search(r"^OPTIONS = \{(.+?)^\}", text, re.MULTILINE | re.DOTALL)
    return names | set(re.findall(r'^    "(\w+)":', options.group(1), re.M) if options else [])


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_launch_files_are_given_arguments_that_they_have(page):
    # A command goes on after a line break within backquotes or after a backslash.
    commands = re.findall(r"(\w+\.launch\.py)((?:\\?\s+[\w./-]+:=[^\s`]*)*)", page.read_text())
    for launch_file, given in commands:
        arguments = set(re.findall(r"(\w+):=", given))
        assert arguments <= declared_arguments(launch_file), launch_file


def test_the_arguments_of_each_launch_file_are_seen_by_the_test_above():
    assert {"image", "cameras", "autostart", "dds_profile"} <= declared_arguments(
        "segment.launch.py"
    )
    assert {"bag", "hz", "assert", "options"} <= declared_arguments("bag_benchmark.launch.py")
    assert {"camera", "config"} <= declared_arguments("view.launch.py")


def test_node_page_has_every_parameter_with_its_default():
    text = (ROOT / "config" / "segment.yaml").read_text()
    defaults = yaml.safe_load(text)["/**"]["ros__parameters"]
    written = {
        row[0].strip("`"): yaml.safe_load(row[1].strip("`")) for row in table_rows("Parameters")
    }
    assert written == defaults


def test_rviz_shows_topics_of_the_node():
    rviz = yaml.safe_load((ROOT / "config" / "segment.rviz").read_text())
    displays = rviz["Visualization Manager"]["Displays"]
    shown = {display["Topic"]["Value"]: display for display in displays}
    assert {"/image", "/segmenter/overlay", "/segmenter/label"} <= set(shown)
    assert set(shown) <= topics()
    # The node computes it only while somebody subscribes.
    assert not shown["/segmenter/confidence"]["Enabled"]
    for topic, display in shown.items():
        asked = display["Topic"]["Reliability Policy"]
        assert asked == ("Best Effort" if topic == "/image" else "Reliable")


def test_foxglove_shows_topics_of_the_node_in_panels_that_are_laid_out():
    layout = json.loads((ROOT / "config" / "segment.foxglove.json").read_text())
    panels = layout["configById"]
    shown = {p.get("topicToRender") or p["imageMode"]["imageTopic"] for p in panels.values()}
    assert shown <= topics()

    def laid_out(part):
        return (
            [part] if isinstance(part, str) else laid_out(part["first"]) + laid_out(part["second"])
        )

    assert sorted(laid_out(layout["layout"])) == sorted(panels)


def test_nav2_page_gives_a_cost_to_classes_that_the_shipped_weights_have():
    text = (ROOT / "docs" / "nav2.md").read_text()
    settings = yaml.safe_load(re.search(r"```yaml\n(.+?)```", text, re.DOTALL).group(1))
    layer = settings["local_costmap"]["local_costmap"]["ros__parameters"]["semantic_layer"]
    source = layer[layer["observation_sources"]]
    listed = [name for kind in source["class_types"] for name in source[kind]["classes"]]
    assert set(listed) == set(CAMVID.names) - {"sky"}
    assert len(listed) == len(set(listed))
    assert {
        source[f"{kind}_topic"] for kind in ("segmentation", "confidence", "labels")
    } <= topics()
