"""Settings from the environment: MILLRACE__GATEWAY__PORT=8480 stands for `gateway.port`.

Two underscores part the steps of the path; numbers count in lists (MILLRACE__TOKENS__0__NAME). A value is plain text or
JSON; lists and tables are JSON. Other MILLRACE_ variables are not settings.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from controlplane.settings.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "MILLRACE__"
_MOST_DIGITS = 6
"""Of a number in a path: a list of settings is not longer."""


class EnvironmentText(str):
    """The text of a variable that stands for one value; what type it means is for the field to say."""

    __slots__ = ("variable",)
    variable: str

    def __new__(cls, text: str, variable: str) -> Self:
        value = super().__new__(cls, text)
        value.variable = variable
        return value

    def readings(self) -> list[Any]:
        """What the text can mean, the likeliest first: 8480 may be a number or a name, "8480" in quotes is a text."""
        try:
            parsed = json.loads(self)
        except (ValueError, RecursionError):
            return [str(self)]
        if isinstance(parsed, str | list | dict | None):
            return [parsed, str(self)]
        return [str(self), parsed]


def merge(raw: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[str, str], list[Fault]]:
    """Put the overrides in `environ` over `raw`; return which variable gave each path, and what could not be placed.

    Whether a path exists in the tree is not judged here.
    """
    origins: dict[str, str] = {}
    faults: list[Fault] = []
    # Whole tables first, then the values inside them; numbers in counting order.
    for variable in sorted((name for name in environ if name.startswith(PREFIX)), key=_order):
        steps = _steps(variable)
        path = ".".join(steps)
        if not all(steps):
            message = "has an empty step: write MILLRACE__SECTION__SETTING, with two underscores between the steps"
            faults.append(Fault("", message, variable=variable))
            continue
        origins[path] = variable
        problem = _place(raw, steps, EnvironmentText(environ[variable], variable))
        if problem:
            faults.append(Fault(path, problem, variable=variable))
    return origins, faults


def _steps(variable: str) -> list[str]:
    return variable.removeprefix(PREFIX).lower().split("__")


def _order(variable: str) -> tuple[int, list[tuple[int, str]]]:
    steps = _steps(variable)
    return len(steps), [(int(step) if step.isdecimal() and len(step) <= _MOST_DIGITS else -1, step) for step in steps]


def _place(tree: dict[str, Any], steps: list[str], text: EnvironmentText) -> str | None:
    """Put `text` at its path, making the tables on the way; return why it could not be done."""
    at: Any = tree
    for number, step in enumerate(steps):
        here = ".".join(steps[:number])
        if isinstance(at, dict):
            key: Any = step
        elif not isinstance(at, list):
            return f"{here} is a single value, not a table"
        elif not step.isdecimal() or len(step) > _MOST_DIGITS or int(step) > len(at):
            return f"{here} is a list of {len(at)}: give a number up to {len(at)}, which appends"
        else:
            key = int(step)
            if key == len(at):
                at.append(None)
        if number == len(steps) - 1:
            at[key] = text
        else:
            at = _opened(at, key, numbered=steps[number + 1].isdecimal())
    return None


def _opened(holder: Any, key: Any, *, numbered: bool) -> Any:
    """What stands at `key`, ready to be added to: JSON text is parsed in place, nothing becomes a list or table."""
    value = holder.get(key) if isinstance(holder, dict) else holder[key]
    if isinstance(value, EnvironmentText):
        value = next((reading for reading in value.readings() if not isinstance(reading, str)), value)
    if value is None:
        value = [] if numbered else {}
    holder[key] = value
    return value
