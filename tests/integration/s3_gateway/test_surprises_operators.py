"""The surprises of the real Riak CS and Riak KV for operators (22 to 25): users, the paths of KV, commands that fail.

Through the gateway: its S3 port shows nothing of the admin port and nothing of KV, and `millrace users`, which works by
the gateway's settings, says truthfully what came of a command.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.s3_gateway.recorded import recorded
from tests.integration.s3_gateway.wire import Wire
from tests.support import s3_gateway
from tests.support.etcd_cluster import EtcdCluster
from tests.support.riak_cs import RiakCs, User
from tests.support.s3_gateway import S3Gateway

CACHED_S = 1


@pytest.fixture(scope="module")
def forgetful(riak_cs: RiakCs, s3_folder: Path, s3_etcd: EtcdCluster) -> Iterator[S3Gateway]:
    """A gateway that keeps secrets for a second, so that tests need not wait for the minute that is the default."""
    folder = s3_folder / "forgetful"
    s3 = {"secret_cache_s": CACHED_S}
    with s3_gateway.running(folder, riak_cs, s3_etcd.urls, name="gateway3", s3=s3) as started:
        yield started


@pytest.fixture
def admins(wire: Wire, riak_cs: RiakCs) -> Wire:
    return wire.as_(User("admin", riak_cs.key, riak_cs.secret, ""))


def users(gateway: S3Gateway, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return gateway.node.cli("users", *arguments)


def created(gateway: S3Gateway, name: str = "made") -> User:
    name = f"{name}-{secrets.token_hex(4)}"
    done = users(gateway, "create", "--json", "--secret", name, f"{name}@example.com")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    return User(made["name"], made["access_key"], made["secret_key"], made["id"], made["email"])


@recorded("ping-s3-port", "users-json", "stats-sigv4")
def test_22_the_s3_port_shows_nothing_of_the_admin_port(
    recording: str, wire: Wire, admins: Wire, alice: User, riak_cs: RiakCs
) -> None:
    path = {"ping-s3-port": "/riak-cs/ping", "users-json": "/riak-cs/users", "stats-sigv4": "/riak-cs/stats"}[recording]
    for who in (wire, admins, wire.as_(None)):
        for sign in ("v4", "v2"):
            for method in ("GET", "PUT", "POST", "DELETE"):
                answer = who.ask(method, path, sign=sign)
                assert answer.status in (403, 404, 405, 400), answer
                assert answer.code, "an S3 error document"
                assert alice.secret.encode() not in answer.body
                assert riak_cs.secret.encode() not in answer.body


@recorded("users-disabled")
def test_22_users_are_listed_without_secrets_and_by_status(recording: str, gateway: S3Gateway) -> None:
    one, two = created(gateway), created(gateway)
    assert users(gateway, "disable", one.key).returncode == 0
    for status, wanted, other in (("disabled", one, two), ("enabled", two, one)):
        done = users(gateway, "list", "--json", "--status", status)
        assert done.returncode == 0
        keys = {each["access_key"] for each in json.loads(done.stdout)}
        assert wanted.key in keys
        assert other.key not in keys
        assert one.secret.encode() not in done.stdout
        assert two.secret.encode() not in done.stdout


@recorded("user-create-bad-email", "user-create-malformed-json", "user-create-empty-name", "user-get-unknown")
def test_22_what_cannot_be_is_said_with_an_exit_code(recording: str, gateway: S3Gateway) -> None:
    arguments = {
        "user-create-bad-email": ("create", "somebody", "nonsense"),
        "user-create-malformed-json": ("create", 'quo"te\\ }{', "not-an-address"),
        "user-create-empty-name": ("create", "", "empty@example.com"),
        "user-get-unknown": ("show", "NOSUCHKEY00000000000"),
    }[recording]
    done = users(gateway, *arguments)
    assert done.returncode == {"user-get-unknown": 3, "user-create-empty-name": 2}.get(recording, done.returncode)
    assert done.returncode not in (0, 4), "neither done nor an outage, whatever Riak CS calls it"
    assert done.stderr.strip()
    assert b"Traceback" not in done.stderr


@recorded("user-put-new-secret", "user-old-secret-s3")
def test_23_a_rotated_secret_counts_within_seconds_and_the_old_one_ends(
    recording: str, forgetful: S3Gateway, tmp_path: Path
) -> None:
    user = created(forgetful)
    wire = Wire(forgetful.url, user)
    assert wire.ask("GET", "/").status == 200
    done = users(forgetful, "rotate", user.key, "--secret-file", str(tmp_path / "new"))
    assert done.returncode == 0, done.stderr
    renewed = User(user.name, user.key, (tmp_path / "new").read_text().strip(), user.id)
    assert renewed.secret != user.secret
    # A secret that was looked up a moment ago is not looked up again for a signature that does not match: two seconds.
    deadline = time.monotonic() + 20  # and a busy machine
    while wire.as_(renewed).ask("GET", "/").status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(CACHED_S + 0.5)
    assert wire.ask("GET", "/").outcome == (403, "SignatureDoesNotMatch")
    assert wire.as_(renewed).ask("GET", "/").status == 200


@recorded("user-put-own-status", "disabled-s3-list-buckets")
def test_23_a_disabled_user_is_refused_within_the_time(recording: str, forgetful: S3Gateway) -> None:
    user = created(forgetful)
    wire = Wire(forgetful.url, user)
    assert wire.ask("GET", "/").status == 200
    # A user cannot do it himself here: that path is no bucket of his.
    body = b'{"status": "disabled"}'
    own = wire.ask("PUT", f"/riak-cs/user/{user.key}", body, {"Content-Type": "application/json"}, sign="v2")
    assert own.status in (403, 404), own
    assert users(forgetful, "disable", user.key).returncode == 0
    time.sleep(CACHED_S + 0.5)
    assert wire.ask("GET", "/").outcome == (403, "AccessDenied")
    assert users(forgetful, "enable", user.key).returncode == 0
    time.sleep(CACHED_S + 0.5)
    assert wire.ask("GET", "/").status == 200


@recorded("user-put-name", "user-put-email")
def test_23_a_renamed_user_keeps_access_and_objects(recording: str, forgetful: S3Gateway, riak_cs: RiakCs) -> None:
    user = created(forgetful, "renamed")
    wire, bucket = Wire(forgetful.url, user), f"t-{secrets.token_hex(6)}"
    assert wire.ask("PUT", f"/{bucket}").status == 200
    assert wire.ask("PUT", f"/{bucket}/k", b"x").status == 200
    change = {"name": f"{user.name}-new"} if recording == "user-put-name" else {"email": f"new-{user.email}"}
    riak_cs.change_user(user, **change)
    time.sleep(CACHED_S + 0.5)
    assert wire.ask("GET", f"/{bucket}/k").body == b"x"
    assert wire.ask("GET", f"/{bucket}?acl").text("Owner/ID") == user.id
    wire.ask("DELETE", f"/{bucket}/k")
    wire.ask("DELETE", f"/{bucket}")


@recorded("user-delete-with-buckets")
def test_23_disabling_a_user_leaves_the_buckets(recording: str, forgetful: S3Gateway, riak_cs: RiakCs) -> None:
    """Deleting users is not offered: Riak CS refuses it for whom it matters (DeleteConflict)."""
    user = created(forgetful, "owner")
    wire, bucket = Wire(forgetful.url, user), f"t-{secrets.token_hex(6)}"
    wire.ask("PUT", f"/{bucket}")
    wire.ask("PUT", f"/{bucket}/k", b"x", {"x-amz-acl": "public-read"})
    assert users(forgetful, "delete", user.key).returncode == 2
    assert users(forgetful, "disable", user.key).returncode == 0
    assert wire.as_(None).ask("GET", f"/{bucket}/k").status in (200, 403), "an answer, no failure"
    assert users(forgetful, "enable", user.key).returncode == 0
    time.sleep(CACHED_S + 0.5)
    assert wire.ask("GET", f"/{bucket}/k").body == b"x"
    wire.ask("DELETE", f"/{bucket}/k")
    wire.ask("DELETE", f"/{bucket}")


KV_REQUESTS = {
    "buckets-list": ("GET", "/buckets?buckets=true"),
    "memory-unknown-backend": ("PUT", "/buckets/rec-c-mem2/props"),
    "memory-unknown-put": ("PUT", "/buckets/rec-c-mem2/keys/k"),
    "map-remove-no-context": ("POST", "/types/rec_c_map/buckets/b/datatypes/x"),
    "get-r4": ("GET", "/buckets/rec-c-kv/keys/q?r=4"),
    "get-no-vclock": ("GET", "/buckets/rec-c-kv/keys/a"),
    "index-exact-page": ("GET", "/buckets/rec-c-2i/index/n_int/0/100?max_results=7"),
    "cli-bucket-type-create-rec_c_cache": ("PUT", "/types/rec_c_cache/props"),
}


@recorded(
    "buckets-list",
    "memory-unknown-backend",
    "memory-unknown-put",
    "map-remove-no-context",
    "get-r4",
    "get-no-vclock",
    "index-exact-page",
    "cli-bucket-type-create-rec_c_cache",
)
def test_24_paths_of_kv_are_buckets_that_are_not_there(recording: str, wire: Wire) -> None:
    method, target = KV_REQUESTS[recording]
    body = b'{"props":{"backend":"be_nonsense"}}' if method != "GET" else b""
    for who in (wire, wire.as_(None)):
        began = time.monotonic()
        answer = who.ask(method, target, body, {"Content-Type": "application/json"} if body else {})
        assert answer.status in (400, 403, 404, 405, 501), answer
        assert answer.code, "an S3 error document"
        assert time.monotonic() - began < 30, "nothing of KV's 60 seconds"


FAILURES = {
    "riak-admin-cluster": ("users", "show", "nobody-at-all"),
    "riak-cs-admin": ("users", "create", "", "x@example.com"),
    "riak-cs-basic": ("users", "nonsense"),
    "riak-admin-node": ("users", "disable", "nobody-at-all"),
    "chkconfig-bad": ("check-config", "/dev/null/none.toml"),
}


@recorded("riak-admin-cluster", "riak-cs-admin", "riak-cs-basic", "riak-admin-node", "chkconfig-bad")
def test_25_a_command_that_fails_says_so_on_stderr_and_by_its_exit_code(recording: str, gateway: S3Gateway) -> None:
    done = gateway.node.cli(*FAILURES[recording])
    assert done.returncode in (1, 2, 3), done
    assert done.stderr.strip()
    assert not done.stdout.strip()


def test_25_a_dead_admin_port_is_unavailable_not_unknown(riak_cs: RiakCs, gateway: S3Gateway, tmp_path: Path) -> None:
    text = gateway.node.config.read_text()
    assert riak_cs.admin_url in text
    broken = tmp_path / "broken.toml"
    broken.write_text(text.replace(riak_cs.admin_url, "http://127.0.0.1:1"))
    done = gateway.node.cli("users", "list", "--config", str(broken))
    assert done.returncode == 4, done
