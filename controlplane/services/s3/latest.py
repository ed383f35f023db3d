"""Which version of a key is the latest, where versioning was enabled behind the gateway's back.

Through the gateway it cannot be enabled. In such a bucket Riak CS answers a GET without versionId with 404 for keys
written since, and with old bytes for keys from before (ver-get-latest, ver-get-old-after), and marks every version as
the latest (ver-list-versions). The gateway asks for the versions and reads the newest.
"""

from __future__ import annotations

from typing import Final

from controlplane.ports.errors import Unavailable
from controlplane.ports.upstream import Ask, KeyPair, Query, Upstream
from controlplane.s3.dates import MalformedDate, parse_timestamp
from controlplane.s3.riakcs.ill_formed import parse_riakcs
from controlplane.s3.xml import MalformedXml
from controlplane.services.s3.buckets import BucketFacts, Versioning
from controlplane.services.s3.refusals import refusal

_MAX_LISTING_BYTES: Final = 8 * 1024 * 1024
_PLAIN: Final[Query] = ()


class LatestVersions:
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def query(
        self, bucket: str, key: str, version: str | None, facts: BucketFacts, signer: KeyPair | None
    ) -> Query:
        """What to add to a read of the key. Raises S3Fault, Unavailable."""
        if facts.versioning is Versioning.NEVER or facts.versioning is Versioning.SUSPENDED:
            # A bucket that never had versioning says Suspended (ver-get-default). "null" is its only version.
            return _PLAIN if version in (None, "", "null") else (("versionId", version or ""),)
        if version:
            return (("versionId", version),)
        newest = await self._newest(bucket, key, signer)
        return _PLAIN if newest is None else (("versionId", newest),)

    async def _newest(self, bucket: str, key: str, signer: KeyPair | None) -> str | None:
        ask = Ask("GET", signer, bucket, query=(("versions", ""), ("prefix", key)))
        reply = await self._upstream.send(ask)
        if reply.status != 200:
            raise await refusal(reply, key=False)
        try:
            root = parse_riakcs(await reply.read_all(_MAX_LISTING_BYTES))
            found = [
                (parse_timestamp(one.text_of("LastModified") or ""), one.text_of("VersionId") or "null")
                for one in root.children
                if one.name == "Version" and one.text_of("Key") == key
            ]
        except (MalformedXml, MalformedDate) as error:
            raise Unavailable(f"the versions of s3://{bucket}/{key} cannot be read: {error}") from error
        finally:
            reply.close()
        if not found:
            return None
        # Within a second the order of the listing decides: the newest stands first.
        latest = max(stamp for stamp, _ in found)
        return next(version for stamp, version in found if stamp == latest)
