"""Who in the cluster is fetching what is cold: `providers/<guid>`, `providers/objects/<digest>` in the directory.

Names are those of ports.peers."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from controlplane.ports.clock import Clock
from controlplane.ports.directory import Directory
from controlplane.ports.errors import MillraceError, Unavailable
from controlplane.ports.object_store import ObjectInfo, ObjectReader

log = logging.getLogger(__name__)

TTL_S: Final = 15.0
"""A claim outlives a provider that died by so much at most; who follows it then has found out long before."""
_ASK_AT_MOST_S: Final = 1.0
"""A read does not wait longer for the directory: it asks the store itself (I10)."""
_REST_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Provider:
    """Another gateway, which has said that it fetches it."""

    url: str
    node: str
    revision: int


class Providers:
    """Claims of this gateway, and a look at those of others. A directory that is away costs a second now and then, and
    the rule of one fetch for the whole cluster; never an answer."""

    def __init__(self, directory: Directory, clock: Clock, *, url: str, node: str) -> None:
        """`url`: where the other gateways reach this one."""
        self._directory = directory
        self._clock = clock
        self._value = json.dumps({"url": url, "node": node, "run": secrets.token_hex(8)}, separators=(",", ":"))
        self._url = url
        self._claims: dict[str, int] = {}
        """Revisions."""
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._away_until = float("-inf")

    def provides(self, name: str) -> bool:
        """Whether this gateway fetches it from the store, for all."""
        return name in self._claims

    async def find_or_claim(self, name: str, *, instead_of: Provider | None = None) -> Provider | None:
        """The gateway that fetches it; None: this one is to, by a claim of its own or because nobody can say.

        `instead_of`: one that was found before, and does not answer; its claim is taken over.
        """
        if self._clock.monotonic() < self._away_until:
            return None
        try:
            async with asyncio.timeout(_ASK_AT_MOST_S):
                return await self._find_or_claim(name, instead_of)
        except (TimeoutError, MillraceError) as error:
            why = str(error) or f"the directory gave no answer within {_ASK_AT_MOST_S:g} s"
            log.warning("providers cannot be asked for, each gateway fetches for itself: %s", why)
            self._away_until = self._clock.monotonic() + _REST_S
            return None

    async def release(self, name: str) -> None:
        """The fetch has ended."""
        keeping = self._keeping.pop(name, None)
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        revision = self._claims.pop(name, None)
        if revision is not None:
            try:
                await self._directory.compare_and_swap(_key(name), revision, None)
            except MillraceError as error:
                log.info("the claim of %s is left to its lease: %s", name, error)

    async def _find_or_claim(self, name: str, instead_of: Provider | None) -> Provider | None:
        for _ in range(3):
            there = await self._directory.get(_key(name))
            expected = None
            if there is not None:
                provider = _read(there.value, there.revision)
                ours = provider is None or provider.url == self._url
                if provider is not None and not ours and provider != instead_of:
                    return provider
                expected = there.revision  # nonsense, our own of a former run, or of one that does not answer
            revision = await self._directory.compare_and_swap(_key(name), expected, self._value, TTL_S)
            if revision is not None:
                self._claims[name] = revision
                self._keeping[name] = asyncio.ensure_future(self._keep(name))
                return None
        return None

    async def _keep(self, name: str) -> None:
        """While a long fetch goes on."""
        while name in self._claims:
            await self._clock.sleep(TTL_S / 3)
            try:
                renewed = await self._directory.compare_and_swap(_key(name), self._claims[name], self._value, TTL_S)
            except MillraceError:
                continue
            if renewed is None:
                self._claims.pop(name, None)  # taken over: somebody could not reach us
                return
            self._claims[name] = renewed


class ResumedReader:
    """Implements ObjectReader: begun at a peer, and gone on with elsewhere where that one broke off. What is
    followed is the same everywhere, and whoever reads it proves the whole."""

    file: tuple[int, int] | None = None

    def __init__(self, reader: ObjectReader, resume: Callable[[int], Awaitable[ObjectReader]]) -> None:
        self._reader = reader
        self._resume = resume
        self.resumed = False
        """Whether it broke off."""
        self.info: ObjectInfo = reader.info
        self.length = reader.length

    async def __aiter__(self) -> AsyncIterator[bytes]:
        offset = 0
        while True:
            try:
                async for chunk in self._reader:
                    offset += len(chunk)
                    yield chunk
                return
            except Unavailable as error:
                if self.resumed:
                    raise
                log.warning(
                    "%s: the peer broke off at byte %d, going on at the store: %s", self.info.key, offset, error
                )
                self.resumed = True
                await self._reader.aclose()
                self._reader = await self._resume(offset)
                if self._reader.info.size != self.length:
                    raise Unavailable(f"the store has another size of {self.info.key} than the peer") from error

    async def aclose(self) -> None:
        await self._reader.aclose()


def _key(name: str) -> str:
    return f"providers/{name.removeprefix('blobs/')}"


def _read(value: str, revision: int) -> Provider | None:
    try:
        fields = json.loads(value)
        return Provider(str(fields["url"]), str(fields["node"]), revision)
    except (ValueError, TypeError, KeyError):
        return None
