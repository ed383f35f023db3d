"""The loader: what is right becomes the tree, what is wrong is told all at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from controlplane.settings.faults import InvalidSettings
from controlplane.settings.load import load_settings, parse_settings
from controlplane.settings.stores import FilesystemStore, MemoryStore, S3Store
from controlplane.settings.tree import Node, Scope, Settings

if TYPE_CHECKING:
    from tests.unit.settings.conftest import FaultsOf

S3 = '[persistent]\nkind = "s3"\nendpoints = ["http://s3:1/"]\nbucket = "abc"\n'


def test_nothing_given_means_the_defaults() -> None:
    assert load_settings(None, {}) == Settings()


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "millrace.toml"
    file.write_text(
        '[node]\nname = "n2"\ndata_dir = "/data"\n[gateway]\nport = 1\nidle_timeout_s = 3\n' + S3 + "list_version = 1\n"
        '[[tokens]]\nname = "ci"\nsecret = { env = "CI" }\nscopes = ["read", "write"]\n'
    )
    settings = load_settings(file, {"CI": "hunter2"})
    assert (settings.node.name, settings.gateway.port, settings.gateway.idle_timeout_s) == ("n2", 1, 3.0)
    assert settings.primary == FilesystemStore(path=Path("/data/primary"))
    assert isinstance(settings.persistent, S3Store)
    assert (settings.persistent.endpoints, settings.persistent.list_version) == (("http://s3:1",), 1)
    assert settings.tokens[0].secret.reveal() == "hunter2"
    assert settings.tokens[0].scopes == {Scope.READ, Scope.WRITE}


def test_the_tree_is_frozen() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.gateway.port = 1
    with pytest.raises(ValidationError, match="frozen"):
        settings.node = Node()
    assert hash(settings) == hash(Settings())


def test_the_primary_store_follows_the_data_directory() -> None:
    assert Settings(node=Node(data_dir=Path("/x"))).primary == FilesystemStore(path=Path("/x/primary"))


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="cannot be read"):
        load_settings(tmp_path / "none.toml", {})


def test_a_file_that_is_no_text_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\xff")
    with pytest.raises(InvalidSettings, match="not UTF-8"):
        load_settings(tmp_path / "f", {})


def test_a_syntax_fault_has_its_line_and_variables_are_judged_beside_it(faults_of: FaultsOf) -> None:
    faults = faults_of("[node]\nname = \n", MILLRACE__GATEWAY__PORT="x", MILLRACE__DIRECTORY__V2="true")
    assert faults[""].line == 2
    assert set(faults) == {"", "gateway.port"}


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 5000, "a = 0x" + "f" * 9999, "[" + "a." * 5000 + "a]", "a = " + "9" * 5000],
    ids=["nested", "hexadecimal", "dotted", "decimal"],
)
def test_monstrous_texts_are_faults(text: str, faults_of: FaultsOf) -> None:
    assert faults_of(text)


def test_every_fault_at_once_with_its_line(faults_of: FaultsOf) -> None:
    faults = faults_of(
        "nod = 1\n"
        "[gateway]\n"
        'port = "8480"\n'
        "max_connections = 0\n"
        'motd = """\n'
        "[admin]\n"
        'port = 1"""\n'
        "[admin]\n"
        "port = 70000\n"
        "[[tokens]]\n"
        'name = "a"\n'
        'secret = "hunter2"\n'
        'scopes = ["fly"]\n'
        "[[tokens]]\n"
        'name = "a"\n'
        'secret = { env = "UNSET" }\n'
        "[directory]\n"
        "v2 = true\n"
        "lease_ttl_s = 5\n"
    )
    assert {path: fault.line for path, fault in faults.items()} == {
        "nod": 1,
        "gateway.port": 3,
        "gateway.max_connections": 4,
        "gateway.motd": 5,
        "admin.port": 9,
        "tokens.0.secret": 12,
        "tokens.0.scopes.0": 13,
        "tokens.1.scopes": 14,
        "tokens.1.name": 15,
        "tokens.1.secret": 16,
        "directory.v2": 18,
        "directory.lease_ttl_s": 19,
    }
    assert not [fault for fault in faults.values() if "hunter2" in str(fault)]


@pytest.mark.parametrize(
    ("text", "path", "part"),
    [
        ("[gatway]", "gatway", "did you mean gateway?"),
        ("[gateway]\nPort = 1", "gateway.Port", "did you mean gateway.port?"),
        ("[gateway]\nmax-connections = 1", "gateway.max-connections", "did you mean gateway.max_connections?"),
        ("[gateway]\nlease_ttl_s = 9", "gateway.lease_ttl_s", "directory.lease_ttl_s or gc.lease_ttl_s"),
        ("port = 9", "port", "it belongs to admin.port, gateway.port or s3.port"),
        ("[gateway]\nlease_ttl = 9", "gateway.lease_ttl", "did you mean cluster.lease_ttl_s?"),
        ("[log]\nqqqq = 9", "log.qqqq", "[log] knows access, level"),
        ("[directory.etcd]\nendpoint = []", "directory.etcd.endpoint", "did you mean directory.etcd.endpoints?"),
        (S3 + "buckt = 1", "persistent.buckt", "did you mean persistent.bucket?"),
        (S3 + 'path = "/x"', "persistent.path", 'only "filesystem" has'),
        ('[persistent]\nbuckt = "x"', "persistent.buckt", "did you mean persistent.bucket?"),
        ('[persistent]\nbucket = "x"', "persistent.kind", "is required: one of filesystem, memory, s3"),
        ('[persistent]\nkind = "s4"', "persistent.kind", 'not "s4"'),
        ('[persistent]\nkind = ["s3"]', "persistent.kind", "a list or table"),
        ("gateway = 3", "gateway", "must be a table"),
        ("[tokens]\nname = 1", "tokens", "must be a list of tables"),
        ("tokens = [3]", "tokens", "must be a list of tables"),
        ("[node]\nzone = 1979-05-27", "node.zone", "date"),
        ('[node]\nname = "a b"', "node.name", "must be a letter or digit"),
        ('[node]\ndata_dir = "data"', "node.data_dir", "absolute"),
        ('[node]\ndata_dir = "/a\\u0000"', "node.data_dir", "absolute"),
        ("[gateway]\nanonymous_read = 1", "gateway.anonymous_read", "true or false"),
        ("[gateway]\nidle_timeout_s = nan", "gateway.idle_timeout_s", "not NaN"),
        ("[gateway]\nidle_timeout_s = true", "gateway.idle_timeout_s", "true or false"),
        ("[gateway]\nidle_timeout_s = 0", "gateway.idle_timeout_s", "greater than 0"),
        ("[gateway]\nmax_blob_bytes = 1e9", "gateway.max_blob_bytes", "integer"),
        (S3 + "list_version = 3", "persistent.list_version", "must be 1 or 2"),
        (S3 + "list_version = true", "persistent.list_version", "true or false"),
        (S3 + 'ca_file = "/nonexistent.pem"', "persistent.ca_file", "no file /nonexistent.pem"),
        (S3 + 'ca_file = "/"', "persistent.ca_file", "not a regular file"),
        ('[directory]\nv2_endpoints = "http://a"', "directory.v2_endpoints", "must be a list"),
    ],
)
def test_a_fault_says_what_is_wrong(text: str, path: str, part: str, faults_of: FaultsOf) -> None:
    assert part in faults_of(text)[path].message


@pytest.mark.parametrize(
    "url", ["", "s3", "ftp://h", "http://", "http://:80", "http://h:0", "http://h:x", "http://h:99999", "http://[::1",
            "http://u:hunter2@h", "http://h?x=1", "http://h#x", "http://h/path", "http://h h", "http://é", "http://h\\n"]
)  # fmt: skip
def test_an_endpoint_is_an_http_url_with_a_host(url: str, faults_of: FaultsOf) -> None:
    faults = faults_of(f'[directory.etcd]\nendpoints = ["http://good:2379", "{url}"]')
    assert set(faults) == {"directory.etcd.endpoints.1"}
    assert "hunter2" not in str(faults)


@pytest.mark.parametrize("url", ["http://h", "https://h:1/", "http://[::1]:2379", "http://127.0.0.1:80"])
def test_a_good_endpoint_loses_only_its_slash(url: str) -> None:
    settings = parse_settings(f'[directory.etcd]\nendpoints = ["{url}"]', {})
    assert settings.directory.etcd.endpoints == (url.rstrip("/"),)


def test_stores_without_settings_of_their_own() -> None:
    assert parse_settings('[primary]\nkind = "memory"\n', {}).primary == MemoryStore()


def test_the_message_names_the_file_and_all_faults(tmp_path: Path) -> None:
    file = tmp_path / "millrace.toml"
    file.write_text("a = 1\nb = 2\n")
    with pytest.raises(InvalidSettings) as caught:
        load_settings(file, {"MILLRACE__C": "1"})
    text = str(caught.value)
    assert str(file) in text
    assert "3 faults" in text
    assert "a (line 1)" in text
    assert "c (MILLRACE__C)" in text
