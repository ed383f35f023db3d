"""The locks hold what every Python asks for that may install them, not only the one that `make lock` ran on.

Pip resolves a lock for the Python it runs on, and refuses one, with --require-hashes, that lacks what another asks for.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distribution, distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.11.0", "3.11.2", "3.11.14", "3.12.0", "3.12.12", "3.13.0", "3.13.9")
"""The first and a late one of each; 3.11.2 is Debian 12's, 3.13 Debian 13's."""


def locked(name: str) -> set[NormalizedName]:
    lines = (ROOT / f".ci/lock/{name}.txt").read_text().splitlines()
    return {canonicalize_name(found[1]) for line in lines if (found := re.match(r"([\w.-]+)==", line))}


def asked_for(wanted: list[str], python: str) -> set[NormalizedName]:
    """The names of `wanted` and of all that these lead to on `python`, as the installed packages declare it.

    What is not installed here is named, but not followed: it is not in the lock either, or the environment is old."""
    environment = {"python_version": python.rpartition(".")[0], "python_full_version": python}
    seen: set[tuple[NormalizedName, str]] = set()
    waiting = [(Requirement(line), "") for line in wanted]
    installed = {canonicalize_name(each.name) for each in distributions()}
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({**environment, "extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for chosen in {"", *requirement.extras}:
            if (name, chosen) not in seen:
                seen.add((name, chosen))
                asks = distribution(name).requires if name in installed else ()
                waiting += [(Requirement(line), chosen) for line in asks or ()]
    return {name for name, _ in seen}


@pytest.mark.parametrize("python", PYTHONS)
def test_all_that_a_python_asks_for_is_locked(python: str) -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime: list[str] = pyproject["project"]["dependencies"]
    extras: dict[str, list[str]] = pyproject["project"]["optional-dependencies"]
    everything = [*runtime, *chain.from_iterable(extras.values()), *pyproject["dependency-groups"]["dev"]]
    assert asked_for(everything, python) <= locked("dev")
    assert asked_for(runtime, python) <= locked("runtime")
    for name in ("azure", "gcs"):
        assert asked_for(extras[name], python) <= locked("runtime") | locked(f"extra-{name}")
