"""Buckets: create, delete, HEAD, ACL, policy, location, versioning, multi-delete."""

import re
import xml.etree.ElementTree as ET

from tests.hosts.standin.cs import acl, policy, s3_listing
from tests.hosts.standin.cs.answers import CORS, NAMESPACE, XML, Crash, S3Error, compact_date, text_of, xml
from tests.hosts.standin.cs.s3_object import may
from tests.hosts.standin.cs.stanchion import packed
from tests.hosts.standin.cs.state import Call
from tests.hosts.standin.cs.users import Bucket, User, now_ms
from tests.hosts.standin.web.messages import Response, crash, page

_NAME = re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
_ADDRESS = re.compile(r"^\d{1,3}(\.\d{1,3}){3}$")


def service(call: Call) -> Response:
    if call.request.method != "GET":
        return page(405, Allow="GET")
    if call.user is None:
        raise S3Error("AccessDenied")
    rows = "".join(
        f"<Bucket><Name>{b['name']}</Name><CreationDate>{compact_date(b['created'])}</CreationDate></Bucket>"
        for b in sorted(call.user.buckets, key=lambda b: b["name"])
    )
    buckets = f"<Buckets>{rows}</Buckets>" if rows else "<Buckets/>"
    return xml(
        f"<ListAllMyBucketsResult {NAMESPACE}><Owner><ID>{call.user.id}</ID>"
        f"<DisplayName>{text_of(call.user.display_name.encode())}</DisplayName></Owner>{buckets}</ListAllMyBucketsResult>"
    )


def answer(call: Call) -> Response:
    """Subresources that Riak CS does not know are ignored: the request is then one on the bucket itself."""
    method = call.request.method
    for name, handler in _SUBRESOURCES.items():
        if name in call.params:
            return handler(call)
    match method:
        case "GET":
            return _list(call)
        case "HEAD":
            return _head(call)
        case "PUT":
            return _create(call)
        case "DELETE":
            return _delete(call)
    return page(405, Allow="HEAD, PUT, DELETE")


def _named(call: Call) -> User:
    """The caller; Riak CS crashes here on anonymous requests."""
    if call.user is None:
        raise Crash("function_clause")
    return call.user


def _list(call: Call) -> Response:
    try:
        bucket = call.bucket()
        _may_list(call, bucket, "s3:ListBucket")
        return s3_listing.objects(call)
    except S3Error as error:
        error.headers = CORS
        raise


def _may_list(call: Call, bucket: Bucket, action: str) -> None:
    """Everybody may while there is no policy; with one, the owner and whom it allows."""
    if bucket.policy is None or call.owns(bucket):
        return
    if not policy.allows(bucket.policy, call.user, action, bucket.name, call.request.peer):
        raise S3Error("AccessDenied")


def _head(call: Call) -> Response:
    _named(call)
    bucket = call.state.buckets.get(call.bucket_name)
    if bucket is None:
        raise S3Error("NoSuchBucket")
    if not call.owns(bucket):
        return Response(404, {"Content-Type": "text/html"}, b"", "Object Not Found", length=193)
    return Response(200, {"content-type": "text/html"}, b"")


def _create(call: Call) -> Response:
    if call.user is None:
        raise S3Error("AccessDenied")
    name = call.bucket_name
    if not _NAME.match(name) or _ADDRESS.match(name):
        raise S3Error("InvalidBucketName")
    limit = call.state.values["max_buckets_per_user"]
    known = {b["name"] for b in call.user.buckets}
    if limit != "unlimited" and name not in known and len(known) >= int(limit):
        counts = f"<CurrentNumberOfBuckets>{len(known)}</CurrentNumberOfBuckets>"
        raise S3Error("TooManyBuckets", extra=f"{counts}<AllowedNumberOfBuckets>{limit}</AllowedNumberOfBuckets>")
    rights = acl.from_headers(call.request, call.user, call.state.users)
    bucket = Bucket(name, call.user.key_id, rights, now_ms())
    call.state.stanchion.ask("create_bucket", {"bucket": packed(bucket)})
    return Response(200, XML, b"")


def _delete(call: Call) -> Response:
    if call.user is None:
        raise S3Error("AccessDenied")
    bucket = call.bucket()
    if not call.owns(bucket):
        raise S3Error("BucketAlreadyExists")
    if not call.state.objects.empty(bucket.name):
        raise S3Error("BucketNotEmpty")
    call.state.stanchion.ask("delete_bucket", {"name": bucket.name})
    return Response(204, XML)


def _own(call: Call) -> Bucket:
    bucket = call.bucket()
    if not call.owns(bucket):
        raise S3Error("BucketAlreadyExists")
    return bucket


def _update(call: Call, bucket: Bucket) -> None:
    call.state.stanchion.ask("update_bucket", {"bucket": packed(bucket)})


def _acl(call: Call) -> Response:
    if call.request.method == "GET":
        bucket = call.bucket()
        _may_list(call, bucket, "s3:GetBucketAcl")
        return xml(acl.to_xml(bucket.acl))
    if call.request.method != "PUT":
        return page(405, Allow="HEAD, GET, PUT")
    user = _named(call)
    bucket = call.bucket()
    raw = call.request.body()
    if raw and not any(n.lower().startswith(("x-amz-acl", "x-amz-grant")) for n, _ in call.request.headers):
        rights = acl.from_xml(raw, call.state.users)
    else:
        rights = acl.from_headers(call.request, user, call.state.users)
    bucket = _own(call)
    bucket.acl = rights | {"owner": bucket.acl["owner"]}
    _update(call, bucket)
    return Response(200, XML, b"")


def _location(call: Call) -> Response:
    _named(call)
    bucket = call.bucket()
    if not call.owns(bucket):
        raise S3Error("NoSuchBucket")
    return xml(f"<LocationConstraint {NAMESPACE}>us-east-1</LocationConstraint>")


def _versioning(call: Call) -> Response:
    _named(call)
    bucket = call.bucket()
    if call.request.method == "GET":
        content = (
            f"<VersioningConfiguration><Status>{bucket.versioning}</Status><MFADelete>Disabled</MFADelete>"
            "<UseSubVersioning>False</UseSubVersioning><CanUpdateVersions>False</CanUpdateVersions>"
            "<ReplSiblings>True</ReplSiblings></VersioningConfiguration>"
        )
        return Response(200, XML, content.encode())
    try:
        root = ET.fromstring(call.request.body())
    except ET.ParseError:
        raise S3Error("MalformedXML") from None
    status = next((e.text for e in root.iter() if e.tag.endswith("Status")), None)
    if call.owns(bucket) and status in ("Enabled", "Suspended"):
        bucket.versioning = status
        _update(call, bucket)
    return Response(200, XML, b"")


def _policy(call: Call) -> Response:
    method, json_type = call.request.method, {"Content-Type": "application/json"}
    if method == "GET":
        bucket = call.bucket()
        if bucket.policy is None:
            raise S3Error("NoSuchBucketPolicy")
        if not call.owns(bucket):
            raise S3Error("AccessDenied")
        return Response(200, json_type, bucket.policy.encode())
    _named(call)
    if method == "DELETE":
        bucket = _own(call)
        bucket.policy = None
        _update(call, bucket)
        return Response(200, json_type, b"")
    bucket = _own(call)
    kind = call.request.header("content-type")
    if kind is None:
        return page(415)
    if kind != "application/json":
        return crash("[{webmachine_decision_core,'-accept_helper/1-lc$^0/1-0-',2}]")
    bucket.policy = policy.check(call.request.body(), bucket.name)
    _update(call, bucket)
    return Response(200, json_type, b"")


def _uploads(call: Call) -> Response:
    call.bucket()
    _named(call)
    return s3_listing.uploads(call)


def _versions(call: Call) -> Response:
    _may_list(call, call.bucket(), "s3:ListBucketVersions")
    return s3_listing.versions(call)


def _multi_delete(call: Call) -> Response:
    if call.request.method != "POST":
        return page(405, Allow="POST")
    bucket = call.bucket()
    _named(call)
    try:
        root = ET.fromstring(call.request.body())
    except ET.ParseError:
        raise S3Error("MalformedXML") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    wanted = [(o.findtext("Key") or "", o.findtext("VersionId") or "null") for o in root.iter("Object")]
    if len(wanted) > 1000:
        raise S3Error("MalformedXML")
    rows = []
    for name, version in wanted:
        key = name.encode()
        what = f"<Key>{text_of(key)}</Key><VersionId>{version}</VersionId>"
        manifest = call.state.objects.manifest(bucket.name, key, version)
        if may(call, bucket, manifest, "WRITE", "s3:DeleteObject"):
            call.state.objects.remove(bucket.name, key, version)
            rows.append(f"<Deleted>{what}</Deleted>")
        else:
            rows.append(f"<Error>{what}<Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
    inner = f">{''.join(rows)}</DeleteResult>" if rows else "/>"
    return xml(f"<DeleteResult {NAMESPACE}{inner}")


def _lifecycle(call: Call) -> Response:
    call.user = None
    raise S3Error("NotImplemented")


def _payment(call: Call) -> Response:
    if call.request.method != "GET":
        return page(405, Allow="GET")
    content = f"<RequestPaymentConfiguration {NAMESPACE}><Payer>BucketOwner</Payer></RequestPaymentConfiguration>"
    return xml(content)


_SUBRESOURCES = {
    "acl": _acl,
    "location": _location,
    "versioning": _versioning,
    "policy": _policy,
    "uploads": _uploads,
    "versions": _versions,
    "delete": _multi_delete,
    "lifecycle": _lifecycle,
    "requestPayment": _payment,
}
