"""Writes the locks beside this file: every package that pyproject.toml leads to, pinned, with hashes.

runtime.txt is what a node runs, dev.txt what developing and testing takes, build.txt the part of dev.txt that must be
there first, since some packages are built on installation. clients.txt is an environment of its own: the S3 clients
that tests/clients runs against the gateway, which do not agree with dev.txt on botocore. extra-<name>.txt is what an
optional extra of nodes takes beside runtime.txt, for the extras that roles/controlplane installs by itself.

Run by `make lock`, inside the virtual environment. Only the default package index is asked (PIP_INDEX_URL chooses
another), whatever else pip is told on this machine, so that the hashes are those of the published files. Pass package
names to upgrade only these (`make lock UPGRADE="boto3 aiohttp"`), or `all`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RUNTIME, DEV, BUILD, CLIENTS = (HERE / f"{name}.txt" for name in ("runtime", "dev", "build", "clients"))
BUILD_PACKAGES = ("pip", "setuptools")
STORE_EXTRAS = ("azure", "gcs")
"""A store of the settings needs it, and so the role installs it."""
HEADER = "# Written by `make lock`; installed by the Makefile with pip's --require-hashes.\n"


def compile_lock(requirements: list[str], lock: Path, constraints: list[str], upgrades: list[str]) -> None:
    """Resolve `requirements` into `lock`; pins that `lock` has already are kept unless named in `upgrades`."""
    local = ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL")
    environ = {name: value for name, value in os.environ.items() if name not in local}
    environ["PIP_CONFIG_FILE"] = os.devnull
    with tempfile.TemporaryDirectory() as folder:
        wanted, output = Path(folder, "wanted.in"), Path(folder, "lock.txt")
        limits = Path(folder, "constraints.txt")
        wanted.write_text("\n".join([*requirements, f"-c {limits}", ""]))
        limits.write_text("\n".join([*constraints, ""]))
        if lock.exists() and "all" not in upgrades:
            output.write_text(lock.read_text())
        options = ["--generate-hashes", "--allow-unsafe", "--strip-extras", "--no-header", "--no-annotate", "--quiet"]
        options += ["--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host", "--no-emit-options"]
        for name in upgrades:
            options += ["--upgrade"] if name == "all" else ["--upgrade-package", name]
        command = [sys.executable, "-m", "piptools", "compile", *options, f"--output-file={output}", str(wanted)]
        subprocess.run(command, check=True, env=environ, cwd=folder)
        lock.write_text(HEADER + output.read_text().lstrip("\n"))


def pins(lock: Path) -> list[str]:
    """The `name==version` lines of a lock."""
    lines = lock.read_text().splitlines()
    return [line.split()[0] for line in lines if "==" in line and not line.startswith((" ", "#"))]


def lock_extra(name: str, requirements: list[str]) -> None:
    """What `requirements` take beyond the runtime lock."""
    lock = HERE / f"extra-{name}.txt"
    compile_lock(requirements, lock, pins(DEV), ["all"])
    known = {pin.split("==")[0] for pin in pins(RUNTIME)}
    lock.write_text(
        HEADER + part(lock, tuple(pin.split("==")[0] for pin in pins(lock) if pin.split("==")[0] not in known))
    )


def part(lock: Path, packages: tuple[str, ...]) -> str:
    """The entries of `lock` for `packages`, hashes and all."""
    entries = re.split(r"\n(?=[A-Za-z0-9])", lock.read_text().removeprefix(HEADER))
    chosen = [entry.split("\n#")[0].rstrip() for entry in entries if entry.split("==")[0] in packages]
    return "\n".join([*chosen, ""])


def main() -> None:
    upgrades = sys.argv[1:]
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime: list[str] = pyproject["project"]["dependencies"]
    optional: dict[str, list[str]] = pyproject["project"]["optional-dependencies"]
    extras = [name for names in optional.values() for name in names]
    dev = [*runtime, *extras, *pyproject["dependency-groups"]["dev"], *pyproject["build-system"]["requires"], "pip"]
    compile_lock(dev, DEV, [], upgrades)
    BUILD.write_text(HEADER + part(DEV, BUILD_PACKAGES))
    # What is tested is what is shipped: the runtime lock is a part of the other.
    compile_lock(runtime, RUNTIME, pins(DEV), ["all"])
    for name in STORE_EXTRAS:
        lock_extra(name, optional[name])
    compile_lock(pyproject["dependency-groups"]["clients"], CLIENTS, [], upgrades)


if __name__ == "__main__":
    main()
