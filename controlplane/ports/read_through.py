"""ReadThrough: objects that Riak CS does not have and the mirror's target has."""

from __future__ import annotations

from typing import Protocol

from controlplane.ports.upstream import Ask, KeyPair, Reply


class ReadThrough(Protocol):
    """Asked by the S3 front after it has authorised the caller and Riak CS has answered NoSuchKey.

    Only for GET and HEAD of a key, without versionId, in a bucket that exists and has versioning off. What the front
    makes of the reply is what it would make of Riak CS's own.
    """

    def covers(self, bucket: str, key: str) -> bool:
        """Whether a rule says so. Cheap: to be asked first."""
        ...

    async def send(self, ask: Ask, owner: KeyPair | None) -> Reply | None:
        """The answer of the target to what Riak CS was asked: 200, 206, 404 never, 412 (If-Match), 416; with the ETag,
        Last-Modified, content type and x-amz-meta-* of the object as it was in Riak CS. None: nobody has the object,
        or it was deleted (I4): Riak CS's 404 is the truth.

        `owner` is the key pair of the bucket's owner: the object is put back into Riak CS in its name, proved, beside
        the answer and at most once however many ask; None: it is not put back.
        Raises Unavailable when the target, or what says whether the key was deleted, cannot be asked (I5); Corrupt when
        the target's copy is not what it says it is.
        """
        ...
