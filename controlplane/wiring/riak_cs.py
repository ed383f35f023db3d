"""What talks to Riak CS, from the settings `s3`."""

from __future__ import annotations

import random

from controlplane.adapters.riak_cs import RiakCsAccounts, RiakCsOptions
from controlplane.adapters.riak_cs.account_admin import RiakCsAccountAdmin
from controlplane.ports.accounts import AccountAdmin, Accounts
from controlplane.ports.clock import Clock
from controlplane.ports.upstream import KeyPair
from controlplane.settings.tree import Settings


def riak_cs_options(settings: Settings, endpoints: tuple[str, ...]) -> RiakCsOptions:
    """`endpoints`: those of the S3 port, or of the admin port."""
    s3 = settings.s3
    return RiakCsOptions(
        endpoints=endpoints,
        ca_file=s3.ca_file,
        connections=s3.connections,
        connect_timeout_s=s3.connect_timeout_s,
        read_timeout_s=s3.read_timeout_s,
        attempts=s3.attempts,
    )


def admin_keys(settings: Settings) -> KeyPair:
    s3 = settings.s3
    return KeyPair(s3.admin_key, s3.admin_secret.reveal() if s3.admin_secret is not None else "")


def build_accounts(settings: Settings, clock: Clock) -> Accounts:
    options = riak_cs_options(settings, settings.s3.admin_urls)
    return RiakCsAccounts(options, admin_keys(settings), clock, random.Random())  # noqa: S311 - jitter, not a secret


def build_account_admin(settings: Settings, clock: Clock) -> AccountAdmin:
    options = riak_cs_options(settings, settings.s3.admin_urls)
    jitter = random.Random()  # noqa: S311 - jitter, not a secret
    return RiakCsAccountAdmin(options, admin_keys(settings), clock, jitter)
