"""The filter `controlplane_toml`: a settings tree as TOML."""

from __future__ import annotations

import json
import re

SECRETS = {"secret", "secret_key", "password", "credentials"}
"""Tables that read better on one line: where a secret is to be found."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")


class FilterModule:
    """Jinja filters of the role controlplane."""

    def filters(self) -> dict:
        return {"controlplane_toml": to_toml}


def to_toml(tree: dict) -> str:
    """Tables as `[a.b]`, lists of tables inline; nothing is written for null, TOML has none."""
    return "\n".join(_table((), tree)).lstrip("\n") + "\n"


def _table(path: tuple[str, ...], table: dict) -> list[str]:
    lines = [f"{_key(name)} = {_value(value)}" for name, value in table.items() if _is_line(name, value)]
    if path and (lines or not table):
        lines = ["", f"[{'.'.join(map(_key, path))}]", *lines]
    for name, value in table.items():
        if isinstance(value, dict) and not _is_line(name, value):
            lines += _table((*path, str(name)), value)
    return lines


def _is_line(name: str, value: object) -> bool:
    return value is not None and (not isinstance(value, dict) or name in SECRETS)


def _key(name: object) -> str:
    text = str(name)
    return text if _BARE.fullmatch(text) else _string(text)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, except that TOML wants DEL escaped too.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value + 0)
    if isinstance(value, str):
        return _string(str(value))
    if isinstance(value, dict):
        pairs = [f"{_key(name)} = {_value(one)}" for name, one in value.items() if one is not None]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    raise TypeError(f"a setting cannot be {type(value).__name__}: {value!r}")
