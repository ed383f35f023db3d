"""Requests to a cluster of etcd members, failed over from one to the next."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from controlplane.adapters.etcd.options import EtcdOptions
from controlplane.adapters.etcd.transport import AttemptFailed, Refused, Stream, Transport
from controlplane.adapters.etcd.wire import Json
from controlplane.ports.errors import Unavailable

_RETRY_AFTER_S = 2.0
_ELECTION_PAUSE_S = 0.1


class OutcomeUnknown(Unavailable):
    """A request that must not be sent twice may have been applied, or may still be."""


@dataclass(frozen=True, slots=True)
class Answer:
    fields: Json
    doubtful: bool
    """An earlier attempt at another member may have been applied too, or may still be."""


class Members:
    """The members of one cluster. One that failed is asked last from then on, until it is the last resort."""

    def __init__(self, options: EtcdOptions) -> None:
        self._transport = Transport(options)
        self._order = list(options.endpoints)
        self.timeout_s = options.timeout_s

    @property
    def closed(self) -> bool:
        return self._transport.closed

    async def call(self, path: str, body: Json, *, repeatable: bool = True) -> Answer:
        """Ask one member after the other until one answers.

        A request that is not repeatable goes to another member only if it cannot have been applied.
        Raises Refused, Rejected (credentials), Unavailable (none answered); OutcomeUnknown, which is Unavailable.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self.timeout_s
        doubtful = False
        while True:
            reasons: list[str] = []
            electing = False
            for url in tuple(self._order):
                try:
                    return Answer(await self._transport.ask(url, path, body), doubtful)
                except AttemptFailed as error:
                    self._demote(url)
                    reasons.append(f"{url}: {error}")
                    doubtful = doubtful or error.applied
                    electing = electing or error.electing
                    if error.applied and not repeatable:
                        self._transport.forget_token()
                        raise _unknown(reasons[-1]) from error
            # Members without a leader say so at once; asking them again spares callers every change of leader.
            if not electing or loop.time() + _ELECTION_PAUSE_S > give_up_at:
                self._transport.forget_token()
                raise _nobody(reasons)
            await asyncio.sleep(_ELECTION_PAUSE_S)

    async def ask_each(self, path: str, body: Json) -> dict[str, Json | Exception]:
        """The answer of every member, or why it gave none. Raises Rejected when one refuses the credentials."""

        async def ask(url: str) -> Json | Exception:
            try:
                return await self._transport.ask(url, path, body)
            except (AttemptFailed, Refused, Unavailable) as error:
                return error

        urls = sorted(self._order)
        return dict(zip(urls, await asyncio.gather(*map(ask, urls)), strict=True))

    async def stream(self, path: str, body: Json, avoid: str = "") -> Stream:
        """Open a stream at the first member that takes it, at `avoid` last. Raises Rejected, Unavailable."""
        reasons: list[str] = []
        for url in sorted(self._order, key=lambda url: url == avoid):
            try:
                return await self._transport.open_stream(url, path, body)
            except AttemptFailed as error:
                self._demote(url)
                reasons.append(f"{url}: {error}")
            except Refused as error:
                reasons.append(f"{url}: {error}")
        self._transport.forget_token()
        raise _nobody(reasons)

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _demote(self, url: str) -> None:
        self._order.remove(url)
        self._order.append(url)


def _unknown(reason: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"etcd may or may not have done what it was asked ({reason}): read back what is there", _RETRY_AFTER_S
    )


def _nobody(reasons: list[str]) -> Unavailable:
    return Unavailable(
        f"no etcd member answered ({'; '.join(reasons)}): check the members and the network", _RETRY_AFTER_S
    )
