"""If-None-Match: * and If-Match on writes, as far as a service takes them."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Final

from controlplane.adapters.s3.client import Request
from controlplane.adapters.s3.failures import Failure
from controlplane.ports.clock import Clock

log = logging.getLogger(__name__)

RESTS_S: Final = 3600.0
"""A service that says it does not know conditions gets none for so long: it may be upgraded meanwhile."""
_NAMES: Final = ("if-none-match", "if-match")


class WriteConditions:
    """One for all buckets of a service. Amazon has both on PutObject and CompleteMultipartUpload since 2024, and
    If-Match on DeleteObject since 2025; servers that do not know a header mostly ignore it, some answer 501."""

    def __init__(self, clock: Clock, *, honoured: bool) -> None:
        """`honoured`: as the settings say. False: none is ever sent."""
        self._clock = clock
        self._honoured = honoured
        self._rests_until = float("-inf")

    @property
    def are_sent(self) -> bool:
        return self._honoured and self._clock.monotonic() >= self._rests_until

    def headers(self, *, if_absent: bool = False, if_match: str | None = None) -> dict[str, str]:
        if not (if_absent or if_match) or not self.are_sent:
            return {}
        return {"if-none-match": "*"} if if_absent else {"if-match": f'"{if_match}"'}

    def unknown_to(self, failure: Failure, request: Request, where: str) -> bool:
        """Whether the request was refused because it has a condition. Then none is left in it, and it may be sent
        again: nothing was done."""
        if failure.status != HTTPStatus.NOT_IMPLEMENTED and failure.code != "NotImplemented":
            return False
        conditions = [name for name in _NAMES if name in request.headers]
        if not conditions:
            return False
        for name in conditions:
            del request.headers[name]
        self._rests_until = self._clock.monotonic() + RESTS_S
        log.warning(
            "%s does not take conditions (%s): for %.0f s nothing but the look at the source keeps an old copy from "
            "replacing a newer one; conditional_put = false says so for good", where, failure, RESTS_S,
        )  # fmt: skip
        return True
