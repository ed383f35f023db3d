"""Riak CS as the S3 gateway talks to it."""

from controlplane.adapters.riak_cs.accounts import RiakCsAccounts
from controlplane.adapters.riak_cs.client import RiakCsClient
from controlplane.adapters.riak_cs.options import RiakCsOptions

__all__ = ["RiakCsAccounts", "RiakCsClient", "RiakCsOptions"]
