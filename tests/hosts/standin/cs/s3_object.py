"""Objects: GET with ranges and conditions, PUT, DELETE, ACL; and who may."""

import base64
import email.utils
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

from tests.hosts.standin.cs import acl, policy
from tests.hosts.standin.cs.answers import XML, Crash, S3Error, xml
from tests.hosts.standin.cs.objects import Manifest
from tests.hosts.standin.cs.state import Call
from tests.hosts.standin.cs.users import Bucket
from tests.hosts.standin.web.messages import Response, http_date, page

LARGEST = 5 << 30
_KEPT = ("cache-control", "content-disposition", "content-encoding", "expires")
_CASE = {name: name.title() for name in _KEPT}


def may(call: Call, bucket: Bucket, manifest: Manifest | None, permission: str, action: str) -> bool:
    """By ownership and ACLs; policies count only where Riak CS was seen to heed them."""
    if call.owns(bucket) or call.is_admin:
        return True
    if permission == "WRITE":
        if acl.allows(bucket.acl, call.user, "WRITE"):
            return True
        resource = f"{bucket.name}/{call.key.decode('utf-8', 'replace')}"
        if bucket.policy and policy.allows(bucket.policy, call.user, action, resource, call.request.peer):
            raise Crash("function_clause,\n       [{riak_cs_acl,owner_id}]")
        return False
    return manifest is not None and acl.allows(manifest["acl"], call.user, permission)


def answer(call: Call) -> Response:
    if "acl" in call.params:
        return _acl(call)
    match call.request.method:
        case "GET" | "HEAD":
            return _get(call)
        case "PUT":
            return put(call)
        case "DELETE":
            return _delete(call)
    return page(405, Allow="HEAD, GET, DELETE, PUT")


def _version(call: Call) -> str:
    return call.param("versionId") or "null"


def find(call: Call, bucket: Bucket, permission: str = "READ", action: str = "s3:GetObject") -> Manifest:
    """Raises NoSuchKey or AccessDenied."""
    manifest = call.state.objects.manifest(bucket.name, call.key, _version(call))
    if manifest is None:
        raise S3Error("NoSuchKey")
    if not may(call, bucket, manifest, permission, action):
        raise S3Error("AccessDenied")
    return manifest


# -- reading ----------------------------------------------------------------------------------------------------------


def _get(call: Call) -> Response:
    manifest = find(call, call.bucket())
    accept = call.request.header("accept")
    if accept and not _accepts(accept, manifest["type"]):
        return page(406)
    refused = conditions(call, manifest)
    if refused is not None:
        return refused
    headers = described(manifest)
    size = manifest["size"]
    start, end, status = 0, size, 200
    asked = call.request.header("range")
    if asked is not None:
        found = parse_range(asked, size)
        if found is None:
            kept = {k: v for k, v in headers.items() if k in ("ETag", "Last-Modified")}
            raise S3Error("InvalidRange", headers=kept)
        if found != (0, -1):
            start, end = found
            status = 206
            headers |= {"Content-Range": f"bytes {start}-{end - 1}/{size}", "Accept-Ranges": "bytes"}
    stream: Iterator[bytes] = call.state.objects.read(manifest["segments"], start, end)
    return Response(status, headers, _primed(stream), length=end - start)


def _primed(stream: Iterator[bytes]) -> Iterator[bytes]:
    """The first block is read before the head is sent, so a missing one becomes an error answer."""
    first = next(stream, b"")

    def rest() -> Iterator[bytes]:
        yield first
        yield from stream

    return rest()


def described(manifest: Manifest) -> dict[str, str]:
    headers = {
        "Last-Modified": http_date(manifest["created"] // 1000),
        "ETag": f'"{manifest["etag"]}"',
        "Content-Type": manifest["type"],
    }
    return headers | manifest["headers"]


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Start and end; (0, -1) for several ranges, which are ignored; None when it cannot be satisfied."""
    if not text.startswith("bytes="):
        return None
    if "," in text:
        return 0, -1
    match = re.fullmatch(r"(\d*)-(\d*)", text[6:])
    if match is None or match[0] == "-":
        return None
    if not match[1]:
        return max(size - int(match[2]), 0), size
    start = int(match[1])
    last = int(match[2]) if match[2] else size - 1
    if start >= size or last < start:
        return None
    return start, min(last + 1, size)


def _accepts(accept: str, content_type: str) -> bool:
    mine = content_type.partition(";")[0].strip()
    kinds = [part.partition(";")[0].strip() for part in accept.split(",")]
    return any(kind in ("*/*", "*", mine) or (kind.endswith("/*") and mine.startswith(kind[:-1])) for kind in kinds)


def _date(text: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() if text else None
    except (TypeError, ValueError):
        return None


def conditions(call: Call, manifest: Manifest) -> Response | None:
    """webmachine's order: If-Match, If-Unmodified-Since, If-None-Match, If-Modified-Since."""
    request, etag = call.request, f'"{manifest["etag"]}"'
    modified = manifest["created"] // 1000
    reading = request.method in ("GET", "HEAD")
    match = request.header("if-match")
    if match is not None and match != "*" and etag not in match:
        return page(412)
    unmodified = _date(request.header("if-unmodified-since"))
    if unmodified is not None and modified > unmodified:
        return page(412)
    none = request.header("if-none-match")
    if none is not None and (none == "*" or etag in none):
        return Response(304, {"ETag": etag}) if reading else page(412)
    since = _date(request.header("if-modified-since"))
    if none is None and reading and since is not None and since <= time.time() and modified <= since:
        return Response(304, {"ETag": etag})
    return None


# -- writing ----------------------------------------------------------------------------------------------------------


def check_size(call: Call) -> Response | None:
    if call.request.context.get("chunked") or not call.request.has("content-length"):
        return page(413)
    if call.request.remaining > LARGEST:
        raise S3Error("EntityTooLarge")
    return None


def check_digest(call: Call, digest: bytes) -> None:
    """Content-MD5 against what came; the only checksum that Riak CS verifies."""
    given = call.request.header("content-md5")
    if given is None:
        return
    try:
        right = base64.b64decode(given, validate=True) == digest
    except ValueError:
        right = False
    if not right:
        raise S3Error("InvalidDigest", extra=f"<Content-MD5>{given}</Content-MD5>")


def stored_headers(call: Call) -> dict[str, str]:
    """What is kept with an object and given back with it."""
    kept = {}
    for name, value in call.request.headers:
        lower = name.lower()
        if lower.startswith("x-amz-meta-") or lower in ("x-amz-storage-class", "x-amz-metadata-directive"):
            kept[lower] = value
        elif lower in _KEPT:
            kept[_CASE[lower]] = value
    return kept


def _key_length(call: Call) -> None:
    limit = call.state.values["max_key_length"]
    if limit != "unlimited" and len(call.key) > int(limit):
        sizes = f"<Size>{len(call.key)}</Size><MaxSizeAllowed>{limit}</MaxSizeAllowed>"
        error = S3Error("KeyTooLongError", extra=sizes)
        call.user = None
        raise error


def may_put(call: Call) -> Bucket:
    _key_length(call)
    bucket = call.bucket()
    if not may(call, bucket, None, "WRITE", "s3:PutObject"):
        raise S3Error("AccessDenied")
    return bucket


def put(call: Call) -> Response:
    from tests.hosts.standin.cs.s3_copy import copy

    bucket = may_put(call)
    if call.request.has("x-amz-copy-source"):
        return copy(call, bucket)
    refused = check_size(call) or _put_conditions(call, bucket)
    if refused is not None:
        return refused
    rights = acl.from_headers(call.request, call.user, call.state.users, call.owner(bucket))
    segment, digest = call.state.objects.store(bucket.name, call.request.chunks())
    try:
        check_digest(call, digest)
    except S3Error:
        call.state.objects.discard([segment])
        raise
    manifest = {
        "size": segment["size"],
        "etag": digest.hex(),
        "type": call.request.header("content-type") or "application/octet-stream",
        "headers": stored_headers(call),
        "acl": rights,
        "segments": [segment],
    }
    version = publish(call, bucket, manifest)
    return Response(200, {"x-amz-version-id": version, "ETag": f'"{digest.hex()}"', "Content-Type": "text/plain"}, b"")


def publish(call: Call, bucket: Bucket, manifest: dict[str, Any]) -> str:
    """Stores a manifest and returns its version."""
    version = uuid.uuid4().hex if bucket.versioning == "Enabled" else "null"
    call.state.objects.publish(bucket.name, call.key, version, manifest)
    return version


def _put_conditions(call: Call, bucket: Bucket) -> Response | None:
    """If-None-Match: * fails always, If-Match on a missing key crashes."""
    request = call.request
    if request.header("if-none-match") == "*":
        return page(412)
    if request.has("if-match"):
        manifest = call.state.objects.manifest(bucket.name, call.key)
        if manifest is None:
            raise Crash("function_clause")
        return conditions(call, manifest)
    return None


def _delete(call: Call) -> Response:
    bucket = call.bucket()
    if not may(call, bucket, None, "WRITE", "s3:DeleteObject"):
        raise S3Error("AccessDenied")
    manifest = call.state.objects.manifest(bucket.name, call.key, _version(call))
    if manifest is not None:
        refused = conditions(call, manifest)
        if refused is not None:
            return refused
    call.state.objects.remove(bucket.name, call.key, _version(call))
    return Response(204, {"Content-Type": "text/plain"})


def _acl(call: Call) -> Response:
    bucket = call.bucket()
    if call.request.method == "GET":
        manifest = find(call, bucket, "READ_ACP", "s3:GetObjectAcl")
        return xml(acl.to_xml(manifest["acl"]), **{"Content-Type": manifest["type"]})
    if call.request.method != "PUT":
        return page(405, Allow="HEAD, GET, PUT")
    manifest = find(call, bucket, "WRITE_ACP", "s3:PutObjectAcl")
    raw = call.request.body()
    if raw and not any(n.lower().startswith(("x-amz-acl", "x-amz-grant")) for n, _ in call.request.headers):
        rights = acl.from_xml(raw, call.state.users)
    else:
        rights = acl.from_headers(call.request, call.user, call.state.users, call.owner(bucket))
    record, context = call.state.objects.record(bucket.name, call.key, _version(call))
    record["active"]["acl"] = rights | {"owner": manifest["acl"]["owner"]}
    call.state.objects.save(bucket.name, call.key, _version(call), record, context)
    return Response(200, XML | {"Content-Type": "text/plain"}, b"")
