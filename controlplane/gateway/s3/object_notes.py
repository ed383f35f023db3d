"""What the answer about an object says beside what Riak CS knows: how many tags it has, and when it expires."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache

from controlplane.gateway.s3.answers import Fields
from controlplane.gateway.s3.authorise import Authoriser
from controlplane.gateway.s3.call import Call
from controlplane.ports.clock import Clock
from controlplane.ports.errors import MillraceError
from controlplane.s3.documents.lifecycle_xml import parse_lifecycle
from controlplane.s3.documents.tagging import Tags
from controlplane.s3.fault import S3Fault
from controlplane.s3.lifecycle import Candidate, Lifecycle, asks_for_tags, expiration_header, expiry_of
from controlplane.s3.operation import Operation
from controlplane.services.s3.object_records import identity_of
from controlplane.services.s3.subresources import Kind, Subresources

log = logging.getLogger(__name__)


class ObjectNotes:
    """In a bucket without tags and lifecycle rules nothing is asked but two documents that are kept for a moment."""

    def __init__(self, subresources: Subresources, authoriser: Authoriser, clock: Clock) -> None:
        self._subresources = subresources
        self._authoriser = authoriser
        self._clock = clock

    def nothing(self, call: Call) -> bool:
        """Whether it is known at once that there is nothing to note: the usual case."""
        return self._subresources.known_absent(call.bucket, Kind.OBJECTS, Kind.LIFECYCLE)

    async def of_read(self, call: Call, found: Mapping[str, str], size: int | None, modified_at: float) -> Fields:
        """x-amz-tagging-count, for who may read the tags, and x-amz-expiration. `found`: Riak CS's headers; `size` of
        the whole object. What cannot be looked up is left out: the object itself is served."""
        try:
            extras = await self._subresources.extras(call.bucket, call.key, identity_of(found))
            noted: Fields = []
            if extras.tags and self._authoriser.may(call, Operation.GET_OBJECT_TAGGING):
                noted.append((b"x-amz-tagging-count", str(len(extras.tags)).encode()))
            return noted + await self._expiration(call, size or 0, modified_at, extras.tags)
        except (MillraceError, S3Fault) as error:
            log.warning("notes on s3://%s/%s are left out: %s", call.bucket, call.key, error)
            return []

    async def of_write(self, call: Call, size: int, tags: Tags) -> Fields:
        """x-amz-expiration of what was just written."""
        try:
            return await self._expiration(call, size, self._clock.now(), tags)
        except (MillraceError, S3Fault) as error:
            log.warning("the expiration of s3://%s/%s is left out: %s", call.bucket, call.key, error)
            return []

    async def _expiration(self, call: Call, size: int, modified_at: float, tags: Tags) -> Fields:
        owner = call.bucket_facts.acl.owner.id
        document = await self._subresources.bucket_document(call.bucket, Kind.LIFECYCLE, owner=owner)
        if document is None:
            return []
        rules = _rules(document)
        known = tags if asks_for_tags(rules, call.key) else ()
        expiry = expiry_of(Candidate(call.key, size, modified_at, known), rules)
        return [] if expiry is None else [(b"x-amz-expiration", expiration_header(expiry).encode())]


@lru_cache(maxsize=256)
def _rules(document: bytes) -> Lifecycle:
    return parse_lifecycle(document)
