"""The cuttlefish file format: `key = value` lines, comments, `include` globs; a later line wins."""

import re
from pathlib import Path

_LINE = re.compile(r"^\s*([A-Za-z0-9_$\\][^\s=]*)\s*=\s*(.*?)\s*$")
_INCLUDE = re.compile(r"^\s*include\s+(\S+)\s*$")


class SyntaxFailure(ValueError):
    """A line that is neither empty, a comment, an assignment nor an include; args: path, line number before it."""


def parse(path: Path) -> dict[str, str]:
    """All assignments of a file and of what it includes, in order; raises SyntaxFailure or OSError."""
    settings: dict[str, str] = {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if found := _INCLUDE.match(text):
            pattern = found[1]
            for included in sorted(path.parent.glob(pattern)):
                settings.update(parse(included))
            continue
        assignment = _LINE.match(text)
        if assignment is None or not assignment[2]:
            raise SyntaxFailure(str(path), number - 1)
        value = re.sub(r"\s+##?\s.*$", "", assignment[2])
        settings[assignment[1]] = value
    return settings
