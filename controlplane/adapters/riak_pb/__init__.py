"""Riak KV by protocol buffers: the messages of the `riak` package (the extra millrace[riak]) over our own connections.

The package's own client blocks and does not import on Python 3.11; its generated messages do, one by one.
"""

from controlplane.adapters.riak_pb.client import RiakPb

__all__ = ["RiakPb"]
