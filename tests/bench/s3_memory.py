"""A small, fast S3 server that holds its objects in memory, so that a benchmark measures its clients.

Run: python -m tests.bench.s3_memory PORT. It speaks PUT (If-None-Match: *), GET (one range), HEAD, DELETE, multipart
uploads, ListObjects V1 and V2; ETags are MD5 (of the parts' MD5, as S3 does); user metadata is kept. It believes every
signature. POST /-/empty/<bucket> removes a bucket's objects, GET /-/count/<bucket> counts them, GET /-/bytes/<bucket>
sums their sizes, GET /-/times/<bucket> says when each came: `<Unix seconds> <key>` a line.
"""

from __future__ import annotations

import asyncio
import gc
import re
import sys
import time
from bisect import bisect_right, insort
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import md5
from typing import cast
from urllib.parse import parse_qs, unquote
from uuid import uuid4
from xml.sax.saxutils import escape

import uvloop

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_RANGE = re.compile(rb"bytes=([0-9]+)-([0-9]*)\Z")


@dataclass(slots=True)
class Stored:
    body: bytes
    etag: str
    at: float
    head: bytes
    """The header lines of GET and HEAD."""


@dataclass(slots=True)
class Bucket:
    objects: dict[str, Stored] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    """Sorted."""


@dataclass(slots=True)
class Upload:
    kept: bytes
    """Header lines for the object."""
    parts: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    """MD5 and bytes by number."""


_buckets: dict[str, Bucket] = {}
_uploads: dict[str, Upload] = {}
_BESIDE_BYTES = 64 * 1024
"""Larger bodies are not copied to stand behind their head."""


class S3(asyncio.Protocol):
    """Reads no more of a request than it needs: it must cost less than those who are measured with it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.held = b""
        self.head = self.lowered = b""
        self.parts: list[bytes] = []
        self.left = 0
        """Bytes of a body still to come."""

    def data_received(self, data: bytes) -> None:
        """What came behind a request is not copied for it."""
        if self.held:
            data, self.held = self.held + data, b""
        at = 0
        while at < len(data):
            if self.left:
                part = data[at : at + self.left]
                self.parts.append(part)
                self.left -= len(part)
                at += len(part)
            else:
                end = data.find(b"\r\n\r\n", at) + 4
                if end < 4:
                    self.held = data[at:]
                    return
                self.head = data[at:end]
                self.lowered = self.head.lower()
                at = end
                self.parts = []
                if self.head.startswith(b"P"):
                    self.left = int(_field(self.head, self.lowered, b"content-length") or 0)
                    if self.left and _field(self.head, self.lowered, b"expect").lower() == b"100-continue":
                        self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if not self.left:
                self._answer_request()

    def _answer_request(self) -> None:
        method, target, _ = self.head.split(b" ", 2)
        path, _, query = target.decode().partition("?")
        bucket, _, key = path[1:].partition("/")
        if bucket == "-":
            self._administer(key)
        elif not key:
            self._on_bucket(method, unquote(bucket), query)
        elif query.startswith("uploads") or "uploadId=" in query:
            self._on_upload(method, bucket, unquote(key), query)
        elif method == b"PUT":
            self._put(bucket, unquote(key))
        elif method == b"DELETE":
            self._delete(bucket, unquote(key))
        else:
            self._get(bucket, unquote(key), method == b"HEAD")

    # requests

    def _answer(self, status: str, body: bytes | memoryview = b"", head: bytes = b"") -> None:
        start = b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n" % (status.encode(), head, len(body))
        if len(body) <= _BESIDE_BYTES:
            self.transport.write(start + body)
        else:
            self.transport.write(start)
            self.transport.write(body)

    def _refuse(self, status: str, code: str, *, bodiless: bool = False) -> None:
        body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>no</Message></Error>'
        self._answer(status, b"" if bodiless else body.encode(), b"Content-Type: application/xml\r\n")

    def _put(self, name: str, key: str) -> None:
        body = b"".join(self.parts)
        if self._keep(name, key, body, md5(body).hexdigest(), _kept(self.head, self.lowered)):
            found = _buckets[name].objects[key]
            head = b'ETag: "%b"\r\nDate: %b\r\n' % (found.etag.encode(), _date(int(found.at)))
            self._answer("200 OK", head=head)

    def _keep(self, name: str, key: str, body: bytes, etag: str, kept: bytes) -> bool:
        """False: the condition does not hold, which was answered."""
        bucket = _buckets.setdefault(name, Bucket())
        if key not in bucket.objects:
            insort(bucket.keys, key)
        elif _field(self.head, self.lowered, b"if-none-match") == b"*":
            self._refuse("412 Precondition Failed", "PreconditionFailed")
            return False
        at = time.time()
        head = b'ETag: "%b"\r\nLast-Modified: %b\r\n%b' % (etag.encode(), _date(int(at)), kept)
        bucket.objects[key] = Stored(body, etag, at, head)
        return True

    def _on_upload(self, method: bytes, name: str, key: str, query: str) -> None:
        asked = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
        number = int(asked.get("partNumber", "0"))
        upload_id = asked.get("uploadId", "")
        upload = _uploads.get(upload_id)
        if method == b"POST" and "uploads" in asked:
            upload_id = uuid4().hex
            _uploads[upload_id] = Upload(_kept(self.head, self.lowered))
            names = f"<Bucket>{name}</Bucket><Key>{escape(key)}</Key><UploadId>{upload_id}</UploadId>"
            self._document("InitiateMultipartUploadResult", names)
        elif upload is None:
            self._refuse("404 Not Found", "NoSuchUpload")
        elif method == b"PUT":
            body = b"".join(self.parts)
            digest = md5(body)
            upload.parts[number] = (digest.digest(), body)
            self._answer("200 OK", head=b'ETag: "%b"\r\n' % digest.hexdigest().encode())
        elif method == b"POST":
            # All parts that came, in order: those who are measured leave none out.
            parts = [part for _, part in sorted(upload.parts.items())]
            etag = f"{md5(b''.join([digest for digest, _ in parts])).hexdigest()}-{len(parts)}"
            if self._keep(name, key, b"".join([body for _, body in parts]), etag, upload.kept):
                del _uploads[upload_id]
                names = f"<Bucket>{name}</Bucket><Key>{escape(key)}</Key><ETag>&quot;{etag}&quot;</ETag>"
                self._document("CompleteMultipartUploadResult", names)
        elif method == b"DELETE":
            del _uploads[upload_id]
            self._answer("204 No Content")
        else:
            self._refuse("501 Not Implemented", "NotImplemented")

    def _document(self, name: str, inner: str) -> None:
        text = f'<?xml version="1.0" encoding="UTF-8"?><{name} xmlns="{_NAMESPACE}">{inner}</{name}>'
        self._answer("200 OK", text.encode(), b"Content-Type: application/xml\r\n")

    def _get(self, name: str, key: str, bodiless: bool) -> None:
        bucket = _buckets.get(name)
        found = bucket.objects.get(key) if bucket else None
        if found is None:
            self._refuse("404 Not Found", "NoSuchKey", bodiless=bodiless)
        elif bodiless:
            self.transport.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (found.head, len(found.body)))
        elif asked := _RANGE.match(_field(self.head, self.lowered, b"range")):
            first, size = int(asked[1]), len(found.body)
            last = min(int(asked[2] or size - 1), size - 1)
            head = found.head + b"Content-Range: bytes %d-%d/%d\r\n" % (first, last, size)
            self._answer("206 Partial Content", memoryview(found.body)[first : last + 1], head)
        else:
            self._answer("200 OK", found.body, found.head)

    def _delete(self, name: str, key: str) -> None:
        bucket = _buckets.get(name)
        if bucket is not None and bucket.objects.pop(key, None) is not None:
            bucket.keys.remove(key)
        self._answer("204 No Content")

    def _on_bucket(self, method: bytes, name: str, query: str) -> None:
        bucket = _buckets.setdefault(name, Bucket())
        if method != b"GET" or "location" in query:
            self._answer("200 OK")
            return
        asked = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
        self._answer("200 OK", _listing(name, bucket, asked).encode(), b"Content-Type: application/xml\r\n")

    def _administer(self, what: str) -> None:
        verb, _, name = what.partition("/")
        if verb == "empty":
            _buckets[name] = Bucket()
        held = _buckets.get(name, Bucket()).objects
        if verb == "times":
            self._answer("200 OK", "".join([f"{each.at:.6f} {key}\n" for key, each in held.items()]).encode())
        else:
            count = sum([len(each.body) for each in held.values()]) if verb == "bytes" else len(held)
            self._answer("200 OK", b"%d" % count)


def _listing(name: str, bucket: Bucket, asked: dict[str, str]) -> str:
    v2 = asked.get("list-type") == "2"
    prefix = asked.get("prefix", "")
    delimiter = asked.get("delimiter", "")
    after = max(asked.get("marker", ""), asked.get("start-after", ""), asked.get("continuation-token", ""), prefix[:-1])
    most = int(asked.get("max-keys", "1000"))
    lines: list[str] = []
    groups: list[str] = []
    last = ""
    cut = False
    for key in bucket.keys[bisect_right(bucket.keys, after) :]:
        if not key.startswith(prefix):
            if key > prefix:
                break
            continue
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        group = key[: end + len(delimiter)] if end >= 0 else ""
        if group and (group in groups[-1:] or group == after):
            continue
        if len(lines) + len(groups) >= most:
            cut = True
            break
        last = group or key
        if group:
            groups.append(group)
        else:
            found = bucket.objects[key]
            at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(found.at))
            lines.append(
                f"<Contents><Key>{escape(key)}</Key><LastModified>{at}</LastModified><ETag>&quot;{found.etag}&quot;</ETag>"
                f"<Size>{len(found.body)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            )
    marks = f"<KeyCount>{len(lines)}</KeyCount>" if v2 else f"<Marker>{escape(asked.get('marker', ''))}</Marker>"
    if cut:
        mark = "NextContinuationToken" if v2 else "NextMarker"
        marks += f"<{mark}>{escape(last)}</{mark}>"
    common = "".join([f"<CommonPrefixes><Prefix>{escape(group)}</Prefix></CommonPrefixes>" for group in groups])
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="{_NAMESPACE}">'
        f"<Name>{name}</Name><Prefix>{escape(prefix)}</Prefix><MaxKeys>{most}</MaxKeys>"
        f"<IsTruncated>{str(cut).lower()}</IsTruncated>{marks}{''.join(lines)}{common}</ListBucketResult>"
    )


def _field(head: bytes, lowered: bytes, name: bytes) -> bytes:
    """The value of a header (`name` in lower case); empty without it."""
    at = lowered.find(b"\r\n%b:" % name)
    return head[at + len(name) + 3 : head.index(b"\r", at + 2)].strip() if at >= 0 else b""


def _kept(head: bytes, lowered: bytes) -> bytes:
    """The lines that an object keeps."""
    lines: list[bytes] = []
    for name in (b"\r\ncontent-type:", b"\r\nx-amz-meta-"):
        at = lowered.find(name)
        while at >= 0:
            end = head.index(b"\r\n", at + 2)
            lines.append(head[at + 2 : end + 2])
            at = lowered.find(name, end)
    return b"".join(lines)


_dates: dict[int, bytes] = {}


def _date(second: int) -> bytes:
    if second not in _dates:
        _dates.clear()
        _dates[second] = formatdate(second, usegmt=True).encode()
    return _dates[second]


async def main(port: int) -> None:
    # Nothing here has cycles, and the collector would walk through all objects again and again.
    gc.disable()
    server = await asyncio.get_running_loop().create_server(S3, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
