"""The operations of S3, by their names in AWS's API reference, and which of them the gateway serves."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Level(Enum):
    __hash__ = object.__hash__

    SERVICE = "service"
    BUCKET = "bucket"
    OBJECT = "object"


class Operation(Enum):
    """Every operation of S3 that goes to a bucket's or the service's address, by its name in the API reference."""

    __hash__ = object.__hash__  # each is there once: by identity, which costs a tenth of hashing its name

    # Service
    LIST_BUCKETS = "ListBuckets"

    # Buckets
    CREATE_BUCKET = "CreateBucket"
    DELETE_BUCKET = "DeleteBucket"
    HEAD_BUCKET = "HeadBucket"
    LIST_OBJECTS = "ListObjects"
    LIST_OBJECTS_V2 = "ListObjectsV2"
    LIST_OBJECT_VERSIONS = "ListObjectVersions"
    LIST_MULTIPART_UPLOADS = "ListMultipartUploads"
    DELETE_OBJECTS = "DeleteObjects"
    POST_OBJECT = "PostObject"
    """The browser's form upload; its name in the API reference is POST Object."""
    PREFLIGHT = "Preflight"
    """OPTIONS of CORS, at every level."""
    GET_BUCKET_ACL = "GetBucketAcl"
    PUT_BUCKET_ACL = "PutBucketAcl"
    GET_BUCKET_LOCATION = "GetBucketLocation"
    GET_BUCKET_VERSIONING = "GetBucketVersioning"
    PUT_BUCKET_VERSIONING = "PutBucketVersioning"
    GET_BUCKET_POLICY = "GetBucketPolicy"
    PUT_BUCKET_POLICY = "PutBucketPolicy"
    DELETE_BUCKET_POLICY = "DeleteBucketPolicy"
    GET_BUCKET_POLICY_STATUS = "GetBucketPolicyStatus"
    GET_BUCKET_TAGGING = "GetBucketTagging"
    PUT_BUCKET_TAGGING = "PutBucketTagging"
    DELETE_BUCKET_TAGGING = "DeleteBucketTagging"
    GET_BUCKET_CORS = "GetBucketCors"
    PUT_BUCKET_CORS = "PutBucketCors"
    DELETE_BUCKET_CORS = "DeleteBucketCors"
    GET_BUCKET_LIFECYCLE = "GetBucketLifecycleConfiguration"
    PUT_BUCKET_LIFECYCLE = "PutBucketLifecycleConfiguration"
    DELETE_BUCKET_LIFECYCLE = "DeleteBucketLifecycle"
    GET_BUCKET_ENCRYPTION = "GetBucketEncryption"
    PUT_BUCKET_ENCRYPTION = "PutBucketEncryption"
    DELETE_BUCKET_ENCRYPTION = "DeleteBucketEncryption"
    GET_BUCKET_ACCELERATE = "GetBucketAccelerateConfiguration"
    PUT_BUCKET_ACCELERATE = "PutBucketAccelerateConfiguration"
    GET_BUCKET_ANALYTICS = "GetBucketAnalyticsConfiguration"
    PUT_BUCKET_ANALYTICS = "PutBucketAnalyticsConfiguration"
    DELETE_BUCKET_ANALYTICS = "DeleteBucketAnalyticsConfiguration"
    GET_BUCKET_INTELLIGENT_TIERING = "GetBucketIntelligentTieringConfiguration"
    PUT_BUCKET_INTELLIGENT_TIERING = "PutBucketIntelligentTieringConfiguration"
    DELETE_BUCKET_INTELLIGENT_TIERING = "DeleteBucketIntelligentTieringConfiguration"
    GET_BUCKET_INVENTORY = "GetBucketInventoryConfiguration"
    PUT_BUCKET_INVENTORY = "PutBucketInventoryConfiguration"
    DELETE_BUCKET_INVENTORY = "DeleteBucketInventoryConfiguration"
    GET_BUCKET_LOGGING = "GetBucketLogging"
    PUT_BUCKET_LOGGING = "PutBucketLogging"
    GET_BUCKET_METADATA = "GetBucketMetadataConfiguration"
    CREATE_BUCKET_METADATA = "CreateBucketMetadataConfiguration"
    DELETE_BUCKET_METADATA = "DeleteBucketMetadataConfiguration"
    GET_BUCKET_METADATA_TABLE = "GetBucketMetadataTableConfiguration"
    CREATE_BUCKET_METADATA_TABLE = "CreateBucketMetadataTableConfiguration"
    DELETE_BUCKET_METADATA_TABLE = "DeleteBucketMetadataTableConfiguration"
    UPDATE_BUCKET_METADATA_ANNOTATION_TABLE = "UpdateBucketMetadataAnnotationTableConfiguration"
    UPDATE_BUCKET_METADATA_INVENTORY_TABLE = "UpdateBucketMetadataInventoryTableConfiguration"
    UPDATE_BUCKET_METADATA_JOURNAL_TABLE = "UpdateBucketMetadataJournalTableConfiguration"
    GET_BUCKET_METRICS = "GetBucketMetricsConfiguration"
    PUT_BUCKET_METRICS = "PutBucketMetricsConfiguration"
    DELETE_BUCKET_METRICS = "DeleteBucketMetricsConfiguration"
    GET_BUCKET_NOTIFICATION = "GetBucketNotificationConfiguration"
    PUT_BUCKET_NOTIFICATION = "PutBucketNotificationConfiguration"
    GET_BUCKET_OWNERSHIP_CONTROLS = "GetBucketOwnershipControls"
    PUT_BUCKET_OWNERSHIP_CONTROLS = "PutBucketOwnershipControls"
    DELETE_BUCKET_OWNERSHIP_CONTROLS = "DeleteBucketOwnershipControls"
    GET_BUCKET_REPLICATION = "GetBucketReplication"
    PUT_BUCKET_REPLICATION = "PutBucketReplication"
    DELETE_BUCKET_REPLICATION = "DeleteBucketReplication"
    GET_BUCKET_REQUEST_PAYMENT = "GetBucketRequestPayment"
    PUT_BUCKET_REQUEST_PAYMENT = "PutBucketRequestPayment"
    GET_BUCKET_WEBSITE = "GetBucketWebsite"
    PUT_BUCKET_WEBSITE = "PutBucketWebsite"
    DELETE_BUCKET_WEBSITE = "DeleteBucketWebsite"
    GET_PUBLIC_ACCESS_BLOCK = "GetPublicAccessBlock"
    PUT_PUBLIC_ACCESS_BLOCK = "PutPublicAccessBlock"
    DELETE_PUBLIC_ACCESS_BLOCK = "DeletePublicAccessBlock"
    GET_OBJECT_LOCK_CONFIGURATION = "GetObjectLockConfiguration"
    PUT_OBJECT_LOCK_CONFIGURATION = "PutObjectLockConfiguration"
    GET_BUCKET_ABAC = "GetBucketAbac"
    PUT_BUCKET_ABAC = "PutBucketAbac"
    CREATE_SESSION = "CreateSession"

    # Objects
    GET_OBJECT = "GetObject"
    HEAD_OBJECT = "HeadObject"
    PUT_OBJECT = "PutObject"
    COPY_OBJECT = "CopyObject"
    DELETE_OBJECT = "DeleteObject"
    GET_OBJECT_ACL = "GetObjectAcl"
    PUT_OBJECT_ACL = "PutObjectAcl"
    GET_OBJECT_ATTRIBUTES = "GetObjectAttributes"
    GET_OBJECT_TAGGING = "GetObjectTagging"
    PUT_OBJECT_TAGGING = "PutObjectTagging"
    DELETE_OBJECT_TAGGING = "DeleteObjectTagging"
    CREATE_MULTIPART_UPLOAD = "CreateMultipartUpload"
    UPLOAD_PART = "UploadPart"
    UPLOAD_PART_COPY = "UploadPartCopy"
    COMPLETE_MULTIPART_UPLOAD = "CompleteMultipartUpload"
    ABORT_MULTIPART_UPLOAD = "AbortMultipartUpload"
    LIST_PARTS = "ListParts"
    GET_OBJECT_ANNOTATION = "GetObjectAnnotation"
    """Also ListObjectAnnotations, at the same address."""
    PUT_OBJECT_ANNOTATION = "PutObjectAnnotation"
    DELETE_OBJECT_ANNOTATION = "DeleteObjectAnnotation"
    GET_OBJECT_LEGAL_HOLD = "GetObjectLegalHold"
    PUT_OBJECT_LEGAL_HOLD = "PutObjectLegalHold"
    GET_OBJECT_RETENTION = "GetObjectRetention"
    PUT_OBJECT_RETENTION = "PutObjectRetention"
    GET_OBJECT_TORRENT = "GetObjectTorrent"
    RESTORE_OBJECT = "RestoreObject"
    SELECT_OBJECT_CONTENT = "SelectObjectContent"
    RENAME_OBJECT = "RenameObject"
    UPDATE_OBJECT_ENCRYPTION = "UpdateObjectEncryption"

    @property
    def served(self) -> bool:
        """Whether the gateway carries it out. The others are 501 NotImplemented."""
        return self in SERVED


_O = Operation

SERVED: Final = frozenset(
    {
        _O.LIST_BUCKETS, _O.CREATE_BUCKET, _O.DELETE_BUCKET, _O.HEAD_BUCKET, _O.LIST_OBJECTS, _O.LIST_OBJECTS_V2,
        _O.LIST_OBJECT_VERSIONS, _O.LIST_MULTIPART_UPLOADS, _O.DELETE_OBJECTS, _O.POST_OBJECT, _O.PREFLIGHT,
        _O.GET_BUCKET_ACL, _O.PUT_BUCKET_ACL, _O.GET_BUCKET_LOCATION, _O.GET_BUCKET_VERSIONING,
        _O.PUT_BUCKET_VERSIONING, _O.GET_BUCKET_POLICY, _O.PUT_BUCKET_POLICY, _O.DELETE_BUCKET_POLICY,
        _O.GET_BUCKET_POLICY_STATUS, _O.GET_BUCKET_TAGGING, _O.PUT_BUCKET_TAGGING, _O.DELETE_BUCKET_TAGGING,
        _O.GET_BUCKET_CORS, _O.PUT_BUCKET_CORS, _O.DELETE_BUCKET_CORS, _O.GET_BUCKET_LIFECYCLE,
        _O.PUT_BUCKET_LIFECYCLE, _O.DELETE_BUCKET_LIFECYCLE, _O.GET_BUCKET_ENCRYPTION,
        _O.GET_OBJECT, _O.HEAD_OBJECT, _O.PUT_OBJECT, _O.COPY_OBJECT, _O.DELETE_OBJECT, _O.GET_OBJECT_ACL,
        _O.PUT_OBJECT_ACL, _O.GET_OBJECT_ATTRIBUTES, _O.GET_OBJECT_TAGGING, _O.PUT_OBJECT_TAGGING,
        _O.DELETE_OBJECT_TAGGING, _O.CREATE_MULTIPART_UPLOAD, _O.UPLOAD_PART, _O.UPLOAD_PART_COPY,
        _O.COMPLETE_MULTIPART_UPLOAD, _O.ABORT_MULTIPART_UPLOAD, _O.LIST_PARTS,
    }
)  # fmt: skip
