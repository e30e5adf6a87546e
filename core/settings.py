"""Settings: a frozen dataclass each, the single source for widgets, command-line flags and TOML.

A field is declared once with `setting(...)`: default, range, step, unit, choices, tooltip. `fields_of` turns the class
into `FieldSpec` rows that a node or an argument parser reads; `from_mapping` builds it from a TOML table.
"""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

Config = TypeVar("Config")
MOST_SHOWN = 100
"""Characters of a wrong value that a sentence repeats."""
LONGEST_TEXT = 200
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that no file or metadata can hold, or that steer a terminal."""


@dataclass(frozen=True)
class FieldSpec:
    """One setting, described well enough to make a widget or a command-line flag of it."""

    name: str
    type: type
    """`int`, `float`, `bool` or `str`."""
    default: Any
    min: float | None
    max: float | None
    step: float | None
    choices: tuple[str, ...]
    """The accepted words of a `str` field; empty when any text will do."""
    unit: str
    tooltip: str
    place: str
    """On its node: "shown", "advanced" (folded away), or "text" (a line of the node's `settings`)."""


def setting(
    default: bool | int | float | str,
    tooltip: str,
    limits: tuple[float, ...] = (),
    *,
    choices: tuple[str, ...] = (),
    unit: str = "",
    place: str = "shown",
) -> Any:
    """A dataclass field that knows its range and its explanation; see `FieldSpec` for the meaning of each argument.

    `limits` are least and greatest value and, for the widget of a number, the step.
    """
    low, high, step = (*limits, None, None, None)[:3]
    row = dict(min=low, max=high, step=step, choices=choices, unit=unit, tooltip=tooltip, place=place)
    return dataclasses.field(default=default, metadata=row)


def fields_of(config_class: type) -> list[FieldSpec]:
    """The settings of a config class in declaration order."""
    return [
        FieldSpec(name=field.name, type=type(field.default), default=field.default, **field.metadata)
        for field in dataclasses.fields(config_class)
    ]


def check_fields(config: Any) -> None:
    """Refuses values of the wrong type, out of range or not among the choices (`ValueError` with a sentence)."""
    for spec in fields_of(type(config)):
        value = getattr(config, spec.name)
        accepted = (int, float) if spec.type is float else spec.type
        if not isinstance(value, accepted) or (isinstance(value, bool) and spec.type is not bool):
            raise ValueError(f"`{spec.name}` is {_shown(value)}; it has to be of type {spec.type.__name__}.")
        if spec.choices and value not in spec.choices:
            raise ValueError(f"`{spec.name}` is {_shown(value)}; choose one of {', '.join(spec.choices)}.")
        if isinstance(value, str) and (len(value) > LONGEST_TEXT or CONTROL.search(value)):
            asked = f"one line of at most {LONGEST_TEXT} characters of text"
            raise ValueError(f"`{spec.name}` is {_shown(value)}; it has to be {asked}.")
        if isinstance(value, int | float) and not isinstance(value, bool):
            low = -math.inf if spec.min is None else spec.min
            high = math.inf if spec.max is None else spec.max
            if not low <= value <= high:
                unit = f" {spec.unit}" if spec.unit else ""
                asked = f"it has to lie between {low:g} and {high:g}{unit}"
                raise ValueError(f"`{spec.name}` is {_shown(value)}{unit}; {asked}.")


def _shown(value: Any) -> str:
    """A value in a sentence, however long it is; Python refuses to write out numbers of thousands of digits."""
    if isinstance(value, int) and not -(10**30) < value < 10**30:
        return "a huge number"
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def from_mapping(config_class: type[Config], values: Mapping[str, Any]) -> Config:
    """A config from named values (a TOML table, widget values); `ValueError` names any setting it does not know."""
    known = {spec.name for spec in fields_of(config_class)}
    unknown = sorted(name if str(name).isprintable() else ascii(name) for name in map(str, set(values) - known))
    if unknown:
        named = ", ".join(unknown)[:MOST_SHOWN]
        raise ValueError(f"Unknown setting {named}; the settings are {', '.join(sorted(known))}.")
    return config_class(**values)


def parse_toml(text: str) -> dict[str, Any]:
    """The table in a TOML text.

    Raises:
        ValueError: it is not TOML; the sentence says where.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"not TOML: {str(error) or 'nested too deeply'}") from error


def to_mapping(config: Any) -> dict[str, Any]:
    """All settings of a config as plain values, ready for JSON or TOML."""
    return dataclasses.asdict(config)
