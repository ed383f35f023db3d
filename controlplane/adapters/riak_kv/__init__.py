"""Riak KV: the journal and the catalog of a cluster, and a hot tier, over its HTTP API."""

from controlplane.adapters.riak_kv.catalog import RiakCatalog
from controlplane.adapters.riak_kv.http_client import RiakHttp
from controlplane.adapters.riak_kv.journal import RiakJournal
from controlplane.adapters.riak_kv.options import RiakKvOptions

__all__ = ["RiakCatalog", "RiakHttp", "RiakJournal", "RiakKvOptions"]
