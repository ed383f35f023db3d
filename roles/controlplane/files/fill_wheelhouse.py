#!/usr/bin/env python3
"""Downloads the locked packages, as wheels for one Python version, and prints JSON: {"folder", "changed"}.

Usage: fill_wheelhouse.py BUILD_DIR PYTHON_VERSION REQUIREMENTS... The folder is named by what it must hold.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    if len(arguments) < 3:
        sys.exit(__doc__)
    build_dir, version, *requirements = arguments
    digest = hashlib.sha256(version.encode())
    for path in requirements:
        digest.update(Path(path).read_bytes())
    folder = Path(build_dir, "wheelhouse", f"python{version}-{digest.hexdigest()[:16]}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        changed = not folder.is_dir()
        if changed:
            download(folder, version, requirements)
    print(json.dumps({"folder": str(folder), "changed": changed}))


def download(folder: Path, version: str, requirements: list[str]) -> None:
    """Into a folder that gets its name only when it is complete."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", f"--python-version={version}", f"--dest={part}"]
    for path in requirements:
        command += ["--requirement", path]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"pip could not download the locked packages:\n{done.stdout}{done.stderr}")
    part.rename(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
