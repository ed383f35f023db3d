#!/usr/bin/env python3
"""Downloads the locked packages, as wheels for one Python version, and prints JSON: {"archive", "changed"}.

Usage: fill_wheelhouse.py BUILD_DIR PYTHON_VERSION REQUIREMENTS... The tar archive is named by what it must hold.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path


def main(arguments: list[str]) -> None:
    if len(arguments) < 3:
        sys.exit(__doc__)
    build_dir, version, *requirements = arguments
    digest = hashlib.sha256(version.encode())
    for path in requirements:
        digest.update(Path(path).read_bytes())
    archive = Path(build_dir, "wheelhouse", f"python{version}-{digest.hexdigest()[:16]}.tar")
    archive.parent.mkdir(parents=True, exist_ok=True)
    with open(archive.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        changed = not archive.exists()
        if changed:
            with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
                download(Path(scratch, "wheels"), version, requirements)
                pack(Path(scratch, "wheels"), Path(scratch, "wheels.tar"))
                os.replace(Path(scratch, "wheels.tar"), archive)
    print(json.dumps({"archive": str(archive), "changed": changed}))


def download(into: Path, version: str, requirements: list[str]) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", f"--python-version={version}", f"--dest={into}"]
    for path in requirements:
        command += ["--requirement", path]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"pip could not download the locked packages:\n{done.stdout}{done.stderr}")


def pack(folder: Path, archive: Path) -> None:
    """One file: each file that Ansible copies costs a second."""
    with tarfile.open(archive, "w") as tar:
        for wheel in sorted(folder.iterdir()):
            tar.add(wheel, wheel.name)


if __name__ == "__main__":
    main(sys.argv[1:])
