"""This node's endpoint is in the directory only while an end-to-end PUT, GET, DELETE through it succeeds (I7)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from controlplane.model.endpoints import Endpoint
from controlplane.model.tally import PublishTally
from controlplane.ports.directory import Announcer
from controlplane.ports.errors import MillraceError

log = logging.getLogger(__name__)


class Publisher:
    """once() probes and announces; a directory that is away is said, counted, and never stops the service (I10)."""

    def __init__(
        self,
        endpoint: Endpoint,
        probe: Callable[[], Awaitable[None]],
        directories: Sequence[Announcer],
        *,
        ttl_s: float,
        failures_allowed: int,
        tally: PublishTally,
    ) -> None:
        self._endpoint = endpoint
        self._probe = probe
        self._directories = directories
        self._ttl_s = ttl_s
        self._failures_allowed = failures_allowed
        self._tally = tally
        self._failed = 0

    async def once(self) -> bool:
        """One probe, and what follows from it. Always False: the runner's pace is the probe interval."""
        try:
            await self._probe()
        except MillraceError as error:
            self._failed += 1
            self._tally.probes_failed += 1
            self._tally.last_error = str(error)
            log.warning("probe of %s failed (%d in a row): %s", self._endpoint.url, self._failed, error)
            if self._failed >= self._failures_allowed:
                await self.withdraw()
            return False
        self._failed = 0
        self._tally.probes_passed += 1
        await self._announce()
        return False

    async def withdraw(self) -> None:
        """Take the endpoint out at once. A directory that is away drops it when the lease ends."""
        for directory in self._directories:
            try:
                await directory.withdraw(self._endpoint)
            except MillraceError as error:
                self._directory_failed("withdrawing", error)
        if self._tally.published:
            log.info("endpoint %s withdrawn", self._endpoint.url)
        self._tally.published = False

    async def _announce(self) -> None:
        announced = True
        for directory in self._directories:
            try:
                await directory.announce(self._endpoint, self._ttl_s)
            except MillraceError as error:
                announced = False
                self._directory_failed("announcing", error)
        if announced:
            self._tally.last_error = ""
            if not self._tally.published:
                log.info("endpoint %s published as %s", self._endpoint.url, self._endpoint.node)
        self._tally.published = announced

    def _directory_failed(self, doing: str, error: MillraceError) -> None:
        self._tally.directory_errors += 1
        self._tally.last_error = f"{doing}: {error}"
        log.warning("%s %s failed, the service goes on: %s", doing, self._endpoint.url, error)
