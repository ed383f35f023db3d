"""What doctor asks for the S3 front: every Riak CS node, its admin port and the admin user's key, the lock's etcd."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from controlplane.cli.doctor import Check, Finding, Health
from controlplane.ports.errors import NotFound, Rejected

if TYPE_CHECKING:
    from controlplane.settings.tree import Settings


def checks(settings: Settings, timeout_s: float) -> list[Check]:
    s3 = settings.s3
    if not s3.endpoints:
        return []
    found = [
        Check(f"Riak CS {url}", partial(_node, url, settings, timeout_s), "start it, or check address and network")
        for url in s3.endpoints
    ]
    found += [
        Check(
            f"Riak CS admin {url}",
            partial(_admin, url, settings, timeout_s),
            "start it, or check address and network: without it nobody new is let in",
        )
        for url in s3.admin_urls
    ]
    return [*found, Check("S3 conditional writes", partial(_lock, settings))]


def _node(url: str, settings: Settings, timeout_s: float) -> Finding:
    from controlplane.adapters.riak_cs import RiakCsClient
    from controlplane.adapters.system_clock import SystemClock
    from controlplane.wiring.riak_cs import riak_cs_options

    async def ask() -> None:
        client = RiakCsClient(riak_cs_options(settings, (url,)), SystemClock(), Random())  # noqa: S311 - jitter
        try:
            await client.check()
        finally:
            await client.aclose()

    return _timed(f"Riak CS {url}", ask, timeout_s, "it answers")


def _admin(url: str, settings: Settings, timeout_s: float) -> Finding:
    from controlplane.adapters.riak_cs import RiakCsAccounts
    from controlplane.adapters.system_clock import SystemClock
    from controlplane.wiring.admin_keys import admin_keys
    from controlplane.wiring.riak_cs import riak_cs_options

    name = f"Riak CS admin {url}"

    async def ask() -> None:
        options = riak_cs_options(settings, (url,))
        clock, jitter = SystemClock(), Random()  # noqa: S311 - jitter
        accounts = RiakCsAccounts(options, admin_keys(settings, clock), clock, jitter)
        try:
            await accounts.by_key(settings.s3.admin_key)
        finally:
            await accounts.aclose()

    try:
        return _timed(name, ask, timeout_s, "the admin user is known and its key is right")
    except (NotFound, Rejected) as error:
        return Finding(name, Health.FAIL, str(error), "check s3.admin_key and s3.admin_secret")


def _lock(settings: Settings) -> Finding:
    name = "S3 conditional writes"
    if settings.directory.etcd.endpoints:
        return Finding(name, Health.OK, "their lock is in etcd")
    advice = "set directory.etcd.endpoints if clients write with If-Match or If-None-Match"
    return Finding(name, Health.WARN, "there is no etcd for their lock: they are answered 503", advice)


def _timed(name: str, ask: Callable[[], Awaitable[None]], timeout_s: float, found: str) -> Finding:
    async def bounded() -> None:
        async with asyncio.timeout(timeout_s):
            await ask()

    try:
        asyncio.run(bounded())
    except TimeoutError:
        return Finding(name, Health.FAIL, f"no answer within {timeout_s:g} s", "check address and network")
    return Finding(name, Health.OK, found)
