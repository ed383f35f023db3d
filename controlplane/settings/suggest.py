"""The right name for a wrong one."""

from __future__ import annotations

import difflib
from functools import cache
from typing import TYPE_CHECKING

from controlplane.settings.outline import outline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from controlplane.settings.section import Section


def unknown_key(path: str, near: Iterable[str], root: type[Section]) -> str:
    """The message for a `path` that does not exist, where its table knows the keys `near`."""
    parent, _, key = path.rpartition(".")
    near = sorted(near)
    here = f"{parent}." if parent else ""
    lowered = key.lower().replace("-", "_")
    if close := difflib.get_close_matches(lowered, near, n=1):
        return f"there is no such setting: did you mean {here}{close[0]}?"
    everywhere = sorted(_all_paths(root))
    if same := [other for other in everywhere if other.rpartition(".")[2] == lowered]:
        return f"there is no such setting in {_table(parent)}: it belongs to {_listed(same)}"
    keys = {other.rpartition(".")[2]: other for other in reversed(everywhere)}
    if close := difflib.get_close_matches(lowered, keys, n=1, cutoff=0.75):
        return f"there is no such setting in {_table(parent)}: did you mean {keys[close[0]]}?"
    return f"there is no such setting: {_table(parent)} knows {', '.join(near)}"


def _table(parent: str) -> str:
    return f"[{parent}]" if parent else "the top level"


def _listed(paths: list[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{', '.join(paths[:-1])} or {paths[-1]}"


@cache
def _all_paths(root: type[Section]) -> frozenset[str]:
    return frozenset(_paths(root, ""))


def _paths(table: type[Section], prefix: str) -> Iterator[str]:
    for name, field in table.model_fields.items():
        shape = outline(field)
        yield prefix + name
        for inner in shape.tables:
            yield from _paths(inner, f"{prefix}{name}.")
