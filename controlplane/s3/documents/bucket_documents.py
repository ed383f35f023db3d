"""ListBuckets and CreateBucket; location, versioning and the configurations that a bucket here never has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NoReturn

from controlplane.s3.access.principals import User
from controlplane.s3.dates import iso_timestamp
from controlplane.s3.documents.continuation import made_token, read_token
from controlplane.s3.documents.object_listing import written_owner
from controlplane.s3.documents.parameters import invalid_argument, parameters_of
from controlplane.s3.documents.request_xml import request_root
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.operation import Operation
from controlplane.s3.uri import Query
from controlplane.s3.xml_text import document, element, optional

DEFAULT_REGION: Final = "us-east-1"
MAX_BUCKETS: Final = 10_000


@dataclass(frozen=True, slots=True)
class ListedBucket:
    name: str
    created_at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class ListBuckets:
    prefix: str
    max_buckets: int | None
    """None: all on one page."""
    after: str


def parse_list_buckets(query: Query) -> ListBuckets:
    """`query` is decoded. Raises InvalidArgument."""
    given = parameters_of(query)
    prefix, token, size = given.get("prefix", ""), given.get("continuation-token"), given.get("max-buckets", "")
    if size and not (size.isascii() and size.isdecimal() and len(size) <= 5 and 1 <= int(size) <= MAX_BUCKETS):
        raise invalid_argument("max-buckets", size, f"max-buckets must be an integer between 1 and {MAX_BUCKETS}")
    return ListBuckets(prefix, int(size) if size else None, read_token(token, "", prefix, "") if token else "")


def render_buckets(request: ListBuckets, owner: User, buckets: Iterable[ListedBucket]) -> bytes:
    """The page of all of a user's buckets, in any order."""
    wanted = sorted(
        (at for at in buckets if at.name.startswith(request.prefix) and at.name > request.after),
        key=lambda at: at.name,
    )
    page = wanted if request.max_buckets is None else wanted[: request.max_buckets]
    token = made_token(page[-1].name, "", request.prefix, "") if len(page) < len(wanted) else None
    listed = "".join(
        f"<Bucket>{element('Name', at.name)}<CreationDate>{iso_timestamp(at.created_at)}</CreationDate></Bucket>"
        for at in page
    )
    return document(
        "ListAllMyBucketsResult",
        f"{written_owner('Owner', owner)}<Buckets>{listed}</Buckets>{optional('ContinuationToken', token)}"
        f"{optional('Prefix', request.prefix or None)}",
    )


def parse_create_bucket(body: bytes) -> str:
    """The region that a CreateBucketConfiguration asks for; empty when the body is empty or names none.

    Raises MalformedXML, NotImplemented for what else AWS lets a bucket be created with.
    """
    if not body.strip():
        return ""
    root = request_root(body, "CreateBucketConfiguration")
    for child in root.children:
        if child.name != "LocationConstraint":
            raise S3Fault(Code.NOT_IMPLEMENTED, f"Buckets with {child.name[:40]} are not supported.")
    return (root.text_of("LocationConstraint") or "").strip()


def check_location(region: str, ours: str) -> None:
    """Raises InvalidLocationConstraint when a bucket is asked for in another region than this one (`ours`).

    The empty one is this one; EU and US are names that S3 had for regions once, and Riak CS takes any
    (recording bucket-location-eu).
    """
    if region not in ("", ours, "EU", "US", DEFAULT_REGION):
        raise S3Fault(
            Code.INVALID_LOCATION_CONSTRAINT,
            "The specified location-constraint is not valid",
            extra=(("LocationConstraint", region[:80]),),
        )


def render_location(region: str) -> bytes:
    """Of us-east-1 it is empty, in S3's tradition: clients take that so."""
    return document("LocationConstraint", "" if region == DEFAULT_REGION else region)


def render_versioning() -> bytes:
    """Of a bucket that never had versioning, as all here (docs/decisions/0003-versioning.md): no status at all.
    Riak CS says Suspended, and more (recording ver-get-default)."""
    return document("VersioningConfiguration", "")


def refuse_versioning(body: bytes) -> NoReturn:
    """PutBucketVersioning. Raises MalformedXML, else NotImplemented: also Suspended is a state that a bucket without
    versioning is not in."""
    root = request_root(body, "VersioningConfiguration")
    status = root.text_of("Status")
    if status not in ("Enabled", "Suspended"):
        raise S3Fault(Code.MALFORMED_XML)
    raise S3Fault(
        Code.NOT_IMPLEMENTED,
        "Versioning is not supported: Riak CS would give old bytes for new keys and keep no delete markers.",
    )


_NOT_CONFIGURED: Final = {
    Operation.GET_BUCKET_ENCRYPTION: Code.NO_SUCH_ENCRYPTION_CONFIGURATION,
    Operation.GET_BUCKET_TAGGING: Code.NO_SUCH_TAG_SET,
    Operation.GET_BUCKET_CORS: Code.NO_SUCH_CORS_CONFIGURATION,
    Operation.GET_BUCKET_LIFECYCLE: Code.NO_SUCH_LIFECYCLE_CONFIGURATION,
    Operation.GET_BUCKET_POLICY: Code.NO_SUCH_BUCKET_POLICY,
    Operation.GET_BUCKET_POLICY_STATUS: Code.NO_SUCH_BUCKET_POLICY,
    Operation.GET_PUBLIC_ACCESS_BLOCK: Code.NO_SUCH_PUBLIC_ACCESS_BLOCK,
    Operation.GET_BUCKET_OWNERSHIP_CONTROLS: Code.NO_SUCH_OWNERSHIP_CONTROLS,
    Operation.GET_BUCKET_WEBSITE: Code.NO_SUCH_WEBSITE_CONFIGURATION,
    Operation.GET_BUCKET_REPLICATION: Code.NO_SUCH_REPLICATION_CONFIGURATION,
    Operation.GET_OBJECT_LOCK_CONFIGURATION: Code.NO_SUCH_OBJECT_LOCK_CONFIGURATION,
}


def not_configured(operation: Operation) -> S3Fault:
    """What S3 answers when a bucket has no configuration of that kind. KeyError for an operation that reads none."""
    return S3Fault(_NOT_CONFIGURED[operation])


def render_policy_status(public: bool) -> bytes:
    """GetBucketPolicyStatus of a bucket that has a policy (`policy_match.is_public`)."""
    return document("PolicyStatus", element("IsPublic", public))
