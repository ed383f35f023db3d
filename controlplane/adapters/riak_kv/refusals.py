"""What Riak KV refuses for good, in words that say what to do. The same over HTTP and protocol buffers."""

from __future__ import annotations

import re
from typing import Final

from controlplane.ports.errors import Rejected

DEFAULT_TYPE: Final = "default"
"""The bucket type that is always there. Source: Riak's documentation of bucket types."""
_NO_TYPE: Final = re.compile(r"\b(no|unknown|invalid) bucket[- ]type|bucket_type_unknown|\bno_type\b", re.IGNORECASE)
"""Not any word of a bucket type: the pages of a crash name modules."""


def refusal_of(said: str, kind: str, where: str) -> Rejected | None:
    """The lasting reason in Riak's words `said`, if there is one in them; `where` begins the sentence."""
    if "indexes_not_supported" in said:
        return Rejected(
            f"{where} has no secondary indexes for the bucket type {kind!r}. A node with several backends "
            "(storage_backend prefix_multi, as Riak CS needs it) has them in buckets of the default type only, "
            f'there in leveldb or leveled: set riak_kv.bucket_type = "{DEFAULT_TYPE}"'
        )
    if "too_large" in said:
        return Rejected(
            f"{where} takes no value of that size: raise object.size.maximum in riak.conf ({said[:80].strip()})"
        )
    if _NO_TYPE.search(said):
        return no_such_type(kind, where)
    return None


def no_such_type(kind: str, where: str) -> Rejected:
    return Rejected(
        f"{where} has no active bucket type {kind!r}: let roles/riak create it (riak_bucket_types), or on one of its "
        f"nodes `riak admin bucket-type create {kind} '{{\"props\":{{...}}}}'` with the properties that "
        f"docs/operations.md names, and `riak admin bucket-type activate {kind}`"
    )


def no_siblings(kind: str, bucket: str, where: str) -> Rejected:
    """Riak would keep one of two values that were written at once, and drop the other."""
    cure = (
        "Set buckets.default.allow_mult = true and buckets.default.merge_strategy = 2 in the riak.conf of all nodes, "
        "as Riak CS needs them too"
        if kind == DEFAULT_TYPE
        else f'Run `riak admin bucket-type update {kind} \'{{"props":{{"allow_mult":true,"last_write_wins":false}}}}\'`'
    )
    return Rejected(
        f"{where} keeps no siblings in the bucket {bucket} of the type {kind!r}: changes of two nodes at once would be "
        f"lost, so nothing is written there. {cure}"
    )
