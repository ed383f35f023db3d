"""Which recordings of the real Riak CS a test is about: their names become the test's ids."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest


def recorded(*names: str) -> pytest.MarkDecorator:
    """The test runs once for each, with its name as `recording`. See ../shared/riakcs/README.md for what they show."""
    return pytest.mark.parametrize("recording", names)


def names_in(path: Path) -> set[str]:
    """Every name that `recorded` is given in a file of tests."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    marks = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "recorded"]
    return {word.value for mark in marks for word in mark.args if isinstance(word, ast.Constant)}
