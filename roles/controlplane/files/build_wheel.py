#!/usr/bin/env python3
"""Builds the wheel of Millrace once for each state of the source, and prints JSON: {"wheel", "digest", "changed"}.

Usage: build_wheel.py SOURCE_DIR BUILD_DIR, or build_wheel.py --given WHEEL. With pip of the Python that runs this.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = ("pyproject.toml", "README.md", "LICENSE")
PACKAGE = "controlplane"


def sources(source: Path) -> list[Path]:
    """What the wheel is made of, in a fixed order."""
    package = source / PACKAGE
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [source / name for name in TOP] + sorted(files)


def digest_of(source: Path) -> str:
    digest = hashlib.sha256()
    for path in sources(source):
        digest.update(f"{path.relative_to(source)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def build(source: Path, into: Path) -> None:
    """Build from a copy, so that nothing is left in the source and only what was digested is built."""
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        copy = Path(scratch, "source")
        for path in sources(source):
            target = copy / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1577836800"}
        out = Path(scratch, "out")
        done = subprocess.run(
            [*command, "--wheel-dir", str(out), str(copy)], env=environment, text=True, capture_output=True, check=False
        )
        if done.returncode:
            sys.exit(f"pip could not build the wheel from {source}:\n{done.stdout}{done.stderr}")
        into.mkdir(parents=True, exist_ok=True)
        for wheel in out.glob("*.whl"):
            os.replace(wheel, into / wheel.name)


def main(arguments: list[str]) -> None:
    match arguments:
        case ["--given", path]:
            wheel = Path(path)
            digest, changed = hashlib.sha256(wheel.read_bytes()).hexdigest(), False
        case [source, build_dir]:
            digest = digest_of(Path(source))
            folder = Path(build_dir, "wheels", digest[:16])
            folder.parent.mkdir(parents=True, exist_ok=True)
            with open(folder.parent / "lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                changed = not any(folder.glob("*.whl"))
                if changed:
                    build(Path(source), folder)
            wheel = next(folder.glob("*.whl"))
        case _:
            sys.exit(__doc__)
    print(json.dumps({"wheel": str(wheel), "digest": digest, "changed": changed}))


if __name__ == "__main__":
    main(sys.argv[1:])
