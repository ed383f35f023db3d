"""The generated example and the description of the settings in force."""

from __future__ import annotations

import itertools
import json
import re
import tomllib

import pytest

from controlplane.settings.describe import describe
from controlplane.settings.example import example_toml
from controlplane.settings.load import parse_settings
from controlplane.settings.outline import outline
from controlplane.settings.secret import Secret
from controlplane.settings.section import Section
from controlplane.settings.stores import S3Store
from controlplane.settings.tree import Scope, Settings, Token

OPTION = re.compile(r"^#(?=[a-z\[])", re.MULTILINE)
BLOCKS = [block for block in example_toml().split("\n\n") if "\n[" in block or "\n#[" in block]


def names(table: type[Section]) -> set[str]:
    found = set()
    for name, field in table.model_fields.items():
        shape = outline(field)
        found |= set().union(*map(names, shape.tables)) if shape.tables else {name}
    return found


def test_as_it_is_it_means_the_defaults() -> None:
    assert parse_settings(example_toml(), {}) == Settings()


def test_it_has_a_block_for_every_table_and_kind() -> None:
    assert len(BLOCKS) == 38
    assert set(re.findall(r"^#([a-z_0-9]+) = ", example_toml(), re.MULTILINE)) == names(Settings)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[1])
def test_each_block_can_be_used_by_itself(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = OPTION.sub("", block)
    assert tomllib.loads(text)
    # The files that the example names are not on this machine; nothing else may be wrong with it.
    monkeypatch.setattr("pathlib.Path.exists", lambda path: True)
    monkeypatch.setattr("pathlib.Path.is_file", lambda path: True)
    monkeypatch.setattr("os.access", lambda path, mode: True)
    text = re.sub(r"\{ file = .*\}", '{ env = "S3_SECRET_KEY" }', text)
    text = text.replace('access_key = ""', 'access_key = "K"').replace('username = ""', 'username = "U"')
    if "[[mirror.rules]]" in text:  # has its target in a block of its own, and is about the S3 front
        text += "" if "[mirror.rules.target]" in text else '\n[mirror.rules.target]\nkind = "memory"\n'
        text += '\n[s3]\nendpoints = ["http://cs"]\nadmin_urls = ["http://cs:8000"]\nadmin_key = "K"\n'
        text += 'admin_secret = { env = "S3_SECRET_KEY" }\n'
    key = '{"client_email": "a@b", "private_key": "p", "token_uri": "https://t"}'
    parse_settings(text, {"S3_SECRET_KEY": "x", "AZURE_SECRET": "x", "GCS_CREDENTIALS": key})


def test_every_option_is_explained() -> None:
    lines = example_toml().splitlines()
    unexplained = [
        line
        for before, line in itertools.pairwise(lines)
        if re.match(r"#[a-z_0-9]+ = ", line) and not before.startswith(("# ", "#[[")) and not line.startswith("#kind")
    ]
    assert unexplained == []
    assert "seconds" in example_toml()
    assert "50 GiB" in example_toml()


def test_the_description_is_json_without_secrets() -> None:
    settings = Settings(
        tokens=(Token(name="a", secret=Secret("hunter2", "file /t"), scopes=frozenset({Scope.WRITE, Scope.READ})),),
        persistent=S3Store(
            endpoints=("http://h",), bucket="abc", access_key="K", secret_key=Secret("hunter3", "file /k")
        ),
    )
    described = describe(settings)
    text = json.dumps(described)
    assert "hunter" not in text
    assert described["tokens"] == [{"name": "a", "secret": "<secret: file /t>", "scopes": ["read", "write"]}]
    assert described["persistent"]["endpoints"] == ["http://h"]
    assert described["primary"]["path"] == "/var/lib/millrace/primary"
    assert described["gateway"]["tls"]["cert_file"] is None
