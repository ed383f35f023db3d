"""Doctor's rules: nothing hides anything, and one member down is no outage."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from argparse import Namespace
from pathlib import Path

import pytest

from controlplane.cli import doctor
from controlplane.cli.doctor import MEMBER, Check, Finding, Health, forgive_members, run_checks
from controlplane.cli.doctor_local import checks as local_checks
from controlplane.cli.exit_codes import ExitCode
from controlplane.ports.errors import Unavailable
from controlplane.settings.tree import Journal, Node, Settings
from tests.support.secret_file import secret_file


def ok(name: str) -> Check:
    return Check(name, lambda: Finding(name, Health.OK, "fine"))


def failing(error: Exception) -> Check:
    def run() -> Finding:
        raise error

    return Check("broken", run, "mend it")


@pytest.mark.parametrize(
    "error", [Unavailable("away"), PermissionError(13, "Permission denied"), ZeroDivisionError("x")]
)
def test_a_check_that_raises_is_a_failure_and_hides_no_other(error: Exception) -> None:
    findings, hanging = run_checks([ok("a"), failing(error), ok("b")], 5)
    assert [each.health for each in findings] == [Health.OK, Health.FAIL, Health.OK]
    assert findings[1].advice
    assert not hanging


def test_a_check_that_hangs_is_a_failure_and_hides_no_other() -> None:
    end = threading.Event()

    def hang() -> Finding:
        end.wait(30)
        return Finding("late", Health.OK, "")

    try:
        findings, hanging = run_checks([Check("late", hang, "look there"), ok("b")], 0.2)
    finally:
        end.set()
    assert [each.health for each in findings] == [Health.FAIL, Health.OK]
    assert "no answer within 0.2 s" in findings[0].found
    assert hanging


def test_one_member_down_is_a_warning_and_all_down_a_failure() -> None:
    up = Finding(MEMBER + "a", Health.OK, "")
    down = Finding(MEMBER + "b", Health.FAIL, "")
    other = Finding("journal", Health.FAIL, "")
    assert [each.health for each in forgive_members([up, down, other])] == [Health.OK, Health.WARN, Health.FAIL]
    assert [each.health for each in forgive_members([down, other])] == [Health.FAIL, Health.FAIL]


def found(settings: Settings, name: str) -> Finding:
    return next(each for each in local_checks(settings) if each.name == name).run()


def test_a_data_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    place = tmp_path / "none" / "yet"
    settings = Settings(node=Node(data_dir=place))
    for name in ("data_dir", "disk space", "journal", "catalog", "hot cache"):
        assert found(settings, name).health is not Health.FAIL
    assert not place.parent.exists()


def test_a_data_directory_that_is_a_file_fails(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    assert found(Settings(node=Node(data_dir=place)), "data_dir").health is Health.FAIL


def test_a_data_directory_is_left_as_it_was(tmp_path: Path) -> None:
    assert found(Settings(node=Node(data_dir=tmp_path)), "data_dir").health is Health.OK
    assert list(tmp_path.iterdir()) == []


def test_a_full_journal_fails_and_dead_letters_warn(tmp_path: Path) -> None:
    import asyncio

    from controlplane.model.keys import Bucket, Key
    from controlplane.model.task import Draft, Op
    from controlplane.wiring.adapters import open_journal

    settings = Settings(node=Node(data_dir=tmp_path), journal=Journal(limit=2))

    async def fill() -> None:
        journal = await open_journal(settings)
        task = await journal.append(Draft(Op.DELETE, Bucket("b"), Key("one")), 1.0)
        await journal.bury(task.seq, attempts=3, error="hopeless")
        await journal.aclose()

    async def add() -> None:
        journal = await open_journal(settings)
        await journal.append(Draft(Op.DELETE, Bucket("b"), Key("two")), 1.0)
        await journal.aclose()

    asyncio.run(fill())
    assert found(settings, "journal").health is Health.WARN
    asyncio.run(add())
    assert found(settings, "journal").health is Health.FAIL


def test_faulty_settings_are_a_failure_of_their_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "m.toml"
    file.write_text("[gateway]\nprot = 1\n")
    arguments = Namespace(config=str(file), data_dir=None, timeout=5.0, json=True)
    assert doctor.doctor(arguments) == ExitCode.FAILED
    said = json.loads(capfd.readouterr().out)
    assert not said["ok"]
    assert said["checks"][0]["result"] == "fail"
    assert "gateway.prot" in said["checks"][0]["found"]


def test_nobody_who_may_write_is_a_warning(tmp_path: Path) -> None:
    finding = found(Settings(node=Node(data_dir=tmp_path)), "tokens")
    assert finding.health is Health.WARN
    assert "write" in finding.found


_IMPORTED_BY_CHECKS = """
import sys
from pathlib import Path
from controlplane.cli import doctor
from controlplane.settings.load import parse_settings

settings = parse_settings(Path(sys.argv[1]).read_text(), {})
checks = doctor._checks(settings, 5)
before = set(sys.modules)
findings, _ = doctor.run_checks(checks, 5)
for name in sorted(set(sys.modules) - before):
    parent = name.rpartition(".")[0]
    if name.startswith("controlplane.") and parent not in before:
        print("package in a thread:", name)
for each in findings:
    if "internal error" in each.found:
        print(each.check, each.found)
"""


def test_no_package_of_ours_is_begun_in_a_thread(tmp_path: Path) -> None:
    """Two threads that begin with a package and with a module of it end in a deadlock of Python's import, which doctor
    showed as internal errors of sound parts (on a machine with little to do)."""
    secret = secret_file(tmp_path / "secret", "not-a-real-secret")
    file = tmp_path / "millrace.toml"
    file.write_text(
        f"""
        [node]
        data_dir = "{tmp_path}"
        [primary]
        kind = "s3"
        endpoints = ["http://127.0.0.1:1"]
        bucket = "millrace"
        [persistent]
        kind = "filesystem"
        path = "{tmp_path}/copies"
        [directory.etcd]
        endpoints = ["http://127.0.0.1:1"]
        [s3]
        endpoints = ["http://127.0.0.1:1"]
        admin_urls = ["http://127.0.0.1:1"]
        admin_key = "admin"
        admin_secret = {{ file = "{secret}" }}
        """
    )
    command = [sys.executable, "-c", _IMPORTED_BY_CHECKS, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr
