"""CopyObject, and the reading of x-amz-copy-source with its defect: a slash in the key is taken for a version."""

from urllib.parse import unquote_to_bytes
from xml.sax.saxutils import escape

from tests.hosts.standin.cs import acl
from tests.hosts.standin.cs.answers import HEAD, XML, S3Error, compact_date
from tests.hosts.standin.cs.objects import Manifest
from tests.hosts.standin.cs.s3_object import may, publish, stored_headers
from tests.hosts.standin.cs.state import Call
from tests.hosts.standin.cs.users import Bucket
from tests.hosts.standin.web.messages import Response, page


def source(call: Call) -> tuple[str, Manifest]:
    """Bucket and manifest of the source. Raises S3Error."""
    text = call.request.header("x-amz-copy-source") or ""
    raw = unquote_to_bytes(text.replace("+", " ").encode("latin-1"))
    parts = raw.removeprefix(b"/").split(b"/")
    if not 2 <= len(parts) <= 3 or not all(parts):
        raise S3Error("BadRequest")
    name, key = parts[0].decode("utf-8", "replace"), parts[1]
    version = parts[2].decode("latin-1") if len(parts) == 3 else "null"
    resource = "/" + raw.removeprefix(b"/").decode("utf-8", "surrogateescape")
    bucket = call.state.buckets.get(name)
    manifest = call.state.objects.manifest(name, key, version) if bucket else None
    if bucket is None or manifest is None:
        raise S3Error("NoSuchKey", resource=resource)
    if not may(call, bucket, manifest, "READ", "s3:GetObject"):
        raise S3Error("AccessDenied", resource=resource)
    return name, manifest


def _refused(call: Call, manifest: Manifest) -> Response | None:
    etag = f'"{manifest["etag"]}"'
    wanted = call.request.header("x-amz-copy-source-if-match")
    unwanted = call.request.header("x-amz-copy-source-if-none-match")
    if (wanted is not None and etag not in wanted) or (unwanted is not None and etag in unwanted):
        return page(412)
    return None


def copy(call: Call, bucket: Bucket) -> Response:
    if call.request.remaining or call.request.context.get("chunked"):
        return page(413)
    name, manifest = source(call)
    refused = _refused(call, manifest)
    if refused is not None:
        return refused
    replace = (call.request.header("x-amz-metadata-directive") or "").upper() == "REPLACE"
    rights = acl.from_headers(call.request, call.user, call.state.users, call.owner(bucket))
    fresh = manifest | {"acl": rights}
    if replace:
        kind = call.request.header("content-type") or manifest["type"]
        fresh |= {"headers": stored_headers(call), "type": kind}
    itself = name == bucket.name and call.state.objects.manifest(bucket.name, call.key) == manifest
    if itself:
        _rewrite(call, bucket, fresh)
    else:
        pieces = call.state.objects.read(manifest["segments"], 0, manifest["size"])
        segment, _ = call.state.objects.store(bucket.name, _blocks(pieces))
        fresh["segments"] = [segment]
        publish(call, bucket, fresh)
    return result("CopyObjectResult", call, fresh)


def _rewrite(call: Call, bucket: Bucket, manifest: Manifest) -> None:
    """A copy onto itself changes the metadata and keeps the date."""
    record, context = call.state.objects.record(bucket.name, call.key)
    record["active"] = manifest
    call.state.objects.save(bucket.name, call.key, "null", record, context)


def _blocks(pieces: object) -> object:
    buffer = b""
    for piece in pieces:  # type: ignore[attr-defined]
        buffer += piece
        while len(buffer) >= 1 << 20:
            yield buffer[: 1 << 20]
            buffer = buffer[1 << 20 :]
    if buffer:
        yield buffer


def result(tag: str, call: Call, manifest: Manifest) -> Response:
    path = f"/{call.bucket_name}/{call.key.decode('utf-8', 'surrogateescape')}"
    content = (
        f"{HEAD}<{tag}><LastModified>{compact_date(manifest['created'])}</LastModified>"
        f'<ETag>"{manifest["etag"]}"</ETag><RequestId>{call.request.context["id"]}</RequestId>'
        f"<Resource>{escape(path)}</Resource><AWSAccessKeyId>{call.key_id or 'NoKeyId'}</AWSAccessKeyId>"
        f"<HostId>cmlha19jcy1pcy1ub3QtYW1hem9uYXdzLmNvbQ==</HostId></{tag}>"
    )
    return Response(200, XML | {"ETag": f'"{manifest["etag"]}"'}, content.encode("utf-8", "surrogateescape"))
