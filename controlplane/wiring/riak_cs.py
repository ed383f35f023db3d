"""What talks to Riak CS, from the settings `s3`."""

from __future__ import annotations

import random

from controlplane.adapters.riak_cs import RiakCsAccounts, RiakCsOptions
from controlplane.adapters.riak_cs.account_admin import RiakCsAccountAdmin
from controlplane.ports.accounts import AccountAdmin, Accounts
from controlplane.ports.clock import Clock
from controlplane.settings.tree import Settings
from controlplane.wiring.admin_keys import admin_keys


def riak_cs_options(settings: Settings, endpoints: tuple[str, ...]) -> RiakCsOptions:
    """`endpoints`: those of the S3 port, or of the admin port."""
    s3 = settings.s3
    return RiakCsOptions(
        endpoints=endpoints,
        ca_file=s3.ca_file,
        connections=s3.connections,
        connect_timeout_s=s3.connect_timeout_s,
        read_timeout_s=s3.read_timeout_s,
        silence_s=s3.silence_s,
        first_answer_s=s3.first_answer_s,
        attempts=s3.attempts,
    )


def build_accounts(settings: Settings, clock: Clock) -> Accounts:
    options = riak_cs_options(settings, settings.s3.admin_urls)
    jitter = random.Random()  # noqa: S311 - jitter, not a secret
    return RiakCsAccounts(options, admin_keys(settings, clock), clock, jitter)


def build_account_admin(settings: Settings, clock: Clock) -> AccountAdmin:
    options = riak_cs_options(settings, settings.s3.admin_urls)
    jitter = random.Random()  # noqa: S311 - jitter, not a secret
    return RiakCsAccountAdmin(options, admin_keys(settings, clock), clock, jitter)
