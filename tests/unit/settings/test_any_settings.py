"""Whatever the text: right settings survive a round trip, wrong ones become faults and nothing else."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controlplane.settings.describe import describe
from controlplane.settings.faults import Fault, InvalidSettings
from controlplane.settings.load import parse_settings
from controlplane.settings.toml_lines import key_lines
from controlplane.settings.tree import Settings

WORD = st.text(st.characters(categories=["Ll", "Lu", "Nd"], max_codepoint=127), min_size=1, max_size=20)
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
SECONDS = st.floats(0.001, 1e6).map(lambda value: round(value, 3))
URL = st.builds("{}://{}:{}".format, st.sampled_from(["http", "https"]), WORD.map(str.lower), st.integers(1, 65535))


def table(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


S3 = st.fixed_dictionaries(
    {"kind": st.just("s3"), "endpoints": st.lists(URL, min_size=1, max_size=3), "bucket": WORD.map("b-{}-b".format)},
    optional={
        "prefix": TEXT,
        "region": WORD,
        "signature": st.sampled_from(["v2", "v4"]),
        "list_version": st.sampled_from([1, 2]),
        "create_bucket": st.booleans(),
        "connections": st.integers(1, 1024),
        "read_timeout_s": SECONDS,
    },
)
FILES = st.fixed_dictionaries(
    {"kind": st.just("filesystem"), "path": WORD.map("/elsewhere/p-{}".format)}, optional={"fsync": st.booleans()}
)
TREES = table(
    node=table(cluster=WORD, name=WORD, zone=TEXT, data_dir=WORD.map("/data/{}".format), public_url=URL),
    gateway=table(host=WORD, port=st.integers(10000, 65535), idle_timeout_s=SECONDS, anonymous_read=st.booleans()),
    primary=st.one_of(FILES, st.just({"kind": "memory"})),
    persistent=S3,
    mirror=table(concurrency=st.integers(1, 1024), retry=table(budget=st.integers(1, 99), factor=st.floats(1, 10))),
    directory=table(etcd=table(endpoints=st.lists(URL, max_size=3)), probe_failures=st.integers(1, 9)),
    log=table(level=st.sampled_from(["debug", "info"]), access=st.booleans()),
)


def toml(value: Any) -> str:
    """One value in TOML's inline form."""
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(key, ensure_ascii=False)} = {toml(item)}" for key, item in value.items())
            + "}"
        )
    return "[" + ", ".join(map(toml, value)) + "]" if isinstance(value, list) else json.dumps(value, ensure_ascii=False)


def document(tree: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(key, ensure_ascii=False)} = {toml(value)}\n" for key, value in tree.items())


def faults_in(text: str, environ: dict[str, str]) -> tuple[Fault, ...]:
    """The faults, none when the settings load; whatever else is raised fails the test."""
    try:
        parse_settings(text, environ)
    except InvalidSettings as error:
        return error.faults or (Fault("", ""),)
    return ()


def contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return all(contains(whole[key], value) for key, value in part.items())
    return bool(whole == part)


@given(TREES)
def test_a_right_tree_survives_the_round_trip(tree: dict[str, Any]) -> None:
    settings = parse_settings(document(tree), {})
    described = describe(settings)
    assert contains(described, tree)
    whole = {key: value for key, value in described.items() if value is not None}
    environ = {f"MILLRACE__{key.upper()}": json.dumps(value) for key, value in whole.items()}
    assert parse_settings("", environ) == settings


@given(TREES, st.sampled_from(["", "node", "gateway", "mirror", "directory", "log"]), TEXT, TEXT)
def test_an_unknown_key_is_a_fault_that_names_it(tree: dict[str, Any], where: str, key: str, value: str) -> None:
    key = f"x{key}"
    holder = tree.setdefault(where, {}) if where else tree
    holder[key] = value
    faults = faults_in(document(tree), {})
    assert [fault.path for fault in faults] == [f"{where}.{key}" if where else key]
    assert faults[0].line


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
OTHER_STEPS = ["retry", "etcd", "kind", "s3", "name", "secret", "0", "1", "port", "x", ""]
STEPS = st.sampled_from([*Settings.model_fields, *OTHER_STEPS])
VARIABLES = st.lists(STEPS, min_size=1, max_size=4).map("__".join)
VALUES = ["1", '"# [x]"', '"""\n[a]\nb = 1\n"""', "'''\n#'''", "[\n1, # ]\n[2]]", "{a = 1}"]


@given(st.dictionaries(VARIABLES, st.text(max_size=9) | JSON.map(json.dumps)))
def test_no_environment_raises_anything_else(variables: dict[str, str]) -> None:
    faults = faults_in("", {f"MILLRACE__{name.upper()}": text for name, text in variables.items()})
    assert all(str(fault) for fault in faults)


@given(st.text(st.sampled_from("abgatewyportkins[]{}=\"'#.,\n \\0123_-\t"), max_size=60) | st.text(max_size=60))
def test_no_text_raises_anything_else(text: str) -> None:
    assert all(fault.message for fault in faults_in(text, {}))


@given(st.lists(st.tuples(WORD, st.sampled_from(VALUES))))
def test_each_key_is_found_on_its_line(pairs: list[tuple[str, str]]) -> None:
    values = dict(pairs)
    text, expected = "[table]\n", {"table": 1}
    for key, value in values.items():
        expected[f"table.{key}"] = text.count("\n") + 1
        text += f"{key} = {value} # note\n"
    assert tomllib.loads(text)
    assert key_lines(text) == expected


def test_lists_of_tables_are_counted() -> None:
    lines = key_lines('[[t]]\na = 1\n[t.s]\nb.c = 2\n[[t]]\n[t.s]\nb = 1\n[u . "v"]\nx=1')
    assert lines == {
        "t": 1, "t.0": 1, "t.0.a": 2, "t.0.s": 3, "t.0.s.b": 4, "t.0.s.b.c": 4, "t.1": 5, "t.1.s": 6, "t.1.s.b": 7,
        "u.v": 8, "u.v.x": 9,
    }  # fmt: skip
