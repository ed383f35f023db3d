"""Settings from a text and an environment, and their faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from controlplane.settings.faults import Fault, InvalidSettings
from controlplane.settings.load import parse_settings

if TYPE_CHECKING:
    from collections.abc import Callable


class FaultsOf(Protocol):
    def __call__(self, text: str = "", **environ: str) -> dict[str, Fault]: ...


@pytest.fixture(scope="session")
def faults_of() -> Callable[..., dict[str, Fault]]:
    """The faults of settings that must not load, by path."""

    def load(text: str = "", **environ: str) -> dict[str, Fault]:
        with pytest.raises(InvalidSettings) as caught:
            parse_settings(text, environ)
        assert caught.value.faults
        return {fault.path: fault for fault in caught.value.faults}

    return load
