"""The settings in force, for `doctor` and the logs: plain values, secrets only by where they come from."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

from controlplane.settings.secret import Secret
from controlplane.settings.section import Section


def describe(section: Section) -> dict[str, Any]:
    """`section` as values that JSON can hold, in the order of the tree."""
    return {name: describe_value(getattr(section, name)) for name in type(section).model_fields}


def describe_value(value: Any) -> Any:
    """One value, as JSON can hold it."""
    match value:
        case Section():
            return describe(value)
        case tuple():
            return [describe_value(item) for item in value]
        case frozenset():
            return sorted(describe_value(item) for item in value)
        case Enum():
            return value.value
        case Path() | Secret():
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case _:
            raise TypeError(f"a setting of type {type(value).__name__} has no description yet")
