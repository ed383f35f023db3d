"""`millrace users` against the Riak CS stand-in, as an operator runs it."""

from __future__ import annotations

import itertools
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.hosts.standin.loopback import Standin
from tests.integration.cli.conftest import run

_numbers = itertools.count(1)
Users = Callable[..., CompletedProcess[bytes]]


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standin]:
    with Standin(tmp_path_factory.mktemp("standin")) as running:
        yield running


def settings_of(standin: Standin, folder: Path, *, url: str = "", key: str = "") -> Path:
    file = folder / "millrace.toml"
    file.write_text(
        f'[s3]\nadmin_urls = ["{url or standin.admin_url}"]\nadmin_key = "{key or standin.admin.key_id}"\n'
        'admin_secret = { env = "ADMIN_SECRET" }\nconnect_timeout_s = 1\nattempts = 1\n'
    )
    return file


@pytest.fixture
def users(standin: Standin, tmp_path: Path) -> Users:
    file = settings_of(standin, tmp_path)

    def command(*arguments: str) -> CompletedProcess[bytes]:
        return run("users", *arguments, "--config", str(file), ADMIN_SECRET=standin.admin.key_secret)

    return command


@pytest.fixture
def name() -> str:
    return f"user{next(_numbers)}"


def facts(done: CompletedProcess[bytes]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def create(users: Users, name: str, *more: str) -> dict[str, Any]:
    found: dict[str, Any] = facts(users("create", name, f"{name}@example.com", "--json", *more))
    return found


def secret_of(standin: Standin, access_key: str) -> str:
    user = standin.cs.state.users.get(access_key)
    assert user is not None
    return str(user.key_secret)


def test_a_user_is_created_and_found_by_each_of_its_names(users: Users, name: str) -> None:
    made = create(users, name)
    assert (made["name"], made["email"], made["status"], made["buckets"]) == (
        name,
        f"{name}@example.com",
        "enabled",
        [],
    )
    for named in (made["access_key"], name, f"{name}@example.com", made["id"]):
        assert facts(users("show", named, "--json")) == made
    assert made in facts(users("list", "--json"))


def test_secrets_are_printed_only_where_asked(users: Users, standin: Standin, name: str) -> None:
    made = create(users, name)
    key, secret = made["access_key"], secret_of(standin, made["access_key"])
    for quiet in (
        ("list",),
        ("list", "--json"),
        ("show", key),
        ("show", key, "--json"),
        ("disable", key),
        ("enable", key),
    ):
        done = users(*quiet)
        assert done.returncode == 0
        assert secret.encode() not in done.stdout + done.stderr
        assert standin.admin.key_secret.encode() not in done.stdout + done.stderr
    assert facts(users("show", key, "--secret", "--json"))["secret_key"] == secret
    assert secret.encode() in users("show", key, "--secret").stdout


def test_a_secret_goes_into_a_new_file_for_its_owner_only(
    users: Users, standin: Standin, name: str, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    made = create(users, name, "--secret-file", str(file))
    assert "secret_key" not in made
    assert file.read_text() == secret_of(standin, made["access_key"]) + "\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = users("rotate", name, "--secret-file", str(file))
    assert again.returncode == 2
    assert b"exists already" in again.stderr
    assert secret_of(standin, made["access_key"]) == file.read_text().strip()
    nowhere = users("create", name + "x", f"{name}x@example.com", "--secret-file", str(tmp_path / "no" / "file"))
    assert nowhere.returncode == 2
    assert users("show", name + "x").returncode == 3


def test_disable_and_enable(users: Users, name: str) -> None:
    create(users, name)
    done = users("disable", name)
    assert (done.returncode, b"is disabled" in done.stdout, b"at most 60 s" in done.stderr) == (0, True, True)
    assert facts(users("disable", name, "--json"))["status"] == "disabled"
    assert name in [at["name"] for at in facts(users("list", "--status", "disabled", "--json"))]
    assert name not in [at["name"] for at in facts(users("list", "--status", "enabled", "--json"))]
    assert facts(users("enable", name, "--json"))["status"] == "enabled"


def test_rotate_gives_another_secret_for_the_same_key(users: Users, standin: Standin, name: str) -> None:
    key = create(users, name)["access_key"]
    before = secret_of(standin, key)
    rotated = facts(users("rotate", name, "--secret", "--json"))
    assert rotated["access_key"] == key
    assert rotated["secret_key"] == secret_of(standin, key) != before


def test_names_and_addresses_are_taken_once(users: Users, name: str) -> None:
    """Recordings user-create-duplicate, user-create-duplicate-name, user-create-duplicate-email."""
    create(users, name)
    for other in ((name, f"{name}@example.com"), (name, f"{name}2@example.com"), (name + "2", f"{name}@example.com")):
        done = users("create", *other)
        assert done.returncode == 5
        assert b"exists already" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("create", "", "x@example.com"), 2, b"the name is empty"),
        (("create", "someone", "nonsense"), 5, b"not a valid"),
        (("show", "nobody"), 3, b"millrace users list"),
        (("show", "NOSUCHKEY00000000000"), 3, b"no user"),
        (("disable", "a/../b?x"), 3, b"no user"),
        (("list", "--status", "sleeping"), 2, b"invalid choice"),
    ],
)
def test_what_goes_wrong_is_said(users: Users, arguments: tuple[str, ...], code: int, says: bytes) -> None:
    done = users(*arguments)
    assert done.returncode == code
    assert says in done.stderr
    assert not done.stdout


def test_the_user_of_the_gateways_is_left_alone(users: Users, standin: Standin) -> None:
    for verb in ("disable", "rotate"):
        done = users(verb, standin.admin.key_id)
        assert done.returncode == 2
        assert b"s3.admin_key" in done.stderr


def test_outages_and_wrong_keys(standin: Standin, tmp_path: Path) -> None:
    def listed(file: Path, secret: str) -> CompletedProcess[bytes]:
        return run("users", "list", "--config", str(file), ADMIN_SECRET=secret)

    good = standin.admin.key_secret
    assert listed(settings_of(standin, tmp_path, url="http://127.0.0.1:1"), good).returncode == 4
    wrong = listed(settings_of(standin, tmp_path), "wrong")
    assert (wrong.returncode, b"s3.admin_secret" in wrong.stderr) == (5, True)
    (tmp_path / "empty.toml").write_text("")
    nothing = listed(tmp_path / "empty.toml", good)
    assert (nothing.returncode, b"s3.admin_urls" in nothing.stderr) == (2, True)
