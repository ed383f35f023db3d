"""`millrace doctor`: tries every configured part, each in a thread of its own, so that none can hide the others."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from controlplane.cli import output, settings_source
from controlplane.cli.exit_codes import CommandFailed, ExitCode
from controlplane.ports.errors import MillraceError

if TYPE_CHECKING:
    from controlplane.settings.tree import Settings


class Health(Enum):
    OK = "ok"
    WARN = "WARN"
    """It works, but not as well or not as long as it should."""
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `advice` is what to do about it, empty when all is well."""

    check: str
    health: Health
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to try. `run` may block, and may raise MillraceError, OSError or CommandFailed: that is a FAIL."""

    name: str
    run: Callable[[], Finding]
    advice: str = ""
    """For a failure that says nothing else."""


def doctor(arguments: Namespace) -> int:
    """0 when nothing fails (warnings are allowed), 1 otherwise."""
    findings: list[Finding] = []
    hanging = False
    try:
        settings = _settings(arguments)
    except CommandFailed as error:
        findings.append(Finding("settings", Health.FAIL, str(error), "nothing else can be tried before this is right"))
    else:
        file = arguments.config or settings_source.settings_file(None, os.environ) or "no file, all defaults"
        named = file if arguments.data_dir is None else f"those of `millrace dev` in {arguments.data_dir}"
        findings.append(Finding("settings", Health.OK, str(named)))
        found, hanging = run_checks(_checks(settings, arguments.timeout), arguments.timeout)
        findings += forgive_members(found)
    code = ExitCode.FAILED if any(each.health is Health.FAIL for each in findings) else ExitCode.OK
    _tell(findings, as_json=arguments.json)
    if hanging:
        # A thread that hangs in a system call would keep the interpreter from ending.
        sys.stderr.flush()
        os._exit(code)
    return code


def _settings(arguments: Namespace) -> Settings:
    """The settings, read once more as the user that the service runs as: a secret may be root's alone."""
    settings = settings_source.load(arguments.config, data_dir=arguments.data_dir)
    if os.geteuid() == 0 and settings.node.data_dir.exists():
        settings_source.become_owner(settings.node.data_dir)
        settings = settings_source.load(arguments.config, data_dir=arguments.data_dir)
    return settings


_LOADED_FIRST = ("adapters.etcd", "adapters.filesystem", "adapters.memory", "adapters.riak_cs", "adapters.riak_kv",
  "adapters.s3", "cli.gc_commands", "wiring.adapters", "wiring.cluster_stores", "wiring.riak_cs")  # fmt: skip


def _checks(settings: Settings, timeout_s: float) -> list[Check]:
    # Threads that begin with a package and with a module of it at once end in a deadlock of Python's import.
    for name in _LOADED_FIRST:
        importlib.import_module(f"controlplane.{name}")
    from controlplane.cli import doctor_buckets, doctor_local, doctor_remote, doctor_s3

    # What can end by itself shall do so before it is given up.
    timeout_s *= 0.8
    buckets = doctor_buckets.checks(settings, timeout_s)
    if buckets:
        importlib.import_module("controlplane.adapters.s3.bucket_facts")
    remote = [*doctor_remote.checks(settings, timeout_s), *buckets, *doctor_s3.checks(settings, timeout_s)]
    return [*doctor_local.checks(settings), *remote]


def run_checks(checks: Sequence[Check], timeout_s: float) -> tuple[list[Finding], bool]:
    """All findings in the order of the checks, and whether any thread still hangs."""
    findings: list[Finding | None] = [None] * len(checks)

    def work(index: int, check: Check) -> None:
        findings[index] = _tried(check)

    threads = [
        threading.Thread(target=work, args=(index, check), name=check.name, daemon=True)
        for index, check in enumerate(checks)
    ]
    deadline = time.monotonic() + timeout_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    late = f"no answer within {timeout_s:g} s"
    done = [
        finding or Finding(check.name, Health.FAIL, late, check.advice)
        for check, finding in zip(checks, list(findings), strict=True)
    ]
    return done, any(thread.is_alive() for thread in threads)


def _tried(check: Check) -> Finding:
    try:
        return check.run()
    except (MillraceError, CommandFailed) as error:
        return Finding(check.name, Health.FAIL, str(error), check.advice)
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        return Finding(check.name, Health.FAIL, f"{where}{error.strerror or error}", check.advice)
    except Exception as error:  # noqa: BLE001 - a check that breaks is a finding like any other, and hides none
        return Finding(check.name, Health.FAIL, f"internal error: {type(error).__name__}: {error}", "report it")


def forgive_members(findings: Sequence[Finding]) -> list[Finding]:
    """One etcd member, or one node of Riak KV, down is a warning while another answers."""
    found = list(findings)
    for kind in (MEMBER, RIAK_NODE):
        members = [each for each in found if each.check.startswith(kind)]
        if any(each.health is Health.OK for each in members):
            found = [
                replace(each, health=Health.WARN) if each in members and each.health is Health.FAIL else each
                for each in found
            ]
    return found


MEMBER = "etcd member "
RIAK_NODE = "Riak KV "


def _tell(findings: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        failed = any(each.health is Health.FAIL for each in findings)
        checks = [
            {"check": each.check, "result": each.health.value.lower(), "found": each.found, "advice": each.advice}
            for each in findings
        ]
        output.document({"ok": not failed, "checks": checks})
        return
    width = max(len(each.check) for each in findings)
    for each in findings:
        advice = f" -> {each.advice}" if each.advice else ""
        found = each.found.replace("\n", " ")
        output.line(f"{each.health.value:<4}  {each.check:<{width}}  {found}{advice}")
