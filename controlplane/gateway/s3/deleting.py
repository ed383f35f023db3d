"""DeleteObjects: each key decided and deleted by itself, so that each outcome is true.

Riak CS's own ignores a wrong Content-MD5 and Quiet, and cannot be given keys that XML cannot write
(multi-delete-wrong-md5, multi-delete-quiet).
"""

from __future__ import annotations

import asyncio
from typing import Final

from controlplane.gateway.s3.answers import fault_of, xml
from controlplane.gateway.s3.authorise import Authoriser
from controlplane.gateway.s3.call import Call, require_served
from controlplane.gateway.s3.writing import ObjectWriting, WriteServices
from controlplane.http import Response
from controlplane.ports.errors import MillraceError
from controlplane.s3.addressing import MAX_KEY_BYTES
from controlplane.s3.body_checksums import expected_of
from controlplane.s3.documents.delete_objects import (
    Deleted,
    Deletion,
    NotDeleted,
    parse_delete,
    render_delete_result,
)
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.operation import Operation

_AT_ONCE: Final = 16


class MultiDelete:
    def __init__(self, writing: ObjectWriting, services: WriteServices, authoriser: Authoriser) -> None:
        self._writing = writing
        self._services = services
        self._authoriser = authoriser

    async def delete(self, call: Call) -> Response:
        expected = expected_of(call.fields, call.payload)
        if expected.md5 is None and expected.algorithm is None:
            raise S3Fault(
                Code.INVALID_REQUEST,
                "DeleteObjects needs Content-MD5 or a checksum: one wrong bit deletes the wrong key.",
            )
        wanted = parse_delete(await self._services.bodies.document(call))
        places = asyncio.Semaphore(_AT_ONCE)

        async def one(deletion: Deletion) -> Deleted | NotDeleted:
            async with places:
                return await self._one(call, deletion)

        outcomes = await asyncio.gather(*map(one, wanted.deletions))
        return xml(call.request, render_delete_result(wanted.quiet, outcomes))

    async def _one(self, call: Call, deletion: Deletion) -> Deleted | NotDeleted:
        key, version = deletion.key, deletion.version_id
        try:
            require_served(call.bucket, key)
            if len(key.encode()) > MAX_KEY_BYTES:
                raise S3Fault(Code.KEY_TOO_LONG)
            signer = await self._authoriser.allow(
                call, Operation.DELETE_OBJECT, call.bucket, key, version, call.bucket_facts
            )
            async with self._services.conditional.commit_one(call, key, signer, deletion.condition) as commit:
                await commit.ready()
                await self._services.log.deleting(call.bucket, key)
                await self._writing.delete_one(call, signer, key, version)
            await self._services.log.deleted(call.bucket, key)
        except S3Fault as fault:
            return NotDeleted(key, fault, version)
        except MillraceError as error:
            return NotDeleted(key, fault_of(error), version)
        return Deleted(key, version)
