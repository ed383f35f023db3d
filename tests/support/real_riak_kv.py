"""What tests need of a Riak KV that is somebody's own, and what they owe it: empty buckets.

Asked by plain HTTP, in the words of the recordings (kv.jsonl: props-get, type-props, memory-bucket-props, keys-list,
delete, props-delete), not by the adapters that are tested.
"""

from __future__ import annotations

import http.client
import json
import secrets
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

from controlplane.adapters.riak_kv.kv import STRICT, Quorum, RiakKv

CACHE_PROPERTIES = {"backend": "be_cache", "allow_mult": False, "dvv_enabled": False, "last_write_wins": True}
"""As roles/riak makes the type of the hot tier (riak_bucket_types)."""
OWN_PROPERTIES = {"backend": "be_cache", "allow_mult": False}
"""Of single buckets of the default type, where there is no such type."""
SUFFIXES = ("", ".journal", ".journal-notes", ".catalog", ".quarantine")
"""Buckets of a cluster; those of copies have digits of their own, and are known by who writes there."""


class Lacks(AssertionError):
    """The real Riak KV is not made as the tests need it."""


def commands(name: str, properties: dict[str, Any]) -> str:
    props = json.dumps({"props": properties}, separators=(",", ":"))
    return f"    riak admin bucket-type create {name} '{props}'\n    riak admin bucket-type activate {name}"


class RealRiak:
    def __init__(self, url: str, pb: str) -> None:
        self.url = url
        self._where = f"the Riak KV at {url or pb}"
        self._owed: set[tuple[str, str]] = set()
        self._own_properties: set[str] = set()

    # -- what it must have --------------------------------------------------------------------------------------------

    def require(self, kind: str) -> None:
        """A bucket type with siblings and secondary indexes. Raises Lacks."""
        bucket = f"t{secrets.token_hex(6)}"
        status, body = self._ask(
            "GET", f"{_place(kind, bucket)}/props" if kind == "default" else f"/types/{kind}/props"
        )
        if status != 200:
            raise Lacks(
                f"{self._where} has no bucket type {kind} (MILLRACE_RIAK_BUCKET_TYPE). On one of its nodes:\n"
                f"{commands(kind, {'allow_mult': True, 'dvv_enabled': True, 'last_write_wins': False})}"
            )
        if json.loads(body)["props"]["allow_mult"] is not True:
            raise Lacks(
                f"{self._where} keeps no siblings in the bucket type {kind}. In riak.conf of all nodes, then restart:\n"
                "    buckets.default.allow_mult = true\n    buckets.default.merge_strategy = 2\n"
                "(of another type than the default one: riak admin bucket-type update)"
            )
        status, body = self._ask("GET", f"{_place(kind, bucket)}/index/none_bin/0/1?max_results=1")
        if status != 200:
            raise Lacks(
                f"{self._where} has no secondary indexes for the bucket type {kind} ({status} {body[:300]!r}): with "
                "storage_backend prefix_multi only the default type has them, and multi_backend.default must be "
                "leveldb or leveled; unset MILLRACE_RIAK_BUCKET_TYPE, or use a node of one leveldb or leveled backend"
            )

    def cache_type(self, kind: str) -> str:
        """That one, or the default one where buckets have to say themselves that they are in memory. Raises Lacks."""
        if self._ask("GET", f"/types/{kind}/props")[0] == 200:
            return kind
        bucket = f"t{secrets.token_hex(6)}"
        self.owes_cache("default", bucket)
        headers = {"Content-Type": "text/plain"}
        status, _ = self._ask("PUT", f"/buckets/{bucket}/keys/probe?timeout=3000", b"x", headers)
        if status != 204:
            raise Lacks(
                f"{self._where} has neither the bucket type {kind} (MILLRACE_RIAK_CACHE_TYPE) nor a memory backend "
                f"be_cache (a write there: {status}). In riak.conf of all nodes, then restart:\n"
                "    multi_backend.be_cache.storage_backend = memory\n"
                "    multi_backend.be_cache.memory_backend.max_memory_per_vnode = 64MB\n"
                f"and on one of them:\n{commands(kind, CACHE_PROPERTIES)}"
            )
        self.settle()
        return "default"

    # -- what it is owed ----------------------------------------------------------------------------------------------

    def owes(self, kind: str, cluster: str) -> None:
        self._owed |= {(kind, f"{cluster}{suffix}") for suffix in SUFFIXES}

    def owes_one(self, kind: str, bucket: str) -> None:
        self._owed.add((kind, bucket))

    def owes_cache(self, kind: str, bucket: str) -> None:
        self.owes_one(kind, bucket)
        if kind == "default" and self.url and bucket not in self._own_properties:
            body = json.dumps({"props": OWN_PROPERTIES}).encode()
            status, said = self._ask("PUT", f"/buckets/{bucket}/props", body, {"Content-Type": "application/json"})
            if status != 204:
                raise Lacks(f"{self._where} does not take properties of a bucket: {status} {said[:300]!r}")
            self._own_properties.add(bucket)

    def settle(self) -> None:
        """Delete what lies in the buckets of tests. What cannot be deleted is told, and fails nobody."""
        try:
            for kind, bucket in sorted(self._owed) if self.url else ():
                self._empty(kind, bucket)
            for bucket in sorted(self._own_properties):
                self._ask("DELETE", f"/buckets/{bucket}/props")
        except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
            print(f"buckets of tests stay at {self._where}: {error!r}", file=sys.stderr)
        self._owed.clear()
        self._own_properties.clear()

    def _empty(self, kind: str, bucket: str) -> None:
        status, body = self._ask("GET", f"{_place(kind, bucket)}/keys?keys=true")
        for key in json.loads(body)["keys"] if status == 200 else ():
            self._ask("DELETE", f"{_place(kind, bucket)}/keys/{quote(key, safe='')}")

    def _ask(
        self, method: str, target: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        parts = urlsplit(self.url)
        make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = make(parts.netloc, timeout=70)  # a backend that does not exist answers after a minute
        try:
            connection.request(method, f"{parts.path}{target}", body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError as error:
            raise Lacks(f"{self._where} does not answer ({error}): MILLRACE_RIAK_HTTP_URL names it") from error
        finally:
            connection.close()


def _place(kind: str, bucket: str) -> str:
    return f"{'' if kind == 'default' else f'/types/{kind}'}/buckets/{quote(bucket, safe='')}"


class Everywhere:
    """A client whose writes are acknowledged when all replicas have them, so that tests may look at once.

    An index query asks one replica of three, and a cache is read from the first that answers: what a quorum has
    acknowledged may be missing there for a moment. The adapters live with that; a test that lists what it wrote
    would fail now and then."""

    def __init__(self, kv: RiakKv, wrote: Callable[[str], object]) -> None:
        self._kv = kv
        self._wrote = wrote

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kv, name)

    async def store(self, bucket: str, key: str, value: bytes, *, quorum: Quorum = STRICT, **more: Any) -> None:
        self._wrote(bucket)
        await self._kv.store(bucket, key, value, quorum=_of_all(quorum), **more)

    async def delete(self, bucket: str, key: str, clock: bytes, quorum: Quorum = STRICT) -> None:
        await self._kv.delete(bucket, key, clock, _of_all(quorum))


def _of_all(quorum: Quorum) -> Quorum:
    return Quorum("all", "0" if quorum.primaries == "0" else "all", quorum.not_found_counts)
