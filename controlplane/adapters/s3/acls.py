"""ACLs of objects of one bucket, by ?acl."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from controlplane.adapters.s3.client import Request, S3Client
from controlplane.model.keys import Key

_QUERY: Final = (("acl", ""),)
_MAX_XML: Final = 256 * 1024


class S3Acls:
    """Implements ports.acl_store.AclStore. A canned ACL goes in a header, which Riak CS reads too
    (acl-object-put-canned)."""

    def __init__(self, client: S3Client, full: Callable[[str], str]) -> None:
        self._client = client
        self._full = full

    async def document(self, key: Key) -> bytes:
        answer = await self._client.send(Request("GET", self._full(key), _QUERY))
        try:
            return await answer.read_all(_MAX_XML)
        finally:
            answer.close()

    async def put_canned(self, key: Key, canned: str) -> None:
        request = Request("PUT", self._full(key), _QUERY, {"x-amz-acl": canned})
        (await self._client.send(request)).close()
