"""Which settings a command works with, and as which user it touches a node's files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from controlplane.cli.exit_codes import CommandFailed, ExitCode, UsageError

if TYPE_CHECKING:
    from controlplane.settings.tree import Settings

SYSTEM_FILE = Path("/etc/millrace/millrace.toml")


def settings_file(given: str | None, environ: Mapping[str, str]) -> Path | None:
    """The settings file: `given`, $MILLRACE_CONFIG, or the system's where there is one."""
    named = given or environ.get("MILLRACE_CONFIG")
    if named:
        return Path(named)
    return SYSTEM_FILE if SYSTEM_FILE.exists() else None


def load(given: str | None, *, data_dir: str | None = None, workers: int | None = None) -> Settings:
    """The settings of settings_file() with the environment over them. Raises UsageError with every fault.

    `data_dir`: over node.data_dir; without a file that is `given` it is that of `millrace dev`, with its stores.
    `workers`: over gateway.workers.
    """
    from controlplane.settings.faults import InvalidSettings
    from controlplane.settings.load import load_settings

    file, environ = settings_file(given, os.environ), dict(os.environ)
    if workers is not None:
        environ["MILLRACE__GATEWAY__WORKERS"] = str(workers)
    if data_dir is not None:
        environ["MILLRACE__NODE__DATA_DIR"] = os.path.abspath(data_dir)
        if given is None:
            file = None
            environ = {**_of_dev(Path(data_dir).absolute()), **environ}
    try:
        return load_settings(file, environ)
    except InvalidSettings as error:
        faults = "; ".join(str(fault) for fault in error.faults)
        where = error.file or "the environment"
        raise UsageError(f"settings in {where}: {faults}; `millrace check-config` lists them line by line") from error


def _of_dev(data_dir: Path) -> dict[str, str]:
    """The settings that `millrace dev` makes for itself, as far as other commands need them."""
    token = {"name": "dev", "secret": {"file": str(data_dir / "dev.token")}, "scopes": ["read", "write", "delete"]}
    persistent = {"kind": "filesystem", "path": str(data_dir / "persistent")}
    values: dict[str, object] = {"NODE__CLUSTER": "dev"}
    if (data_dir / "dev.token").exists():
        values |= {"TOKENS": [token], "PERSISTENT": persistent}
    return {
        f"MILLRACE__{name}": value if isinstance(value, str) else json.dumps(value) for name, value in values.items()
    }


def become_owner(data_dir: Path) -> None:
    """For root: go on as the user that `data_dir` belongs to.

    SQLite makes files beside its database for whoever opens it: made by root, they would lock the service out.
    """
    if os.geteuid() != 0:
        return
    try:
        found = data_dir.stat()
    except OSError as error:
        reason = f"{error.strerror}: is this the node's settings file?"
        raise CommandFailed(f"data directory {data_dir}: {reason}", ExitCode.NOT_FOUND) from error
    if found.st_uid != 0:
        os.setgroups([found.st_gid])
        os.setgid(found.st_gid)
        os.setuid(found.st_uid)
