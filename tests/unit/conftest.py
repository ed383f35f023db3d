"""Unit tests run on virtual time: waiting costs nothing, and no test depends on how fast the machine is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tests.support.virtual_time import VirtualClock, VirtualTimeLoop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], VirtualTimeLoop]]:
    return {"virtual": VirtualTimeLoop}


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()
