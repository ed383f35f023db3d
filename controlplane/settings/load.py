"""Reading the settings: a TOML file, the environment over it, every fault at once."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from datetime import date, time
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from controlplane.settings.faults import Fault, InvalidSettings
from controlplane.settings.outline import KIND, adapter, flatten, outline
from controlplane.settings.overrides import EnvironmentText, merge
from controlplane.settings.rules import contradictions
from controlplane.settings.secret import ENVIRON
from controlplane.settings.suggest import unknown_key
from controlplane.settings.tree import Settings, default_primary

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

    from controlplane.settings.outline import Outline
    from controlplane.settings.section import Section

_AT_LINE = re.compile(r"at line (\d+)")
_MOST_SHOWN = 60
"""Characters of a refused value that a message repeats."""
_FAULTY: Any = object()
"""In place of a value that cannot be used; its fault is recorded."""


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of the file at `path` (None: no file) with the overrides in `environ` over them.

    Raises InvalidSettings with every fault that can be seen at once; nothing else.
    """
    try:
        text = path.read_bytes().decode() if path else ""
    except (OSError, ValueError) as error:
        reason = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"cannot be read: {error}"
        raise InvalidSettings((Fault("", f"the file {reason}"),), path) from error
    return parse_settings(text, environ, path)


def parse_settings(text: str, environ: Mapping[str, str], file: Path | None = None) -> Settings:
    """The settings in a TOML text; as `load_settings`."""
    syntax: Fault | None = None
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # beside TOMLDecodeError: overlong integers, endless nesting
        line = _AT_LINE.search(str(error))
        reason = str(error) or "nested too deeply"
        syntax, raw = Fault("", f"is not TOML: {reason}", int(line[1]) if line else None), {}
    origins, misplaced = merge(raw, environ)
    reader = _Reader(environ)
    values = reader.read(raw)
    broken = [] if syntax else reader.contradictions()
    lines = _lines(text) if (reader.faults or broken) and not syntax else {}
    found = [_placed(fault, origins, lines) for fault in reader.faults]
    if syntax:
        # Without the file, only the variables can be judged, each by itself.
        found = [syntax, *(fault for fault in found if fault.variable)]
    else:
        found += [*misplaced, *(_placed(fault, origins, lines) for fault in broken)]
    if found:
        raise InvalidSettings(tuple(sorted(found, key=_reading_order)), file)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:  # a file that was there a moment ago
        raise InvalidSettings((Fault("", f"changed while it was read: {error}"),), file) from error


def _lines(text: str) -> dict[str, int]:
    # Not at the top: nearly all settings have no faults.
    from controlplane.settings.toml_lines import key_lines

    return key_lines(text)


def _placed(fault: Fault, origins: Mapping[str, str], lines: Mapping[str, int]) -> Fault:
    """`fault` with the variable or the line that its value came from."""
    at = fault.path
    while at and at not in origins and at not in lines:
        at = at.rpartition(".")[0]
    if at in origins:
        return replace(fault, variable=origins[at])
    if at in lines:
        return replace(fault, line=lines[at])
    # What is missing was given by no one: its neighbours tell who should have.
    at = fault.path
    while at:
        for path, variable in origins.items():
            if path.startswith(f"{at}."):
                return replace(fault, variable=variable)
        at = at.rpartition(".")[0]
    return fault


def _reading_order(fault: Fault) -> tuple[bool, int, str]:
    return fault.variable is not None, fault.line or 0, fault.path


class _Reader:
    """Walks a raw tree beside the settings classes, and keeps what is sound and what is not."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.faults: list[Fault] = []
        self._sound: dict[str, Any] = {}
        self._context = {ENVIRON: environ}

    def read(self, raw: dict[str, Any]) -> dict[str, Any]:
        """The values of the whole tree; not to be used when `faults` are found."""
        return self._table(Settings, raw, "")

    def contradictions(self) -> list[Fault]:
        """The rules that the sound values break, whatever else is wrong."""
        return [Fault(path, message) for path, message in contradictions(self._sound)]

    def _fault(self, path: str, message: str) -> Any:
        self.faults.append(Fault(path, message))
        return _FAULTY

    def _table(self, table: type[Section], raw: dict[str, Any], path: str) -> dict[str, Any]:
        """The values of a table by key. Absent ones are left out, for the class to fill in."""
        prefix = f"{path}." if path else ""
        for key in raw:
            if key not in table.model_fields:
                self._fault(prefix + key, unknown_key(prefix + key, table.model_fields, Settings))
        values: dict[str, Any] = {}
        for name, field in table.model_fields.items():
            at, shape = prefix + name, outline(field)
            if name in raw:
                values[name] = self._field(table, name, raw[name], at, shape)
            elif shape.tables and not shape.many and not shape.optional and not shape.choice:
                # An absent table is read as an empty one, so that the rules see its defaults.
                values[name] = self._one(shape, {}, at)
            elif field.is_required():
                self._fault(at, f"is required: {field.description}")
            else:
                self._default(field, at)
        return values

    def _default(self, field: FieldInfo, path: str) -> None:
        """Let the rules see the value that an absent field takes."""
        if not field.default_factory_takes_validated_data:
            self._sound[path] = field.default
        elif "node.data_dir" in self._sound:
            self._sound |= flatten(default_primary(self._sound["node.data_dir"]), f"{path}.")

    def _field(self, table: type[Section], name: str, raw: Any, path: str, shape: Outline) -> Any:
        if not shape.tables:
            return self._plain(table, name, raw, path, shape)
        if isinstance(raw, EnvironmentText):
            raw = next((reading for reading in raw.readings() if not isinstance(reading, str)), raw)
        if shape.many:
            if not isinstance(raw, list) or not all(isinstance(item, dict) for item in raw):
                return self._fault(path, f"must be a list of tables: [[{path}]]; in the environment, a JSON list")
            return tuple(self._one(shape, item, f"{path}.{index}") for index, item in enumerate(raw))
        if raw is None and shape.optional:
            return None
        if not isinstance(raw, dict):
            return self._fault(path, f"must be a table: [{path}]; in the environment, a JSON object")
        return self._one(shape, raw, path)

    def _one(self, shape: Outline, raw: dict[str, Any], path: str) -> Any:
        if not shape.choice:
            return self._table(shape.tables[0], raw, path)
        kinds = shape.kinds()
        kind = raw.get(KIND, _FAULTY)
        if isinstance(kind, EnvironmentText):
            kind = next((reading for reading in kind.readings() if reading in list(kinds)), str(kind))
        if isinstance(kind, str) and kind in kinds:
            return self._kind(kinds, kind, raw, path)
        known = ", ".join(kinds)
        self._fault(
            f"{path}.{KIND}",
            f"is required: one of {known}" if kind is _FAULTY else f"must be one of {known}, not {_shown(kind)}",
        )
        # The kind is in doubt: a key that any kind has may be right.
        keys = {key for table in kinds.values() for key in table.model_fields}
        for key in raw:
            if key not in keys:
                self._fault(f"{path}.{key}", unknown_key(f"{path}.{key}", keys, Settings))
        return _FAULTY

    def _kind(self, kinds: dict[str, type[Section]], kind: str, raw: dict[str, Any], path: str) -> Any:
        fitting = dict(raw)
        for key in raw:
            owners = [other for other, table in kinds.items() if key in table.model_fields]
            if owners and kind not in owners:
                self._fault(
                    f"{path}.{key}", f'a store of kind "{kind}" has no such setting, only {_listed(owners)} has'
                )
                del fitting[key]
        return self._table(kinds[kind], fitting, path) | {KIND: kind}

    def _plain(self, table: type[Section], name: str, raw: Any, path: str, shape: Outline) -> Any:
        readings = raw.readings() if isinstance(raw, EnvironmentText) else [raw]
        errors: list[list[Fault]] = []
        for reading in readings:
            found, faults = self._validated(table, name, reading, path, shape)
            if not faults:
                self._sound[path] = found
                return found
            errors.append(faults)
        # Of two readings the last one is the more specific: JSON where it is a number, text where it is a list.
        self.faults += errors[0] if isinstance(readings[0], list | dict) else errors[-1]
        return _FAULTY

    def _validated(
        self, table: type[Section], name: str, value: Any, path: str, shape: Outline
    ) -> tuple[Any, list[Fault]]:
        field = table.model_fields[name]
        if isinstance(value, date | time) or (isinstance(value, bool) and field.annotation is not bool):
            return _FAULTY, [Fault(path, f"must not be {_type_name(value)}: {field.description}")]
        try:
            # By way of JSON, since strict validation of Python values takes no text for a path and no list for a tuple.
            text = json.dumps(value, default=str)
            return adapter(table, name).validate_json(text, strict=True, context=self._context), []
        except ValidationError as error:
            # A list is reported as too short when its items are refused: only the items are at fault.
            details = error.errors(include_url=False)
            deep = [detail for detail in details if detail["loc"]] or details
            return _FAULTY, [_translated(detail, path, shape) for detail in deep]
        except (ValueError, RecursionError):
            return _FAULTY, [Fault(path, f"is too long or nested too deeply: {field.description}")]


def _type_name(value: Any) -> str:
    return "true or false" if isinstance(value, bool) else "a date or time"


def _listed(kinds: list[str]) -> str:
    return " or ".join(f'"{kind}"' for kind in kinds)


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str) if isinstance(value, str | int | float | None) else "a list or table"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _translated(detail: ErrorDetails, path: str, shape: Outline) -> Fault:
    """A fault in our words. A secret's text is never repeated, nor one that our own types refused (see section)."""
    at = ".".join([path, *(str(step) for step in detail["loc"])])
    match detail["type"]:
        case "secret" | "setting":
            return Fault(at, detail["msg"])
        case "tuple_type" | "frozen_set_type":
            message = "must be a list; in the environment, a JSON list"
        case "json_invalid":
            return Fault(at, "holds bytes that are not UTF-8 text")
        case "string_pattern_mismatch":
            message = "must be a letter or digit, and up to 62 letters, digits, dots, hyphens or underscores"
        case "bool_type":
            message = "must be true or false"
        case _:
            message = detail["msg"].replace("Input should ", "must ")
    return Fault(at, message if shape.secret else f"{message}, not {_shown(detail['input'])}")
