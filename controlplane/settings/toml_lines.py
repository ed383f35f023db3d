"""On which line of a TOML text each key stands, for messages. Meant for text that tomllib has accepted."""

from __future__ import annotations

import re
import tomllib

_SKIP = re.compile(
    r'"""(?:\\.|[^\\])*?"""+|\'\'\'.*?\'\'\'+|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|\#[^\n]*|[\[\]{}\n]|[^"\'\#\[\]{}\n]+',
    re.DOTALL,
)
"""One lexical unit of a value: a string, a comment, a bracket, a line end, or anything else."""

_NAME = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
_KEY = re.compile(rf"[ \t]*({_NAME}(?:[ \t]*\.[ \t]*{_NAME})*)[ \t]*=")
_HEADER = re.compile(rf"[ \t]*(\[\[?)[ \t]*({_NAME}(?:[ \t]*\.[ \t]*{_NAME})*)[ \t]*\]")
_ONE_NAME = re.compile(_NAME)


def key_lines(text: str) -> dict[str, int]:
    """The 1-based line of every table header and key, by dotted path; tables of a list by number: `tokens.0.name`.

    Keys of inline tables are not told apart: their parent's line is the nearest.
    """
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    position, line = 0, 1
    while position < len(text):
        if header := _HEADER.match(text, position):
            table = _resolved(_names(header[2]), counts)
            if header[1] == "[[":
                lines.setdefault(table, line)
                # A new element: sub-tables of the one before are not its own.
                counts = {path: count for path, count in counts.items() if not path.startswith(f"{table}.")}
                counts[table] = counts.get(table, -1) + 1
                table = f"{table}.{counts[table]}"
            lines.setdefault(table, line)
            position = header.end()
        elif key := _KEY.match(text, position):
            path = table
            for name in _names(key[1]):
                path = f"{path}.{name}" if path else name
                lines.setdefault(path, line)
            position = key.end()
        position, line = _after_line(text, position, line)
    return lines


def _names(dotted: str) -> list[str]:
    return [_plain(name) for name in _ONE_NAME.findall(dotted)]


def _plain(name: str) -> str:
    if name[0] not in "\"'":
        return name
    try:
        return str(tomllib.loads(f"name = {name}")["name"])
    except tomllib.TOMLDecodeError:  # not a key after all: the text was not accepted either
        return name


def _resolved(names: list[str], counts: dict[str, int]) -> str:
    """The path of a header, with the number of the current element put behind each list of tables but the last."""
    path = ""
    for name in names:
        if path in counts:
            path = f"{path}.{counts[path]}"
        path = f"{path}.{name}" if path else name
    return path


def _after_line(text: str, position: int, line: int) -> tuple[int, int]:
    """Position and number of the line after this statement, whose value may take several lines."""
    depth = 0
    while position < len(text):
        unit = _SKIP.match(text, position)
        if unit is None:
            position += 1
            continue
        position = unit.end()
        line += unit[0].count("\n")
        match unit[0]:
            case "[" | "{":
                depth += 1
            case "]" | "}":
                depth = max(depth - 1, 0)
            case "\n" if depth == 0:
                break
            case _:
                pass
    return position, line
