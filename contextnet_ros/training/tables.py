"""Class tables of users, and how the classes of one table become those of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contextnet_ros.files import UserError
from contextnet_ros.labels import (
    CAMVID,
    CAMVID_OF_CITYSCAPES,
    CITYSCAPES,
    IGNORE_ID,
    TABLES,
    ClassTable,
    Pixels,
)
from contextnet_ros.training.recipe_values import read_yaml, refuse_unknown


@dataclass(frozen=True)
class LabelFormat:
    """A class table, and the class id (or IGNORE_ID) of each value that its label files hold."""

    table: ClassTable
    ids: dict[int, int]


def load_table(path: Path) -> LabelFormat:
    """The class table in a YAML file; raises UserError naming what is wrong with it.

    `name`, and `classes` as a list of `{name, color: [R, G, B]}`, each with the `value` (or values)
    that label files hold for it, else its place in the list; `ignore` lists the values of pixels
    that belong to no class, 255 unless given.
    """
    data = read_yaml("class table", path)
    try:
        return _parse(data)
    except KeyError as error:
        raise UserError(f"class table {path} lacks {error}") from error
    except (UserError, TypeError, ValueError) as error:
        raise UserError(f"class table {path} can't be used: {error}") from error


def _parse(data: dict[str, Any]) -> LabelFormat:
    refuse_unknown(data, {"name", "classes", "ignore"}, "its")
    entries = data["classes"]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("give `classes` as a list of {name: ..., color: [R, G, B]}")
    for entry in entries:
        refuse_unknown(entry, {"name", "color", "value"}, "class")
        if not isinstance(entry["name"], str):
            # YAML 1.1 takes no, off and 1 for something else.
            raise ValueError(f"class name {entry['name']!r} is no text: put it in quotes")
        color = entry["color"]
        if not isinstance(color, list) or [type(part) for part in color] != [int] * 3:
            raise ValueError(f"color of {entry['name']!r} is {color!r}: give [R, G, B]")
    table = ClassTable.from_dict(
        {
            "name": data["name"],
            "names": [entry["name"] for entry in entries],
            "palette": [entry["color"] for entry in entries],
        }
    )
    for place, colour in enumerate(table.palette):
        first = table.palette.index(colour)
        if first != place:
            raise ValueError(
                f"{table.names[first]!r} and {table.names[place]!r} have one colour, "
                f"{list(colour)}: give each its own"
            )
    ids: dict[int, int] = {}
    claims = [(entry.get("value", place), place) for place, entry in enumerate(entries)]
    claims.append((data.get("ignore", [IGNORE_ID]), IGNORE_ID))
    for values, class_id in claims:
        for value in values if isinstance(values, list) else [values]:
            if type(value) is not int or not 0 <= value <= 255:
                raise ValueError(f"label value {value!r} is no byte")
            if value in ids:
                raise ValueError(f"label value {value} is claimed twice")
            ids[value] = class_id
    return LabelFormat(table, ids)


def find_table(name_or_path: str) -> ClassTable:
    """A class table by its name, or by the path of a YAML file; raises UserError."""
    if name_or_path in TABLES:
        return TABLES[name_or_path]
    if Path(name_or_path).suffix in (".yaml", ".yml"):
        return load_table(Path(name_or_path)).table
    raise UserError(
        f"classes {name_or_path!r} is unknown; choose from {sorted(TABLES)}, or give a YAML file"
    )


def told_apart(table: ClassTable, other: ClassTable) -> str:
    """A class table as an error tells it from another, which may have its name."""
    more = ""
    if table.name == other.name:
        differ = table.names if table.names != other.names else map(str, table.palette)
        more = f" ({', '.join(differ)})"
    return f"{table.num_classes} {table.name} classes{more}"


def class_lookup(
    source: ClassTable, target: ClassTable, given: Mapping[str, str | None] | None = None
) -> Pixels:
    """(256,) uint8: id in `target` of an id in `source`; IGNORE_ID for what has none.

    `given` names the target class, or None for "ignored", of a source class; classes of one name,
    and Cityscapes' in CamVid, need none. Raises UserError for a class that has no answer, since
    silence would train on less than the data holds.
    """
    known = CAMVID_OF_CITYSCAPES if (source, target) == (CITYSCAPES, CAMVID) else {}
    given = given or {}
    for name in given:
        if name not in source.names:
            raise UserError(f"map names {name!r}, which is no class of {source.name}")
    lookup = np.full(256, IGNORE_ID, np.uint8)
    for class_id, name in enumerate(source.names):
        answer = given[name] if name in given else known.get(name, name)
        if answer is None:
            continue
        if answer not in target.names:
            raise UserError(
                f"class {name!r} of {source.name} has no match in {target.name} ({answer!r} is "
                f"none of its classes): give `map: {{{name}: CLASS}}` in a recipe's entry, or "
                "null to ignore it; scores need weights of the data's own classes"
            )
        lookup[class_id] = target.names.index(answer)
    return lookup
