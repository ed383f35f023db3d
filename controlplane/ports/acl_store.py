"""AclStore: who may read objects, where a store keeps that as S3 does. Beside ObjectStore, for the same keys."""

from __future__ import annotations

from typing import Protocol

from controlplane.model.keys import Bucket, Key


class AclStore(Protocol):
    async def document(self, key: Key) -> bytes:
        """The object's AccessControlPolicy. Raises NotFound, Unavailable, Rejected."""
        ...

    async def put_canned(self, key: Key, canned: str) -> None:
        """Replace the object's ACL by a canned one. Raises NotFound, Unavailable, Rejected (ACLs are switched off
        there, or not this key's to set)."""
        ...


class AclStores(Protocol):
    def acls(self, bucket: Bucket) -> AclStore: ...
