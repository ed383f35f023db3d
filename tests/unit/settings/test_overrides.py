"""The environment over the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from controlplane.settings.load import parse_settings
from controlplane.settings.stores import MemoryStore, S3Store
from controlplane.settings.tree import Scope, Settings

if TYPE_CHECKING:
    from tests.unit.settings.conftest import FaultsOf


def test_a_variable_wins_over_the_file() -> None:
    settings = parse_settings("[gateway]\nport = 1\nhost = '::1'\n", {"MILLRACE__GATEWAY__PORT": "8480"})
    assert (settings.gateway.port, settings.gateway.host) == (8480, "::1")


def test_other_variables_are_not_settings() -> None:
    environ = {"MILLRACE_FAULT": "x", "MILLRACE_RIAKCS__PORT": "x", "millrace__gateway__port": "1", "PATH": "/bin"}
    assert parse_settings("", environ) == Settings()


@pytest.mark.parametrize(
    ("variable", "text", "path", "value"),
    [
        ("NODE__NAME", "123", "node.name", "123"),
        ("NODE__ZONE", '"8480"', "node.zone", "8480"),
        ("NODE__ZONE", "null", "node.zone", "null"),
        ("NODE__ZONE", "", "node.zone", ""),
        ("NODE__ZONE", "[odd", "node.zone", "[odd"),
        ("GATEWAY__ANONYMOUS_READ", "true", "gateway.anonymous_read", True),
        ("GATEWAY__IDLE_TIMEOUT_S", "2.5", "gateway.idle_timeout_s", 2.5),
        ("MIRROR__RETRY__BUDGET", "3", "mirror.retry.budget", 3),
        (
            "DIRECTORY__ETCD__ENDPOINTS",
            '["http://a:1","http://b"]',
            "directory.etcd.endpoints",
            ("http://a:1", "http://b"),
        ),
        ("DIRECTORY__ETCD__ENDPOINTS__0", "http://a:1", "directory.etcd.endpoints", ("http://a:1",)),
        ("DIRECTORY__ETCD", '{"timeout_s": 1}', "directory.etcd.timeout_s", 1.0),
        ("PRIMARY", '{"kind": "memory"}', "primary", MemoryStore()),
        ("PRIMARY__KIND", "memory", "primary", MemoryStore()),
        ("PERSISTENT", "null", "persistent", None),
        ("HOT_CACHE__PATH", "null", "hot_cache.path", None),
    ],
)
def test_a_text_means_what_its_setting_takes(variable: str, text: str, path: str, value: object) -> None:
    found: object = parse_settings("", {f"MILLRACE__{variable}": text})
    for step in path.split("."):
        found = getattr(found, step)
    assert found == value


def test_a_store_can_be_given_and_changed_piece_by_piece() -> None:
    file = '[persistent]\nkind = "s3"\nendpoints = ["http://a"]\nbucket = "abc"\naccess_key = "K"\n'
    environ = {
        "MILLRACE__PERSISTENT__BUCKET": "other",
        "MILLRACE__PERSISTENT__SECRET_KEY__ENV": "KEY",
        "MILLRACE__PERSISTENT__ENDPOINTS__1": "http://b",
        "KEY": "hunter2",
    }
    store = parse_settings(file, environ).persistent
    assert isinstance(store, S3Store)
    assert (store.bucket, store.endpoints) == ("other", ("http://a", "http://b"))
    assert store.secret_key is not None
    assert store.secret_key.reveal() == "hunter2"


def test_a_whole_table_comes_before_its_parts() -> None:
    environ = {
        "MILLRACE__PRIMARY__PATH": "/b",
        "MILLRACE__PRIMARY": '{"kind": "filesystem", "path": "/a", "fsync": false}',
    }
    primary = parse_settings("", environ).primary
    assert primary.model_dump(mode="json") == {"kind": "filesystem", "path": "/b", "fsync": False}


def test_lists_of_tables_grow_by_number() -> None:
    environ = {"T": "hunter2"}
    for number in range(12):
        environ |= {
            f"MILLRACE__TOKENS__{number}__NAME": f"t{number}",
            f"MILLRACE__TOKENS__{number}__SECRET__ENV": f"T{number}",
            f"MILLRACE__TOKENS__{number}__SCOPES": '["read"]',
            f"T{number}": f"secret{number}",
        }
    tokens = parse_settings("", environ).tokens
    assert [token.name for token in tokens] == [f"t{number}" for number in range(12)]
    assert tokens[0].scopes == {Scope.READ}


@pytest.mark.parametrize(
    ("variable", "text", "path", "part"),
    [
        ("GATEWAY__PRT", "1", "gateway.prt", "did you mean gateway.port?"),
        ("GATWAY__PORT", "1", "gatway", "did you mean gateway?"),
        ("GATEWAY_PORT", "1", "gateway_port", "gateway"),
        ("GATEWAY__LEASE_TTL_S", "1", "gateway.lease_ttl_s", "directory.lease_ttl_s or gc.lease_ttl_s"),
        ("GATEWAY__PORT", "eighty", "gateway.port", "integer"),
        ("GATEWAY__PORT", "70000", "gateway.port", "65535"),
        ("GATEWAY__PORT", "", "gateway.port", "integer"),
        ("GATEWAY__PORT__X", "1", "gateway.port", "integer"),
        ("GATEWAY__ANONYMOUS_READ", "yes", "gateway.anonymous_read", "true or false"),
        ("GATEWAY", "3", "gateway", "must be a table"),
        ("DIRECTORY__ETCD__ENDPOINTS", "http://a", "directory.etcd.endpoints", "JSON list"),
        ("DIRECTORY__ETCD__ENDPOINTS", '["a"]', "directory.etcd.endpoints.0", "http"),
        ("PERSISTENT__BUCKET", "abc", "persistent.kind", "is required"),
        ("TOKENS__NAME", "abc", "tokens", "list of tables"),
        ("TOKENS__3__NAME", "abc", "tokens.3.name", "list of 0"),
        ("TOKENS__9999999__NAME", "abc", "tokens.9999999.name", "list of 0"),
        ("NODE__ZONE", "\udcff", "node.zone", "UTF-8"),
        ("", "1", "", "empty step"),
        ("A____B", "1", "", "empty step"),
        ("GATEWAY__", "1", "", "empty step"),
    ],
)
def test_a_fault_names_the_variable(variable: str, text: str, path: str, part: str, faults_of: FaultsOf) -> None:
    fault = faults_of(**{f"MILLRACE__{variable}": text})[path]
    assert part in fault.message
    assert fault.variable == f"MILLRACE__{variable}"


def test_a_value_is_not_taken_apart(faults_of: FaultsOf) -> None:
    fault = faults_of("[gateway]\nport = 1\n", MILLRACE__GATEWAY__PORT__LOW="1")["gateway.port.low"]
    assert "single value" in fault.message


def test_a_secret_in_a_variable_is_not_repeated(faults_of: FaultsOf) -> None:
    faults = faults_of(MILLRACE__TOKENS__0__SECRET="hunter2", MILLRACE__TOKENS__1__SECRET='["hunter2"]')
    assert "tokens.0.secret" in faults
    assert "tokens.1.secret" in faults
    assert "hunter2" not in str(faults)
