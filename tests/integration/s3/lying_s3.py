"""A target on a real socket that takes everything and keeps what it likes; its listing may be of some time ago."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from hashlib import md5
from xml.sax.saxutils import escape

from tests.integration.s3.faulty_server import FaultyS3, Seen

Kept = tuple[bytes, dict[str, str]]


class LyingS3(FaultyS3):
    """`lie`: of a PUT: "lose": 200, and nothing is there; "truncate": 200 with the right ETag, and half is kept;
    "etag": 200 with a wrong ETag, and all is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.lie = ""
        self.stale: dict[str, Kept] | None = None
        """What is listed instead of what is there."""

    def _carry_out(self, seen: Seen) -> tuple[int, dict[str, str], bytes]:
        key = seen.path.split("/", 2)[2] if seen.path.count("/") > 1 else ""
        if not key:
            return 200, {}, self._listing(seen)
        if seen.method != "PUT" or "uploadId" in seen.query:
            return super()._carry_out(seen)
        status, headers, body = super()._carry_out(seen)
        match self.lie:
            case "lose":
                del self.objects[key]
            case "truncate":
                self.objects[key] = (seen.body[: len(seen.body) // 2], {**seen.headers, "etag": headers["ETag"][1:-1]})
            case "etag":
                headers = {"ETag": f'"{md5(b"something else").hexdigest()}"'}
        return status, headers, body

    def rot(self, key: str) -> None:
        data, headers = self.objects[key]
        self.objects[key] = (bytes([data[0] ^ 1]) + data[1:], headers)

    def _listing(self, seen: Seen) -> bytes:
        found = self.objects if self.stale is None else self.stale
        prefix, after = seen.query.get("prefix", ""), seen.query.get("start-after", "")
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-25T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{headers.get('etag') or md5(data).hexdigest()}&quot;</ETag>"
            f"<Size>{len(data)}</Size></Contents>"
            for key, (data, headers) in sorted(found.items())
            if key.startswith(prefix) and key > after
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode()


@contextlib.asynccontextmanager
async def lying_s3() -> AsyncIterator[LyingS3]:
    server = LyingS3()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
