"""What each S3 operation needs: the names of its actions in policies, and the permission of an ACL that grants it.

Source: AWS, "Required permissions for Amazon S3 API operations" and "Mapping of ACL permissions and access policy
permissions".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controlplane.s3.access.acl import Permission


class On(StrEnum):
    """What an operation's permission is asked of."""

    SERVICE = "service"
    BUCKET = "bucket"
    OBJECT = "object"


@dataclass(frozen=True, slots=True)
class Need:
    """What an operation needs. A policy must allow the action on the resource (a bucket's ARN, or an object's); or an
    ACL must grant the permission: the bucket's for what is listed in or written into a bucket, else the object's own.
    Without a permission, only the bucket's owner has it beside the policy."""

    action: str
    on: On
    permission: Permission | None = None
    acl: On = On.BUCKET
    """Whose ACL is asked for the permission."""


def _bucket(action: str, permission: Permission | None = None) -> Need:
    return Need(f"s3:{action}", On.BUCKET, permission)


def _object(action: str, permission: Permission | None = None, acl: On = On.OBJECT) -> Need:
    return Need(f"s3:{action}", On.OBJECT, permission, acl)


_LIST = _bucket("ListBucket", Permission.READ)
_PUT = _object("PutObject", Permission.WRITE, On.BUCKET)
_GET = _object("GetObject", Permission.READ)

NEEDS: Final[dict[str, Need]] = {
    "ListBuckets": Need("s3:ListAllMyBuckets", On.SERVICE),
    "CreateBucket": Need("s3:CreateBucket", On.SERVICE),
    "HeadBucket": _LIST,
    "ListObjects": _LIST,
    "ListObjectsV2": _LIST,
    "ListObjectVersions": _bucket("ListBucketVersions", Permission.READ),
    "ListMultipartUploads": _bucket("ListBucketMultipartUploads", Permission.READ),
    "DeleteBucket": _bucket("DeleteBucket"),
    "GetBucketLocation": _bucket("GetBucketLocation"),
    "GetBucketAcl": _bucket("GetBucketAcl", Permission.READ_ACP),
    "PutBucketAcl": _bucket("PutBucketAcl", Permission.WRITE_ACP),
    "GetBucketPolicy": _bucket("GetBucketPolicy"),
    "PutBucketPolicy": _bucket("PutBucketPolicy"),
    "DeleteBucketPolicy": _bucket("DeleteBucketPolicy"),
    "GetBucketPolicyStatus": _bucket("GetBucketPolicyStatus"),
    "GetBucketVersioning": _bucket("GetBucketVersioning"),
    "PutBucketVersioning": _bucket("PutBucketVersioning"),
    "GetBucketTagging": _bucket("GetBucketTagging"),
    "PutBucketTagging": _bucket("PutBucketTagging"),
    "DeleteBucketTagging": _bucket("PutBucketTagging"),
    "GetBucketCors": _bucket("GetBucketCORS"),
    "PutBucketCors": _bucket("PutBucketCORS"),
    "DeleteBucketCors": _bucket("PutBucketCORS"),
    "GetBucketLifecycleConfiguration": _bucket("GetLifecycleConfiguration"),
    "PutBucketLifecycleConfiguration": _bucket("PutLifecycleConfiguration"),
    "DeleteBucketLifecycle": _bucket("PutLifecycleConfiguration"),
    "GetBucketEncryption": _bucket("GetEncryptionConfiguration"),
    "PutBucketEncryption": _bucket("PutEncryptionConfiguration"),
    "DeleteBucketEncryption": _bucket("PutEncryptionConfiguration"),
    "GetPublicAccessBlock": _bucket("GetBucketPublicAccessBlock"),
    "PutPublicAccessBlock": _bucket("PutBucketPublicAccessBlock"),
    "DeletePublicAccessBlock": _bucket("PutBucketPublicAccessBlock"),
    "GetBucketOwnershipControls": _bucket("GetBucketOwnershipControls"),
    "PutBucketOwnershipControls": _bucket("PutBucketOwnershipControls"),
    "DeleteBucketOwnershipControls": _bucket("PutBucketOwnershipControls"),
    "GetBucketWebsite": _bucket("GetBucketWebsite"),
    "PutBucketWebsite": _bucket("PutBucketWebsite"),
    "DeleteBucketWebsite": _bucket("DeleteBucketWebsite"),
    "GetBucketLogging": _bucket("GetBucketLogging"),
    "PutBucketLogging": _bucket("PutBucketLogging"),
    "GetBucketNotificationConfiguration": _bucket("GetBucketNotification"),
    "PutBucketNotificationConfiguration": _bucket("PutBucketNotification"),
    "GetBucketReplication": _bucket("GetReplicationConfiguration"),
    "PutBucketReplication": _bucket("PutReplicationConfiguration"),
    "DeleteBucketReplication": _bucket("PutReplicationConfiguration"),
    "GetBucketRequestPayment": _bucket("GetBucketRequestPayment"),
    "PutBucketRequestPayment": _bucket("PutBucketRequestPayment"),
    "GetBucketAccelerateConfiguration": _bucket("GetAccelerateConfiguration"),
    "PutBucketAccelerateConfiguration": _bucket("PutAccelerateConfiguration"),
    "GetObjectLockConfiguration": _bucket("GetBucketObjectLockConfiguration"),
    "PutObjectLockConfiguration": _bucket("PutBucketObjectLockConfiguration"),
    "GetObject": _GET,
    "HeadObject": _GET,
    "GetObjectAttributes": _GET,
    "GetObjectAcl": _object("GetObjectAcl", Permission.READ_ACP),
    "PutObjectAcl": _object("PutObjectAcl", Permission.WRITE_ACP),
    "GetObjectTagging": _object("GetObjectTagging"),
    "PutObjectTagging": _object("PutObjectTagging"),
    "DeleteObjectTagging": _object("DeleteObjectTagging"),
    "GetObjectRetention": _object("GetObjectRetention"),
    "PutObjectRetention": _object("PutObjectRetention"),
    "GetObjectLegalHold": _object("GetObjectLegalHold"),
    "PutObjectLegalHold": _object("PutObjectLegalHold"),
    "PutObject": _PUT,
    "PostObject": _PUT,
    "CopyObject": _PUT,
    "CreateMultipartUpload": _PUT,
    "UploadPart": _PUT,
    "UploadPartCopy": _PUT,
    "CompleteMultipartUpload": _PUT,
    "AbortMultipartUpload": _object("AbortMultipartUpload", Permission.WRITE, On.BUCKET),
    "ListParts": _object("ListMultipartUploadParts", Permission.WRITE, On.BUCKET),
    "DeleteObject": _object("DeleteObject", Permission.WRITE, On.BUCKET),
    "DeleteObjects": _object("DeleteObject", Permission.WRITE, On.BUCKET),
}
"""By the operation's name in S3's API. A copy is decided twice: CopyObject at the target, GetObject at the source;
DeleteObjects once a key. Bucket WRITE gives writing, overwriting and deleting of every key, as S3 does it."""

_VERSIONED: Final = {
    "s3:GetObject": "s3:GetObjectVersion",
    "s3:GetObjectAcl": "s3:GetObjectVersionAcl",
    "s3:PutObjectAcl": "s3:PutObjectVersionAcl",
    "s3:DeleteObject": "s3:DeleteObjectVersion",
    "s3:GetObjectTagging": "s3:GetObjectVersionTagging",
    "s3:PutObjectTagging": "s3:PutObjectVersionTagging",
    "s3:DeleteObjectTagging": "s3:DeleteObjectVersionTagging",
}

_OTHER_ACTIONS: Final = (
    "BypassGovernanceRetention", "GetAnalyticsConfiguration", "PutAnalyticsConfiguration", "GetInventoryConfiguration",
    "PutInventoryConfiguration", "GetMetricsConfiguration", "PutMetricsConfiguration", "GetObjectTorrent",
    "GetObjectVersionTorrent", "GetObjectVersionForReplication", "GetObjectAttributes", "GetObjectVersionAttributes",
    "GetIntelligentTieringConfiguration", "PutIntelligentTieringConfiguration", "ObjectOwnerOverrideToBucketOwner",
    "ReplicateDelete", "ReplicateObject", "ReplicateTags", "RestoreObject", "InitiateReplication",
)  # fmt: skip
"""Actions that policies may name although no operation here asks for them."""

ACTIONS: Final = frozenset(
    {need.action for need in NEEDS.values()} | set(_VERSIONED.values()) | {f"s3:{name}" for name in _OTHER_ACTIONS}
)
"""Every action that a bucket policy may name."""

OBJECT_ACTIONS: Final = frozenset(
    {need.action for need in NEEDS.values() if need.on is On.OBJECT}
    | set(_VERSIONED.values())
    | {f"s3:{name}" for name in _OTHER_ACTIONS if "Object" in name or name.startswith("Replicate")}
    | {"s3:BypassGovernanceRetention"}
)
"""Those of them whose resource is an object."""


def need_of(operation: str, *, versioned: bool = False) -> Need:
    """What an operation needs; `versioned` when the request names a versionId. KeyError for an unknown operation."""
    need = NEEDS[operation]
    if versioned and need.action in _VERSIONED:
        return Need(_VERSIONED[need.action], need.on, need.permission, need.acl)
    return need
