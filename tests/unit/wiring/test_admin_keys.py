"""The admin's secret follows its file: only after a refusal, once a second at most, never into what cannot be read."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from controlplane.ports.upstream import KeyPair, RenewableKeyPair
from controlplane.settings.secret import Secret
from controlplane.wiring.admin_keys import LOOK_S, AdminKeys
from tests.support.secret_file import secret_file
from tests.support.virtual_time import VirtualClock

OLD = KeyPair("ADMIN", "old")
NEW = KeyPair("ADMIN", "new")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return secret_file(tmp_path / "admin-secret", "old\n")


@pytest.fixture
def keys(file: Path, clock: VirtualClock) -> AdminKeys:
    return AdminKeys("ADMIN", TypeAdapter(Secret).validate_python({"file": str(file)}), clock)


async def test_nothing_is_read_before_a_refusal(keys: AdminKeys, file: Path) -> None:
    file.write_text("new\n")
    assert keys.current == OLD


async def test_a_refusal_takes_up_what_the_file_holds_now(keys: AdminKeys, file: Path) -> None:
    file.write_text("new\n")
    assert keys.renewed(OLD)
    assert keys.current == NEW


async def test_a_refusal_without_another_secret_is_none_to_try_again(keys: AdminKeys) -> None:
    assert not keys.renewed(OLD)
    assert keys.current == OLD


async def test_the_file_is_read_at_most_once_a_second(keys: AdminKeys, file: Path, clock: VirtualClock) -> None:
    assert not keys.renewed(OLD)
    file.write_text("new\n")
    await clock.sleep(LOOK_S * 0.9)
    assert not keys.renewed(OLD)
    await clock.sleep(LOOK_S * 0.2)
    assert keys.renewed(OLD)


async def test_who_was_refused_with_the_former_secret_needs_no_second_reading(keys: AdminKeys, file: Path) -> None:
    file.write_text("new\n")
    assert keys.renewed(OLD)
    file.unlink()
    assert keys.renewed(OLD), "another request was under way with it"
    assert not keys.renewed(NEW)


async def test_the_secret_can_be_replaced_again(keys: AdminKeys, file: Path, clock: VirtualClock) -> None:
    file.write_text("new\n")
    assert keys.renewed(OLD)
    file.write_text("newer\n")
    await clock.sleep(LOOK_S)
    assert keys.renewed(NEW)
    assert keys.current == KeyPair("ADMIN", "newer")


@pytest.mark.parametrize("fault", ["missing", "empty", "open"])
async def test_a_file_that_cannot_be_used_leaves_the_former_secret(
    keys: AdminKeys, file: Path, clock: VirtualClock, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    match fault:
        case "missing":
            file.unlink()
        case "empty":
            file.write_text("")
        case _:
            file.write_text("new\n")
            file.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert not keys.renewed(OLD)
            await clock.sleep(LOOK_S)
    assert keys.current == OLD
    assert len(caplog.records) == 1
    assert str(file) in caplog.text
    file.unlink(missing_ok=True)
    file.touch(0o600)
    file.write_text("new\n")
    assert keys.renewed(OLD)
    assert keys.current == NEW


async def test_a_secret_from_the_environment_stays(clock: VirtualClock) -> None:
    keys = AdminKeys("ADMIN", Secret("old", "environment variable ADMIN"), clock)
    assert not keys.renewed(OLD)


async def test_no_secret_is_shown(keys: AdminKeys, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_text("s3cr3t\n")
    with caplog.at_level(logging.DEBUG):
        assert keys.renewed(OLD)
    pair = RenewableKeyPair("ADMIN", "0ld", keys)
    assert "s3cr3t" not in caplog.text + repr(pair)
    assert "0ld" not in repr(pair)
