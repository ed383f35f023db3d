"""Who a request's access key belongs to: looked up at Riak CS, kept briefly, one look-up for all that ask at once.

The rule when the admin port is away: what is known and not older than `keep_s` goes on being served; an older entry is
not, and neither is an unknown key: both are Unavailable (503), never "no such key" (I5). A disabled user and a changed
secret are thereby refused within `keep_s` in every case, and an outage of the admin port stops only callers that this
gateway has not seen for that long.

Riak CS says of a user that it cannot read now (a Riak node went down a moment ago) what it says of one that does not
exist. So a caller that was known is served until its time is over, and then is gone only when the list of all users has
it no more.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from controlplane.ports.accounts import Account, Accounts
from controlplane.ports.clock import Clock
from controlplane.ports.errors import NotFound, Unavailable

MOST_KEEP_S: Final = 60.0
_MOST_KNOWN: Final = 10_000
_RELIST_S: Final = 0.5
"""All users are not listed again within this, whoever may be missing."""
_UNKNOWN_KEEP_S: Final = 2.0
"""An access key that does not exist is not asked for again within this: guessing must not load the admin port."""


class Callers:
    """`keep_s`: at most 60 s. Known entries are looked up anew beside the requests from half of that age on."""

    def __init__(self, accounts: Accounts, clock: Clock, keep_s: float) -> None:
        self._accounts = accounts
        self._clock = clock
        self._keep_s = min(keep_s, MOST_KEEP_S)
        self._known: OrderedDict[str, tuple[Account | None, float]] = OrderedDict()
        """Access key: (account, None when there is none; monotonic time of the answer)."""
        self._asking: dict[str, asyncio.Task[Account | None]] = {}
        self._by_id: tuple[dict[str, Account], float] | None = None
        self._listing: asyncio.Task[dict[str, Account]] | None = None

    def known(self, access_key: str) -> Account | None:
        """The account, when it is known well enough to be used without waiting."""
        entry = self._known.get(access_key)
        if entry is None or entry[0] is None:
            return None
        age = self._clock.monotonic() - entry[1]
        if age >= self._keep_s:
            return None
        if age >= self._keep_s / 2 and access_key not in self._asking:
            self._ask(access_key)
        return entry[0]

    async def by_key(self, access_key: str) -> Account:
        """Raises NotFound, Unavailable, Rejected (our admin key)."""
        account = self.known(access_key)
        if account is not None:
            return account
        entry = self._known.get(access_key)
        if entry is not None and entry[0] is None and self._clock.monotonic() - entry[1] < _UNKNOWN_KEEP_S:
            raise NotFound(f"there is no access key {access_key[:40]!r}")
        task = self._asking.get(access_key) or self._ask(access_key)
        account = await asyncio.shield(task)
        if account is None:
            raise NotFound(f"there is no access key {access_key[:40]!r}")
        return account

    async def again(self, access_key: str, account: Account) -> Account | None:
        """A fresh look-up, for a signature that did not match; None when `account` is fresh enough to be right."""
        entry = self._known.get(access_key)
        if entry is None or entry[0] is not account or self._clock.monotonic() - entry[1] < _UNKNOWN_KEEP_S:
            return None
        return await asyncio.shield(self._asking.get(access_key) or self._ask(access_key))

    async def by_id(self, canonical_id: str) -> Account | None:
        """The account with this canonical ID; None when there is none."""
        return await self._find(lambda everybody: everybody.get(canonical_id))

    async def by_email(self, address: str) -> Account | None:
        wanted = address.lower()
        return await self._find(lambda all_: next((one for one in all_.values() if one.email.lower() == wanted), None))

    async def owner_of(self, bucket: str) -> Account | None:
        """Whom the list of users names as the owner of this bucket."""
        return await self._find(lambda all_: next((one for one in all_.values() if bucket in one.buckets), None))

    async def _find(self, found_in: Callable[[Mapping[str, Account]], Account | None]) -> Account | None:
        """Among all users, up to `keep_s` old; those that are not there are looked for in a list of this moment."""
        for most_s in (self._keep_s, _RELIST_S):
            found = found_in(await self._everybody(most_s))
            if found is not None:
                return found
        return None

    async def aclose(self) -> None:
        tasks = [*self._asking.values(), *([self._listing] if self._listing is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask(self, access_key: str) -> asyncio.Task[Account | None]:
        task = asyncio.get_running_loop().create_task(self._look_up(access_key))
        self._asking[access_key] = task
        task.add_done_callback(lambda done: self._asked(access_key, done))
        return task

    async def _look_up(self, access_key: str) -> Account | None:
        asked_at = self._clock.monotonic()
        try:
            account: Account | None = await self._accounts.by_key(access_key)
        except NotFound:
            before, as_of = self._known.get(access_key, (None, 0.0))
            if before is not None:
                # By the time of the answer: whoever came after the caller's time was over waits for this very look.
                if self._clock.monotonic() - as_of < self._keep_s:
                    return None
                if await self._is_listed(access_key):
                    raise Unavailable(f"Riak CS lists the user of {access_key}, but did not show it") from None
            account = None
        self._known[access_key] = (account, asked_at)
        self._known.move_to_end(access_key)
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return account

    async def _is_listed(self, access_key: str) -> bool:
        return any(one.keys.access_key == access_key for one in (await self._everybody(_RELIST_S)).values())

    def _asked(self, access_key: str, done: asyncio.Task[Account | None]) -> None:
        self._asking.pop(access_key, None)
        if not done.cancelled():
            done.exception()  # who waits for it gets it; a look-up beside the requests is tried again by the next one

    async def _everybody(self, most_s: float) -> dict[str, Account]:
        found = self._by_id
        if found is not None and self._clock.monotonic() - found[1] < most_s:
            return found[0]
        if self._listing is None or self._listing.done():
            self._listing = asyncio.get_running_loop().create_task(self._list())
        try:
            return await asyncio.shield(self._listing)
        except asyncio.CancelledError:
            if self._listing.cancelled():
                raise Unavailable("the gateway is stopping") from None
            raise

    async def _list(self) -> dict[str, Account]:
        asked_at = self._clock.monotonic()
        everybody = {account.id: account for account in await self._accounts.all()}
        self._by_id = (everybody, asked_at)
        return everybody
