"""Stores over faulty servers: short timeouts, small parts, back-off that is noted instead of waited for."""

from __future__ import annotations

import time

from controlplane.adapters.s3 import S3Options

PART = 1024 * 1024


class ImpatientClock:
    """Real time, but back-off is only noted: the sockets' own timeouts stay real."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def options_for(*urls: str, **changes: object) -> S3Options:
    values: dict[str, object] = {
        "endpoints": urls, "bucket": "b", "access_key": "AK", "secret_key": "SK", "connect_timeout_s": 1.0,
        "read_timeout_s": 0.4, "part_bytes": PART, "connections": 8,
    }  # fmt: skip
    return S3Options(**{**values, **changes})  # type: ignore[arg-type]
