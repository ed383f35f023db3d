"""S3ObjectStore: ports.object_store.ObjectStore over a bucket of an S3 server."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from random import Random

from controlplane.adapters.s3.acls import S3Acls
from controlplane.adapters.s3.bucket_creation import create_bucket
from controlplane.adapters.s3.bucket_listing import list_page
from controlplane.adapters.s3.bulk import Bulk
from controlplane.adapters.s3.client import Answer, Request, S3Client
from controlplane.adapters.s3.failures import Failure, error_of
from controlplane.adapters.s3.metadata import MalformedAnswer, content_range, number, object_headers, object_info
from controlplane.adapters.s3.options import S3Options
from controlplane.adapters.s3.parts import S3Parts
from controlplane.adapters.s3.pool import ConnectionPool
from controlplane.adapters.s3.reader import S3Reader
from controlplane.adapters.s3.server_copy import S3ServerCopy
from controlplane.adapters.s3.upload import Draft, Uploads
from controlplane.adapters.s3.write_conditions import WriteConditions
from controlplane.model.content import Content
from controlplane.model.keys import Bucket, Key, StoreName
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Conflict, Corrupt, NotFound, Rejected, Unavailable
from controlplane.ports.object_store import Body, ByteRange, LocalFile, ObjectInfo, Page
from controlplane.s3.listing import MalformedListing, parse_listing

MAX_ANSWER_BYTES = 64 * 1024


class S3ObjectStore:
    """Objects of one bucket under one prefix, path style.

    if_absent: atomic with `conditional_put` (If-None-Match: *). Without it (Riak CS) the key is looked at first, and
    once more before a multipart upload is completed: of two writers that look at the same time the later one wins.
    if_match likewise: atomic, and without `conditional_put`, or where the service says that it has none, ignored.

    A body is verified before its object is visible: by this side's digests, which must match before the last byte is
    sent (multipart: before the upload is completed), and by Content-MD5 where the MD5 is known in advance. What the
    server then reports as ETag is compared too; when it differs, the object is removed, and what it replaced is lost.

    HEAD answers carry no error document, so whatever HEAD calls missing is asked once more by GET, which says whether
    the key, the bucket, or a proxy is the cause: a miss costs two requests, and an outage is never NotFound (I5).

    Memory for a put: a stream at most part_bytes * part_concurrency, other bodies a few MiB. A reader: about 512 KiB.
    """

    def __init__(
        self,
        name: StoreName,
        options: S3Options,
        clock: Clock,
        random: Random,
        pool: ConnectionPool | None = None,
        conditions: WriteConditions | None = None,
    ) -> None:
        """`conditions`: what is known of the service from its other buckets."""
        self._name = name
        self._options = options
        self._clock = clock
        self._client = S3Client(options, clock, random, pool)
        self._conditions = conditions or WriteConditions(clock, honoured=options.conditional_put)
        self._uploads = Uploads(self._client, options, clock, self._conditions, self.head)
        self.parts = S3Parts(self._client, options, clock, self._conditions, self._full, self.head, self.delete)
        self.acls = S3Acls(self._client, self._full)
        self.bulk = Bulk(self._client, clock, self._full, self._conditions, most_depth=options.pipeline)

    @property
    def name(self) -> StoreName:
        return self._name

    @property
    def bucket(self) -> Bucket:
        return Bucket(self._options.bucket)

    async def put(
        self,
        key: Key,
        body: Body,
        *,
        size: int | None = None,
        content: Content | None = None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """See the port. A body of bytes or a file, and a stream of at most 1 MiB, is sent again when that is safe."""
        if isinstance(body, bytes):
            size = len(body) if size is None else size
        elif isinstance(body, LocalFile):
            size = body.size if size is None else size
        if content is not None:
            if size is not None and size != content.size:
                raise Corrupt(f"a body of {size} bytes cannot be the content of {content.size} bytes asked for")
            size = content.size
        draft = Draft(
            key=key,
            full_key=self._full(key),
            headers=object_headers(content, content_type, metadata),
            content=content,
            content_type=content_type,
            metadata=dict(metadata or {}),
            if_absent=if_absent,
            if_match=if_match,
        )
        return await self._uploads.put(draft, body, size)

    async def get(self, key: Key, *, byte_range: ByteRange | None = None) -> S3Reader:
        request = Request("GET", self._full(key))
        if byte_range is not None:
            if not 0 <= byte_range.first <= byte_range.last:
                raise Rejected(f"bytes {byte_range.first} to {byte_range.last} are no range")
            request.headers["range"] = f"bytes={byte_range.first}-{byte_range.last}"
        answer = await self._client.send(request)
        try:
            return _reader(key, answer, byte_range)
        except MalformedAnswer as error:
            answer.close()
            raise Unavailable(f"{answer.what}: the answer is not an object: {error}") from error
        except BaseException:
            answer.close()
            raise

    async def head(self, key: Key) -> ObjectInfo:
        request = Request("HEAD", self._full(key))
        answer = await self._client.try_to_send(request)
        if isinstance(answer, Answer):
            answer.close()
            try:
                return object_info(key, answer.headers, number(answer.headers, "content-length"))
            except MalformedAnswer as error:
                raise Unavailable(f"{answer.what}: the answer is not an object: {error}") from error
        if answer.retryable or answer.status == HTTPStatus.INSUFFICIENT_STORAGE:
            raise error_of(answer, self._client.describe(request))
        return await self._head_by_get(key)

    async def _head_by_get(self, key: Key) -> ObjectInfo:
        """What the refused HEAD could not say: the S3 error behind its status."""
        request = Request("GET", self._full(key), headers={"range": "bytes=0-0"})
        answer = await self._client.try_to_send(request)
        if isinstance(answer, Failure):
            if answer.code == "InvalidRange":
                raise Unavailable(f"{self._client.describe(request)}: an empty object appeared under this key just now")
            raise error_of(answer, self._client.describe(request))
        try:
            whole = content_range(answer.headers)[2] if answer.status == HTTPStatus.PARTIAL_CONTENT else None
            return object_info(
                key, answer.headers, number(answer.headers, "content-length") if whole is None else whole
            )
        except MalformedAnswer as error:
            raise Unavailable(f"{answer.what}: the answer is not an object: {error}") from error
        finally:
            answer.close()

    async def delete(self, key: Key, *, if_match: str | None = None) -> None:
        request = Request("DELETE", self._full(key), headers=self._conditions.headers(if_match=if_match))
        answer = await self._client.try_to_send(request)
        if isinstance(answer, Failure) and self._conditions.unknown_to(answer, request, self._client.where):
            answer = await self._client.try_to_send(request)
        if isinstance(answer, Answer):
            answer.close()
        elif answer.code != "NoSuchKey":
            what = self._client.describe(request)
            if if_match is None or not isinstance(error_of(answer, what), Conflict) or await self._has(key):
                raise error_of(answer, what)
            # SeaweedFS says of what is not there that it does not match.

    async def _has(self, key: Key) -> bool:
        try:
            await self.head(key)
        except NotFound:
            return False
        return True

    async def list(self, *, prefix: str = "", after: Key | None = None, limit: int = 1000) -> Page:
        return await list_page(self._client, self._options, prefix, after, limit)

    async def check(self) -> None:
        """Lists one key: proves the address, the credentials and the bucket; not the right to write."""
        request = Request("GET", None, (("max-keys", "1"),))
        answer = await self._client.try_to_send(request)
        if isinstance(answer, Answer):
            try:
                parse_listing(await answer.read_all(MAX_ANSWER_BYTES))
            except MalformedListing as error:
                raise Unavailable(f"{answer.what}: this is no S3 server: {error}") from error
            finally:
                answer.close()
            return
        if answer.code == "NoSuchBucket":
            where = ", ".join(self._options.endpoints)
            raise NotFound(f"bucket {self._options.bucket} does not exist at {where}: create it or set create_bucket")
        raise error_of(answer, self._client.describe(request))

    async def create_bucket(self) -> bool:
        """See bucket_creation. Raises Unavailable, Rejected, Conflict."""
        return await create_bucket(self._client, self._options, self.check)

    def server_copy(self, source: S3Options) -> S3ServerCopy:
        """The way of objects from a place at the same service to this one. Without I/O."""
        return S3ServerCopy(self._client, self._options, source, self._full, self._conditions, self.head, self._clock)

    async def aclose(self) -> None:
        await self._client.aclose()

    def _full(self, key: str) -> str:
        """The key in the bucket. An empty one would address the bucket itself, and Riak CS drops a slash in front
        (key-put-leading-slash): another object would be meant."""
        full = self._options.prefix + key
        if full.startswith("/") and self._options.list_version == 1:
            raise Rejected(f"Riak CS drops the slash in front of {full[:80]!r}: give the store a prefix")
        try:
            if full and key:
                if not full.isascii():
                    full.encode()
                return full
        except UnicodeEncodeError as error:
            raise Rejected(f"the key {key[:80]!r} is not Unicode text") from error
        raise Rejected("an object has a key of at least one character")


def _reader(key: Key, answer: Answer, byte_range: ByteRange | None) -> S3Reader:
    length = number(answer.headers, "content-length")
    if byte_range is None:
        if answer.status != 200:
            raise MalformedAnswer(f"status {answer.status} to a GET of the whole")
        return S3Reader(answer, object_info(key, answer.headers, length), length)
    if answer.status == 206:
        first, last, whole = content_range(answer.headers)
        if byte_range.last >= whole:
            raise _outside(answer, byte_range, whole)
        if (first, last, length) != (byte_range.first, byte_range.last, byte_range.length):
            raise MalformedAnswer(f"bytes {first} to {last} instead of {byte_range.first} to {byte_range.last}")
        return S3Reader(answer, object_info(key, answer.headers, whole), length)
    if byte_range.last >= length:
        raise _outside(answer, byte_range, length)
    if byte_range.first or byte_range.length != length:
        raise MalformedAnswer("the Range header was ignored")
    return S3Reader(answer, object_info(key, answer.headers, length), length)


def _outside(answer: Answer, byte_range: ByteRange, size: int) -> Rejected:
    return Rejected(f"{answer.what}: bytes {byte_range.first} to {byte_range.last} leave the object of {size} bytes")
