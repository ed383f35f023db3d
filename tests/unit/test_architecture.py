"""docs/architecture.md names rooms, modules and tests that are there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/architecture.md").read_text()
QUOTED = sorted(set(re.findall(r"`([^`\s]+)`", TEXT)))


def found(name: str) -> list[Path]:
    """Files and folders of this name; a module may be named without the folders above it."""
    if not re.fullmatch(r"[\w*./-]+", name):
        return []
    places = [place for top in ("", "controlplane/") for place in ROOT.glob(top + name)]
    return places or [place for top in ("controlplane", "tests") for place in (ROOT / top).rglob(name)]


def test_the_rooms_are_those_that_are_held_apart() -> None:
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    table = TEXT.split("| room | purpose |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", table, re.MULTILINE)
    assert [re.findall(r"\w+", row) for row in rows] == [re.findall(r"\w+", layer) for layer in layers]


def test_modules_and_folders_are_there() -> None:
    named = [name.partition("::")[0] for name in QUOTED if re.match(r"[a-z_]+(/|[\w*]*\.py)", name)]
    assert len(named) > 80
    assert [name for name in named if not found(name)] == []


def test_the_tests_that_hold_an_invariant_are_there() -> None:
    """`file.py::test_*`; several files may stand before one `::test_*`."""
    named = re.findall(r"((?:`[\w/*]+\.py`(?:, )?)*) ?`([\w/*]*(?:\.py)?)::(test_\w+)\*?`", TEXT)
    assert len(named) > 15
    for before, file, test in named:
        for name in [*re.findall(r"`([^`]+)`", before), *([file] if file else [])]:
            files = found(name)
            assert files, name
            assert any(f"def {test}" in path.read_text() for path in files), f"{name}::{test}"
