"""Files that people write in YAML: values of the wanted type, or refused in one line."""

from __future__ import annotations

import difflib
import json
import math
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from contextnet_ros.files import UserError


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML's, which of two equal keys would take the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            # Those of a merge, <<, may be given anew.
            if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise yaml.YAMLError(
                        f"key {key.value!r} stands there twice, again in line {line}"
                    )
                seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def read_yaml(what: str, path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; raises UserError with `what` it is and what is wrong with it."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise UserError(f"{what} {path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{what} {path} is no UTF-8 ({error}): save it as that") from error
    # A date that is none is a ValueError.
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{what} {path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise UserError(f"{what} {path} holds no settings: give `key: value`, a line each")
    return data


def refuse_unknown(
    data: dict[str, Any], known: set[str], where: str, others: Mapping[str, str] | None = None
) -> None:
    """Raise UserError for a key that is not known, with the nearest one that is.

    `others`: keys that stand, or are called so, elsewhere, with what to give in their place.
    """
    others = {key: told for key, told in (others or {}).items() if key not in known}
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(str(key), [*known, *others], 1)
            hint = f"known: {', '.join(sorted(known))}"
            if near:
                hint = f"did you mean {others.get(near[0], repr(near[0]))}?"
            raise UserError(f"{where} key {key!r} is unknown; {hint}")


def as_setting(key: str, text: str) -> str:
    """What to write behind --set in a shell for a setting that is a text, as a path."""
    try:
        plain = yaml.safe_load(text) == text
    except yaml.YAMLError:
        plain = False
    return shlex.quote(f"{key}={text if plain else json.dumps(text)}")


def entries(key: str, value: Any) -> tuple[dict[str, Any], ...]:
    """A list of data sets; raises UserError if it is none."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(e, dict) for e in value):
        raise UserError(f"{key} is {value!r}; give a list of mappings with a key `data`")
    return tuple(dict(entry) for entry in value)


def texts(key: str, value: Any) -> tuple[str, ...]:
    """A text or a list of them; raises UserError if it is neither."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, (list, tuple)) or not all(isinstance(text, str) for text in found):
        raise UserError(f"{key} is {value!r}; give a list of names or paths")
    return tuple(found)


def pair(name: str, value: Any, kind: type) -> tuple[Any, Any]:
    """Two numbers; raises UserError if it is none."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise UserError(f"{name} is {value!r}; give two numbers, as [384, 512]")
    return number(name, value[0], kind), number(name, value[1], kind)


def number(name: str, value: Any, kind: type) -> Any:
    """`value` as an int or a finite float; raises UserError if it is none."""
    # YAML 1.1 takes 2e-3 for text, whatever its writer meant.
    try:
        result = None if isinstance(value, bool) else kind(value)
        if result != float(value) or not math.isfinite(result):
            result = None
    except (TypeError, ValueError, OverflowError):
        result = None
    if result is None:
        raise UserError(
            f"{name} is {value!r}; give {'a whole number' if kind is int else 'a number'}"
        )
    return result


def typed(
    data: dict[str, Any],
    defaults: Any,
    optional_texts: Collection[str] = (),
    optional_numbers: Collection[str] = (),
) -> dict[str, Any]:
    """`data` with every value of the type that its default has; those in `optional_*` may be None.

    Raises UserError for a value of another type.
    """
    result = dict(data)
    for key, value in data.items():
        default = getattr(defaults, key)
        optional = (*optional_texts, *optional_numbers)
        if value is None and key in optional:
            continue
        if isinstance(default, bool):
            # Of texts, 'no' and 'false' would count as true.
            if not isinstance(value, bool):
                raise UserError(f"{key} is {value!r}; give true or false, without quotes")
        elif isinstance(default, (int, float)) or key in optional_numbers:
            result[key] = number(key, value, int if isinstance(default, int) else float)
        elif not isinstance(value, str) and (isinstance(default, str) or key in optional_texts):
            raise UserError(f"{key} is {value!r}; give a text")
    return result
