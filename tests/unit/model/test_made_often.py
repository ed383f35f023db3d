"""Values that are made often are what their dataclass says, whatever way they are made."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from controlplane.model.made_often import made_often


@dataclass(frozen=True, slots=True)
class Plain:
    name: str
    size: int = 7
    said: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None


@made_often
@dataclass(frozen=True, slots=True)
class Often:
    name: str
    size: int = 7
    said: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None


@pytest.mark.parametrize(
    ("positional", "named"),
    [
        (("a",), {}),
        (("a", 1), {"note": "n"}),
        ((), {"said": {"x": "y"}, "name": "b"}),
        (("a", 1, {"x": "y"}, None), {}),
    ],
)
def test_it_has_the_fields_of_the_same_dataclass(positional: tuple[object, ...], named: dict[str, object]) -> None:
    made, plain = Often(*positional, **named), Plain(*positional, **named)  # type: ignore[arg-type]
    assert (made.name, made.size, made.said, made.note) == (plain.name, plain.size, plain.said, plain.note)
    assert repr(made) == repr(plain).replace("Plain", "Often")


@pytest.mark.parametrize(("positional", "named"), [((), {}), (("a",), {"other": 1}), (("a", 1, {}, None, 5), {})])
def test_what_the_dataclass_does_not_take_it_does_not_take(
    positional: tuple[object, ...], named: dict[str, object]
) -> None:
    for made in (Often, Plain):
        with pytest.raises(TypeError):
            made(*positional, **named)  # type: ignore[arg-type]


def test_a_default_is_made_anew_for_each() -> None:
    assert Often("a").said is not Often("a").said


def test_it_compares_hashes_and_is_copied_as_before() -> None:
    one = Often("a", 1, (), "n")  # type: ignore[arg-type]
    assert one == Often("a", 1, (), "n")  # type: ignore[arg-type]
    assert one != replace(one, size=2)
    assert replace(one, size=2).note == "n"
    assert hash(one) == hash(replace(one))
    assert copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one
    assert not hasattr(one, "__dict__")


def test_its_signature_names_the_fields() -> None:
    assert list(inspect.signature(Often).parameters) == list(inspect.signature(Plain).parameters)
