"""The commented example, generated from the settings classes: `# ` explains, `#name = ` can be used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from annotated_types import Ge, Le
from pydantic_core import PydanticUndefined

from controlplane.settings.describe import describe_value
from controlplane.settings.outline import outline
from controlplane.settings.section import Section
from controlplane.settings.tree import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

_HEAD = """\
# Settings of Millrace. What is commented out shows the default, or an example where there is none.
#
# Each setting can be given by the environment too, which wins: two underscores part the steps of its name, lists and
# tables are JSON. MILLRACE__GATEWAY__PORT=8480 is gateway.port.
# A secret is never written here but read from a file, { file = "/path" }, or a variable, { env = "NAME" }.
# Times are in seconds (_s), sizes in bytes (_bytes). Paths are absolute.
"""
_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def example_toml() -> str:
    """The whole tree as TOML. As it is, it means the defaults; each block can be uncommented by itself."""
    return "\n".join([_HEAD, *_tables(Settings, "")]).rstrip() + "\n"


def _tables(table: type[Section], prefix: str, above: str = "") -> Iterator[str]:
    """`above`: the element of a list in which these tables are, as far as it is needed to make them sound."""
    for name, field in table.model_fields.items():
        shape, path = outline(field), prefix + name
        if not shape.tables:
            continue
        if shape.choice:
            yield f"# {path}: {field.description}. One of these kinds:\n"
        for inner in shape.tables:
            header = f"[[{path}]]" if shape.many else f"[{path}]"
            always = not (shape.many or shape.choice or shape.optional)
            yield from _block(inner, above + (header if always else f"#{header}"))
            yield from _tables(inner, f"{path}.", _element(inner, header) if shape.many else above)


def _element(table: type[Section], header: str) -> str:
    """The head of a list's element, with what it must have, ready to be followed by a table in it."""
    required = [
        f"#{name} = {_toml(_sample(table, name, field))}\n"
        for name, field in table.model_fields.items()
        if field.is_required() and not outline(field).tables
    ]
    return "".join([f"#{header}\n", *required])


def _block(table: type[Section], header: str) -> Iterator[str]:
    yield f"# {(table.__doc__ or '').strip()}"
    yield header
    for name, field in table.model_fields.items():
        if not outline(field).tables:
            if field.description:
                yield f"# {field.description}{_limits(name, field)}"
            yield f"#{name} = {_toml(_sample(table, name, field))}"
    yield ""


def _sample(table: type[Section], name: str, field: FieldInfo) -> Any:
    """The default, or an example for want of one."""
    if field.examples:
        return field.examples[0]
    if field.default in (None, PydanticUndefined):
        raise TypeError(f"{table.__name__}.{name} has no default, so its Field must give examples=[...]")
    return describe_value(field.default)


def _limits(name: str, field: FieldInfo) -> str:
    """The unit, the choice or the range of a field, in brackets; nothing when there is nothing to say."""
    facts = []
    if field.is_required():
        facts.append("required")
    if get_origin(field.annotation) is Literal:
        facts.append("one of " + ", ".join(_toml(choice) for choice in get_args(field.annotation)))
    if name.endswith("_bytes"):
        facts.append(_size(field.default))
    elif name.endswith("_s"):
        facts.append("seconds")
    else:
        least = next((mark.ge for mark in field.metadata if isinstance(mark, Ge)), None)
        most = next((mark.le for mark in field.metadata if isinstance(mark, Le)), None)
        if least is not None:
            facts.append(f"{least} to {most}" if most is not None else f"at least {least}")
    return f" ({'; '.join(facts)})" if facts else ""


def _size(count: int) -> str:
    unit, name = next(((unit, name) for unit, name in _UNITS if count and count % unit == 0), (1, "bytes"))
    return f"{count // unit} {name}"


def _toml(value: Any) -> str:
    """`value` in TOML's inline form. JSON's text, number, boolean and list are TOML too."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
