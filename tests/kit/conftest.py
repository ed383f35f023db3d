"""Where the kit's tools are, and the kit's Python files, which live outside of any package."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(path: str) -> ModuleType:
    """A module of a role, by its path in the repository."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tool():
    """Runs a command of this virtual environment in the repository and returns the finished process."""

    def run(*command: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
        own = Path(sys.executable).parent
        return subprocess.run(
            [str(own / str(command[0])), *map(str, command[1:])],
            cwd=cwd,
            env={**os.environ, "PATH": f"{own}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run
