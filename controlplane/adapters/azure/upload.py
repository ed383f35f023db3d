"""How a body becomes a blob: in one request, or as blocks that one more request makes visible together."""

from __future__ import annotations

import asyncio
import io
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from azure.core import MatchConditions
from azure.storage.blob import BlobBlock
from azure.storage.blob.aio import BlobClient

from controlplane.adapters.azure.blobs import content_settings
from controlplane.adapters.azure.failures import translated
from controlplane.adapters.azure.names import metadata_names
from controlplane.adapters.parted_body import PartedBody
from controlplane.model.content import Content, Md5
from controlplane.ports.errors import Corrupt, Rejected, Unavailable

MOST_BLOCKS: Final = 50_000
WHOLE_BYTES: Final = 1024 * 1024
"""What goes up in one request; the library would send more in a way that holds up the event loop."""
NO_MD5: Final = Md5("0" * 32)


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be stored, but for its body."""

    blob: BlobClient
    what: str
    """Names the request."""
    content_type: str
    notes: Mapping[str, str]
    if_absent: bool
    match: str | None = None
    """The service's own ETag of the blob that is to be replaced."""


@dataclass(frozen=True, slots=True)
class Put:
    """What the service said of a blob that it stored."""

    etag: str
    modified_at: float


def block_id(upload_id: str, number: int, md5: str) -> str:
    """All ids of one blob must have one length: 16 + 1 + 6 + 1 + 32 characters. The service gives ids back, so they
    say what it does not keep: to which upload a block belongs, and its MD5."""
    return f"{upload_id}.{number:06d}.{md5}"


def condition(draft: Draft) -> dict[str, Any]:
    if draft.match is not None:
        return {"etag": draft.match, "match_condition": MatchConditions.IfNotModified}
    return {"match_condition": MatchConditions.IfMissing} if draft.if_absent else {}


def once(draft: Draft) -> dict[str, Any]:
    """A conditional put is tried once: a second try would find the first one's blob."""
    return {"retry_total": 0} if draft.if_absent or draft.match is not None else {}


def answered(what: str, answer: Mapping[str, Any], etag: str) -> Put:
    """Raises Unavailable for an answer that is not Azure's."""
    modified = answer.get("last_modified")
    if modified is None or not answer.get("etag"):
        raise Unavailable(f"{what}: the answer has no ETag or date: is it Azure that answers?")
    return Put(etag, modified.timestamp())


async def put_body(draft: Draft, body: PartedBody, *, concurrency: int) -> tuple[Put, Content]:
    """The blob, and the digests of what was sent. The service checks the MD5 of each request's body.

    Blocks of a put that fails are invisible, and the service drops them after a week."""
    part = await body.next()
    done = body.last
    if done and len(part) <= WHOLE_BYTES:
        return await _put_whole(draft, part, body.found()), body.found()
    upload_id = secrets.token_hex(8)
    places = asyncio.Semaphore(concurrency)
    sending: set[asyncio.Task[None]] = set()
    ids: list[str] = []

    async def send(data: bytearray, name: str) -> None:
        try:
            await stage(draft.blob, draft.what, name, data)
        finally:
            places.release()

    try:
        while True:
            await places.acquire()
            _raise_failures(sending)
            if len(ids) == MOST_BLOCKS:
                raise Rejected(f"{draft.what}: more than {MOST_BLOCKS} blocks; raise part_bytes")
            ids.append(block_id(upload_id, len(ids) + 1, NO_MD5))
            sending.add(asyncio.create_task(send(part, ids[-1])))
            if done:
                break
            part = await body.next()
            done = body.last
        await asyncio.gather(*sending)
    except BaseException:
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        raise
    return await commit(draft, ids, body.found().md5), body.found()


async def stage(blob: BlobClient, what: str, name: str, data: bytes | bytearray) -> Mapping[str, Any]:
    """Raises Corrupt when the service found another MD5."""
    with translated(f"{what}, block {name.split('.')[1]}"):
        said: Mapping[str, Any] = await blob.stage_block(
            name, io.BytesIO(data), length=len(data), validate_content=True
        )
    return said


async def commit(draft: Draft, ids: Sequence[str], md5: Md5) -> Put:
    """The MD5 of the whole is what this side computed: the service proves that of each block."""
    with translated(draft.what):
        answer = await draft.blob.commit_block_list(
            [BlobBlock(name) for name in ids],
            content_settings=content_settings(draft.content_type, md5),
            metadata=metadata_names(draft.notes),
            **condition(draft),
            **once(draft),
        )
    return answered(draft.what, answer, md5)


async def _put_whole(draft: Draft, data: bytearray, found: Content) -> Put:
    with translated(draft.what):
        answer = await draft.blob.upload_blob(
            bytes(data),
            length=len(data),
            overwrite=not draft.if_absent,
            content_settings=content_settings(draft.content_type, found.md5),
            metadata=metadata_names(draft.notes),
            validate_content=True,
            **({} if draft.match is None else condition(draft)),
            **once(draft),
        )
    said = answer.get("content_md5")
    if said and bytes(said).hex() != found.md5:
        raise Corrupt(f"{draft.what}: it arrived with MD5 {bytes(said).hex()}, sent was {found.md5}")
    return answered(draft.what, answer, found.md5)


def _raise_failures(tasks: set[asyncio.Task[None]]) -> None:
    for task in [task for task in tasks if task.done()]:
        tasks.discard(task)
        task.result()
