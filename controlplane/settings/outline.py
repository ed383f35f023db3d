"""The outline of the settings tree: which field is a table, a list of tables, a choice of tables, or a plain value."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from pydantic import TypeAdapter

from controlplane.settings.secret import Secret
from controlplane.settings.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

KIND = "kind"
"""The key that chooses between the tables of a union."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What one field holds."""

    tables: tuple[type[Section], ...]
    """Empty: a plain value. One: that table. Several: one of these, chosen by `kind`."""
    many: bool
    """A list of such tables."""
    optional: bool
    """The table may be absent."""
    secret: bool
    """The value must never be shown."""

    @property
    def choice(self) -> bool:
        return len(self.tables) > 1

    def kinds(self) -> dict[str, type[Section]]:
        return {str(table.model_fields[KIND].default): table for table in self.tables}


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _parts(argument)


def outline(field: FieldInfo) -> Outline:
    parts = list(_parts(field.annotation))
    tables = tuple(part for part in parts if isinstance(part, type) and issubclass(part, Section))
    return Outline(
        tables,
        many=bool(tables) and get_origin(field.annotation) is tuple,
        optional=type(None) in parts,
        secret=any(isinstance(part, type) and issubclass(part, Secret) for part in parts),
    )


@cache
def adapter(table: type[Section], name: str) -> TypeAdapter[Any]:
    """Validates the plain value of one field, constraints included."""
    field = table.model_fields[name]
    whole: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    return TypeAdapter(whole)


def flatten(section: Section, prefix: str = "") -> dict[str, Any]:
    """Every value of the tree by its dotted path; tables and lists of tables are included themselves."""
    flat: dict[str, Any] = {}
    for name in type(section).model_fields:
        path, value = prefix + name, getattr(section, name)
        flat[path] = value
        if isinstance(value, Section):
            flat |= flatten(value, f"{path}.")
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, Section):
                    flat |= flatten(item, f"{path}.{index}.")
    return flat
