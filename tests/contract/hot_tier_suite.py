"""What every HotTier promises. Subclasses give `make`: further handles of one tier, which the fixture closes."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from controlplane.ports.hot_tier import HotTier

Make: TypeAlias = Callable[[], Awaitable[HotTier]]


class HotTierContract:
    @pytest.fixture
    async def make(self) -> Make:
        raise NotImplementedError("override `make`")

    @pytest.mark.parametrize("size", [0, 1, 1000, 600_000])
    async def test_what_one_node_puts_another_gets(self, make: Make, size: int) -> None:
        mine, other = await make(), await make()
        value = os.urandom(size)
        assert await mine.get("name") is None
        await mine.put("name", value)
        assert await other.get("name") == value
        await other.put("name", b"\r\n newer")
        assert await mine.get("name") == b"\r\n newer"

    async def test_what_is_forgotten_is_gone_for_all(self, make: Make) -> None:
        mine, other = await make(), await make()
        await mine.put("name", b"it")
        await mine.put("another", b"stays")
        await other.forget("name")
        await other.forget("never-was")
        assert await mine.get("name") is None
        assert await mine.get("another") == b"stays"
        await mine.put("name", b"again")
        assert await other.get("name") == b"again"

    async def test_it_can_be_closed_twice(self, make: Make) -> None:
        tier = await make()
        await tier.put("name", b"it")
        await tier.aclose()
        await tier.aclose()
