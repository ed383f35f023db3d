"""What must hold between settings, in a file and in the program alike."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from controlplane.settings.load import parse_settings
from controlplane.settings.rule_places import may_both_match
from controlplane.settings.secret import Secret
from controlplane.settings.stores import FilesystemStore, MemoryStore
from controlplane.settings.tree import Directory, Settings

if TYPE_CHECKING:
    from tests.unit.settings.conftest import FaultsOf

S3 = 'kind = "s3"\nendpoints = ["http://a", "http://S3"]\nbucket = "abc"\n'
TOKEN = '[[tokens]]\nname = "{}"\nsecret = {{ env = "{}" }}\nscopes = ["read"]\n'
GC = '[gc]\nsocket = "/run/gc.sock"\n'
RIAK_CS = (
    '[s3]\nendpoints = ["http://cs"]\nadmin_urls = ["http://cs:8000"]\n'
    'admin_key = "K"\nadmin_secret = {{ env = "ONE" }}\n'
)
WITHIN = (
    RIAK_CS + '[[mirror.rules]]\nbuckets = "{}"\n[mirror.rules.target]\n'
    'kind = "s3"\nendpoints = ["http://CS"]\nbucket = "{}"\n'
)
ANOTHER_WITHIN = WITHIN.removeprefix(RIAK_CS) + "list_version = 1\nprefix = '{}'\n"


def circle(buckets: str, place: str, others: str, back: str, beneath: str = "") -> str:
    """Two rules within Riak CS."""
    one = RIAK_CS.format() + ANOTHER_WITHIN.format(buckets, place, beneath)
    return one + ANOTHER_WITHIN.format(others, back, "")


AZURE = '[persistent]\nkind = "azure"\nendpoint = "https://a.blob.core.windows.net"\nbucket = "abc"\n'
GCS = '[persistent]\nkind = "gcs"\nbucket = "abc"\n'
RULE_TO_GCS = (
    RIAK_CS.format() + '[[mirror.rules]]\nbuckets = "*"\n[mirror.rules.target]\nkind = "gcs"\nbucket = "abc"\n'
)
SERVICE_ACCOUNT = """{
  "client_email": "millrace@project.example",
  "private_key": "-----BEGIN PRIVATE KEY-----",
  "token_uri": "https://tokens.example"
}
"""
SECRETS = {"ONE": "1", "SAME": "1", "TWO": "2", "GCS_CREDENTIALS": SERVICE_ACCOUNT}


@pytest.mark.parametrize(
    ("text", "path", "part"),
    [
        (TOKEN.format("a", "ONE") + TOKEN.format("a", "TWO"), "tokens.1.name", "same as tokens.0.name"),
        (TOKEN.format("a", "ONE") + TOKEN.format("b", "SAME"), "tokens.1.secret", "same as tokens.0.secret"),
        ('[gateway.tls]\ncert_file = "{file}"', "gateway.tls.cert_file", "without gateway.tls.key_file"),
        ('[gateway.tls]\nkey_file = "{file}"', "gateway.tls.key_file", "without gateway.tls.cert_file"),
        ('[directory.etcd]\ncert_file = "{file}"', "directory.etcd.cert_file", "without"),
        ('[directory.etcd]\nusername = "root"', "directory.etcd.username", "without directory.etcd.password"),
        ("[persistent]\n" + S3 + 'access_key = "K"', "persistent.access_key", "without persistent.secret_key"),
        ("[primary]\n" + S3 + 'secret_key = { env = "ONE" }', "primary.secret_key", "without primary.access_key"),
        ("[admin]\nport = 8470", "admin.port", "same address and port as gateway.port"),
        ("[admin]\nagent_port = 8471", "admin.agent_port", "same address and port as admin.port"),
        ("[mirror.retry]\nmost_s = 0.1", "mirror.retry.most_s", "at least mirror.retry.first_s"),
        ("[hot_cache]\nlimit_bytes = 1000", "hot_cache.limit_bytes", "at least hot_cache.max_blob_bytes"),
        ("[directory]\nlease_ttl_s = 5", "directory.lease_ttl_s", "must exceed directory.probe_interval_s"),
        ("[directory]\nprobe_interval_s = 60", "directory.lease_ttl_s", "must exceed directory.probe_interval_s"),
        ("[directory]\nv2 = true", "directory.v2", "needs directory.v2_endpoints"),
        (GC + "lease_ttl_s = 119", "gc.lease_ttl_s", "three times gc.command_timeout_s"),
        (GC + "command_timeout_s = 41", "gc.lease_ttl_s", "three times gc.command_timeout_s"),
        ("[persistent]\n" + S3 + "part_bytes = 5242880", "persistent.part_bytes", "at least 5368710"),
        ("[primary]\n" + S3 + "[persistent]\n" + S3.replace("S3", "s3"), "persistent.bucket", "same bucket"),
        ('[persistent]\nkind = "filesystem"\npath = "/var/lib/millrace/primary"', "persistent.path", "primary.path"),
        (
            '[persistent]\nkind = "filesystem"\npath = "/var/lib/millrace/primary/../primary/x"',
            "persistent.path",
            "lies in",
        ),
        ('[primary]\nkind = "filesystem"\npath = "/var/lib"', "primary.path", "holds node.data_dir"),
        ('[primary]\nkind = "filesystem"\npath = "/var/lib/millrace"', "primary.path", "holds node.data_dir"),
        (WITHIN.format("*", "copies") + "list_version = 1", "mirror.rules.0.target.bucket", "would be copied"),
        (WITHIN.format("a-*", "a-{bucket}") + "list_version = 1", "mirror.rules.0.target.bucket", "would be copied"),
        (WITHIN.format("a-*", "{bucket}") + "list_version = 1", "mirror.rules.0.target.bucket", "would be copied"),
        (circle("aaa", "bbb", "bbb", "aaa"), "mirror.rules.1.target.bucket", "copies of mirror.rules.0"),
        (circle("x-*", "y-{bucket}", "y-*", "x-all"), "mirror.rules.1.target.bucket", "for ever"),
        (RULE_TO_GCS + 'prefix = "all/{bucket}"', "mirror.rules.0.target.prefix", "needs a slash behind {bucket}"),
        (RULE_TO_GCS + 'prefix = "{bucket}-"', "mirror.rules.0.target.prefix", "needs a slash behind {bucket}"),
        (WITHIN.format("a-*", "copies"), "mirror.rules.0.target.list_version", "must be 1"),
        (AZURE + 'account = "a"', "persistent.account", "without persistent.secret_key"),
        (GCS + 'credentials = { env = "ONE" }', "persistent.credentials", "no JSON key of a service account"),
        (GCS + "create_bucket = true", "persistent.create_bucket", "belongs to a project"),
        (GCS + "part_bytes = 1000000", "persistent.part_bytes", "multiple of"),
        (AZURE + AZURE.replace("persistent", "primary"), "persistent.bucket", "nothing would be mirrored"),
        (RULE_TO_GCS + "create_bucket = true", "mirror.rules.0.target.create_bucket", "mirror.rules.0.target.project"),
        ('[hot_cache]\npath = "/var/lib/millrace/primary"', "hot_cache.path", "same place as primary.path"),
        ('[primary]\nkind = "filesystem"\npath = "/var/lib/millrace/hot"', "hot_cache.path", "same place"),
    ],
)
def test_a_contradiction_is_a_fault(text: str, path: str, part: str, faults_of: FaultsOf, tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    file.write_text("")
    faults = faults_of(text.replace("{file}", str(file)), **SECRETS)
    assert part in faults[path].message


@pytest.mark.parametrize(
    "text",
    [
        TOKEN.format("a", "ONE") + TOKEN.format("b", "TWO"),
        GC + "lease_ttl_s = 30\ncommand_timeout_s = 10",
        WITHIN.format("a-*", "copies") + "list_version = 1",
        WITHIN.format("a-*", "copies-{bucket}") + "list_version = 1",
        circle("aaa", "bbb", "bbb", "ccc"),  # copies of copies, once
        circle("aaa", "bbb", "bbb", "aaa").replace('buckets = "bbb"', 'buckets = "bbb"\nprefix = "own/"'),
        RULE_TO_GCS + 'prefix = "all-{bucket}/"',
        RULE_TO_GCS.replace('"*"', '"one"') + 'prefix = "{bucket}-"',
        "[admin]\nport = 0\nagent_port = 0\n[gateway]\nport = 0",
        '[admin]\nhost = "10.0.0.1"\nport = 8470',
        '[directory]\nv2 = true\nv2_endpoints = ["http://a"]',
        '[directory]\nv2 = true\n[directory.etcd]\nendpoints = ["http://a"]',
        "[primary]\n" + S3 + "[persistent]\n" + S3 + 'prefix = "mirror/"',
        "[primary]\n" + S3 + "[persistent]\n" + S3.replace("abc", "other"),
        '[primary]\nkind = "memory"\n[persistent]\nkind = "memory"',
        AZURE + 'secret_key = { env = "ONE" }',
        AZURE + AZURE.replace("persistent", "primary") + 'prefix = "mirror/"',
        GCS + 'create_bucket = true\nproject = "p"\ncredentials = { env = "GCS_CREDENTIALS" }',
        '[hot_cache]\nkind = "memory"\npath = "/var/lib/millrace/primary"',
        '[persistent]\nkind = "filesystem"\npath = "/var/lib/millrace/primary2"',
    ],
)
def test_what_only_looks_like_one_is_accepted(text: str) -> None:
    assert isinstance(parse_settings(text, SECRETS), Settings)


def test_the_places_are_compared_by_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with pytest.raises(ValidationError, match="same place"):
        Settings(primary=FilesystemStore(path=tmp_path / "there"), persistent=FilesystemStore(path=tmp_path / "link"))


def test_a_faulty_value_hides_no_contradiction_elsewhere_and_makes_none(faults_of: FaultsOf) -> None:
    faults = faults_of("[directory]\nprobe_interval_s = 'x'\nlease_ttl_s = 2\nv2 = true\n[gateway]\nport = 99999\n")
    assert set(faults) == {"directory.probe_interval_s", "directory.v2", "gateway.port"}


def test_a_contradiction_made_by_a_variable_names_it(faults_of: FaultsOf) -> None:
    fault = faults_of("[directory]\nprobe_interval_s = 9\n", MILLRACE__DIRECTORY__LEASE_TTL_S="8")[
        "directory.lease_ttl_s"
    ]
    assert fault.variable == "MILLRACE__DIRECTORY__LEASE_TTL_S"


def test_settings_built_by_the_program_keep_the_same_rules() -> None:
    with pytest.raises(ValidationError, match="must exceed"):
        Settings(primary=MemoryStore(), directory=Directory(lease_ttl_s=3, probe_interval_s=3))
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"tokens": [{"name": "a", "secret": Secret("hunter2"), "scopes": ["read"]}] * 2})
    assert "same as tokens.0.secret" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@given(st.text("ab*?", max_size=4), st.text("ab*?", max_size=4))
def test_two_patterns_meet_where_a_text_is_matched_by_both(one: str, other: str) -> None:
    texts = ["".join(letters) for size in range(9) for letters in product("ab", repeat=size)]
    both = any(fnmatchcase(text, one) and fnmatchcase(text, other) for text in texts)
    assert may_both_match(one, other) == may_both_match(other, one) == both
