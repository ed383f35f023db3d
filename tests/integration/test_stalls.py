"""The promises of tests/support/stalls.py, by which tests measure time."""

from __future__ import annotations

import asyncio
import time

from tests.support.stalls import seconds


async def test_waiting_counts_and_a_stall_does_not() -> None:
    async def work() -> None:
        await asyncio.sleep(0.4)
        time.sleep(1.5)  # the process gets no processor
        await asyncio.sleep(0.4)
        time.sleep(1.5)

    assert 0.5 < await seconds(work()) < 1.5
