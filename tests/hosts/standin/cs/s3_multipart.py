"""Multipart uploads."""

import base64
import hashlib
import uuid
import xml.etree.ElementTree as ET
from typing import Any

from tests.hosts.standin.cs import acl
from tests.hosts.standin.cs.answers import NAMESPACE, XML, Crash, S3Error, text_of, xml
from tests.hosts.standin.cs.objects import Record
from tests.hosts.standin.cs.s3_copy import result, source
from tests.hosts.standin.cs.s3_object import check_digest, check_size, may_put, parse_range, publish, stored_headers
from tests.hosts.standin.cs.state import Call
from tests.hosts.standin.cs.users import Bucket, now_ms
from tests.hosts.standin.web.messages import Response, page

SMALLEST = 5 << 20
CLIENT_ERROR = (
    b"<html><head><title>477 Internal Server Error</title></head><body><h1>Internal Server Error</h1>Client Error<p>"
    b"<hr><address>mochiweb+webmachine web server</address></body></html>"
)


def answer(call: Call) -> Response:
    if "uploads" in call.params:
        if call.request.method != "POST":
            return page(405, Allow="POST")
        return _create(call)
    if "uploadId" not in call.params:
        return page(405, Allow="POST")
    match call.request.method:
        case "PUT":
            return _part(call)
        case "GET":
            return _parts(call)
        case "POST":
            return _complete(call)
        case "DELETE":
            return _abort(call)
    return page(405, Allow="POST, PUT, DELETE, GET")


def _create(call: Call) -> Response:
    bucket = may_put(call)
    identifier = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    record, context = call.state.objects.record(bucket.name, call.key)
    record["uploads"][identifier] = {
        "owner": call.key_id,
        "created": now_ms(),
        "type": call.request.header("content-type") or "binary/octet-stream",
        "headers": stored_headers(call),
        "acl": acl.from_headers(call.request, call.user, call.state.users, call.owner(bucket)),
        "parts": [],
    }
    call.state.objects.save(bucket.name, call.key, "null", record, context)
    content = f"<Bucket>{bucket.name}</Bucket><Key>{text_of(call.key)}</Key><UploadId>{identifier}</UploadId>"
    return xml(f"<InitiateMultipartUploadResult {NAMESPACE}>{content}</InitiateMultipartUploadResult>")


def _upload(call: Call, bucket: Bucket) -> tuple[str, Record, dict[str, int], dict[str, Any]]:
    identifier = call.param("uploadId") or ""
    record, context = call.state.objects.record(bucket.name, call.key)
    upload = record["uploads"].get(identifier)
    if upload is None:
        raise S3Error("NoSuchUpload", extra=f"<UploadId>{text_of(identifier.encode())}</UploadId>")
    if upload["owner"] != call.key_id:
        raise S3Error("AccessDenied")  # only who began it (riak_cs_mp_utils.erl)
    return identifier, record, context, upload


def _part(call: Call) -> Response:
    bucket = may_put(call)
    _upload(call, bucket)
    number = call.param("partNumber") or ""
    if not number.isdigit() or not 1 <= int(number) <= 10000:
        call.user = None
        text = "Part number must be an integer between 1 and 10000, inclusive"
        raise S3Error("InvalidArgument", message=text)
    if call.request.has("x-amz-copy-source"):
        return _part_copy(call, bucket, int(number))
    refused = check_size(call)
    if refused is not None:
        return refused
    segment, digest = call.state.objects.store(bucket.name, call.request.chunks())
    check_digest(call, digest)
    _add(call, bucket, int(number), segment, digest.hex())
    return Response(200, XML | {"ETag": f'"{digest.hex()}"'}, b"")


def _add(call: Call, bucket: Bucket, number: int, segment: dict[str, Any], etag: str) -> dict[str, Any]:
    identifier, record, context, upload = _upload(call, bucket)
    part = {"number": number, "etag": etag, "segment": segment, "created": now_ms()}
    upload["parts"].append(part)
    record["uploads"][identifier] = upload
    call.state.objects.save(bucket.name, call.key, "null", record, context)
    return part


def _part_copy(call: Call, bucket: Bucket, number: int) -> Response:
    _, manifest = source(call)
    start, end = 0, manifest["size"]
    asked = call.request.header("x-amz-copy-source-range")
    if asked is not None:
        found = parse_range(asked, manifest["size"])
        if found is None:
            raise Crash("{exit,badmatch}")
        start, end = found
    pieces = b"".join(call.state.objects.read(manifest["segments"], start, end))
    blocks = [pieces[at : at + (1 << 20)] for at in range(0, len(pieces), 1 << 20)]
    segment, digest = call.state.objects.store(bucket.name, blocks)
    part = _add(call, bucket, number, segment, digest.hex())
    return result("CopyPartResult", call, {"created": part["created"], "etag": digest.hex()})


def _parts(call: Call) -> Response:
    bucket = call.bucket()
    identifier, _, _, upload = _upload(call, bucket)
    owner = call.state.users.get(upload["owner"] or "")
    name = owner.display_name if owner else ""
    who = f"<ID>{upload['owner']}</ID><DisplayName>{name}</DisplayName>"
    parts = sorted(upload["parts"], key=lambda p: p["number"])
    rows = "".join(
        f"<Part><PartNumber>{p['number']}</PartNumber><LastModified>{p['created']}</LastModified>"
        f'<ETag>"{p["etag"]}"</ETag><Size>{p["segment"]["size"]}</Size></Part>'
        for p in parts
    )
    first, last = (parts[0]["number"], parts[-1]["number"]) if parts else (0, 0)
    return xml(
        f"<ListPartsResult {NAMESPACE}><Bucket>{bucket.name}</Bucket><Key>{text_of(call.key)}</Key>"
        f"<UploadId>{identifier}</UploadId><Initiator>{who}</Initiator><Owner>{who}</Owner>"
        f"<StorageClass>STANDARD</StorageClass><PartNumberMarker>{first}</PartNumberMarker>"
        f"<NextPartNumberMarker>{last}</NextPartNumberMarker><MaxParts>{len(parts)}</MaxParts>"
        f"<IsTruncated>false</IsTruncated>{rows}</ListPartsResult>"
    )


def _wanted(raw: bytes) -> list[tuple[int, str]] | None:
    try:
        root = ET.fromstring(raw)
    except ET.ParseError:
        return None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return [(int(p.findtext("PartNumber") or 0), (p.findtext("ETag") or "").strip('"')) for p in root.iter("Part")]


def _complete(call: Call) -> Response:
    bucket = may_put(call)
    identifier, record, context, upload = _upload(call, bucket)
    wanted = _wanted(call.request.body())
    if wanted is None:
        return Response(477, {"Content-Type": "text/html"}, CLIENT_ERROR, "Internal Server Error")
    if not wanted:
        raise S3Error("MalformedXML")
    if [number for number, _ in wanted] != sorted({number for number, _ in wanted}):
        raise S3Error("InvalidPartOrder")
    chosen = []
    for number, etag in wanted:
        found = [p for p in upload["parts"] if (p["number"], p["etag"]) == (number, etag)]
        if not found:
            raise S3Error("InvalidPart")
        chosen.append(found[-1])
    if any(p["segment"]["size"] < SMALLEST for p in chosen[:-1]):
        raise S3Error("EntityTooSmall")
    digest = hashlib.md5(b"".join(bytes.fromhex(p["etag"]) for p in chosen)).hexdigest()
    del record["uploads"][identifier]
    call.state.objects.save(bucket.name, call.key, "null", record, context)
    manifest = {
        "size": sum(p["segment"]["size"] for p in chosen),
        "etag": f"{digest}-{len(chosen)}",
        "type": upload["type"],
        "headers": upload["headers"],
        "acl": upload["acl"],
        "segments": [p["segment"] for p in chosen],
    }
    publish(call, bucket, manifest)
    call.state.objects.discard([p["segment"] for p in upload["parts"] if p not in chosen])
    root = call.state.values["s3_root_host"]
    name = text_of(call.key)
    return xml(
        f"<CompleteMultipartUploadResult {NAMESPACE}><Location>http://{bucket.name}.{root}/{name}</Location>"
        f'<Bucket>{bucket.name}</Bucket><Key>{name}</Key><ETag>"{manifest["etag"]}"</ETag>'
        "</CompleteMultipartUploadResult>"
    )


def _abort(call: Call) -> Response:
    bucket = may_put(call)
    identifier, record, context, upload = _upload(call, bucket)
    del record["uploads"][identifier]
    call.state.objects.save(bucket.name, call.key, "null", record, context)
    call.state.objects.discard([p["segment"] for p in upload["parts"]])
    return Response(204, {"Content-Type": "text/plain"})
