"""Which operation of S3 a request asks for: a closed table of level, sub-resource and method.

A sub-resource is a query parameter that turns a request into another operation (`?acl`, `?uploads`). Invariant: a
request with a sub-resource is never taken for the plain operation on the bucket or object. What the table does not
name, and what it names as not served, is refused here: 501, 405 or 400.

Source: AWS, Amazon S3 API Reference (operations and their request syntax).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.operation import Level, Operation
from controlplane.s3.uri import Query

_O = Operation

_BUCKET: Final[dict[str, dict[str, Operation]]] = {
    "": {
        "GET": _O.LIST_OBJECTS,
        "HEAD": _O.HEAD_BUCKET,
        "PUT": _O.CREATE_BUCKET,
        "DELETE": _O.DELETE_BUCKET,
        "POST": _O.POST_OBJECT,
    },
    "accelerate": {"GET": _O.GET_BUCKET_ACCELERATE, "PUT": _O.PUT_BUCKET_ACCELERATE},
    "abac": {"GET": _O.GET_BUCKET_ABAC, "PUT": _O.PUT_BUCKET_ABAC},
    "acl": {"GET": _O.GET_BUCKET_ACL, "PUT": _O.PUT_BUCKET_ACL},
    "analytics": {
        "GET": _O.GET_BUCKET_ANALYTICS,
        "PUT": _O.PUT_BUCKET_ANALYTICS,
        "DELETE": _O.DELETE_BUCKET_ANALYTICS,
    },
    "cors": {"GET": _O.GET_BUCKET_CORS, "PUT": _O.PUT_BUCKET_CORS, "DELETE": _O.DELETE_BUCKET_CORS},
    "delete": {"POST": _O.DELETE_OBJECTS},
    "encryption": {
        "GET": _O.GET_BUCKET_ENCRYPTION,
        "PUT": _O.PUT_BUCKET_ENCRYPTION,
        "DELETE": _O.DELETE_BUCKET_ENCRYPTION,
    },
    "intelligent-tiering": {
        "GET": _O.GET_BUCKET_INTELLIGENT_TIERING,
        "PUT": _O.PUT_BUCKET_INTELLIGENT_TIERING,
        "DELETE": _O.DELETE_BUCKET_INTELLIGENT_TIERING,
    },
    "inventory": {
        "GET": _O.GET_BUCKET_INVENTORY,
        "PUT": _O.PUT_BUCKET_INVENTORY,
        "DELETE": _O.DELETE_BUCKET_INVENTORY,
    },
    "lifecycle": {
        "GET": _O.GET_BUCKET_LIFECYCLE,
        "PUT": _O.PUT_BUCKET_LIFECYCLE,
        "DELETE": _O.DELETE_BUCKET_LIFECYCLE,
    },
    "location": {"GET": _O.GET_BUCKET_LOCATION},
    "logging": {"GET": _O.GET_BUCKET_LOGGING, "PUT": _O.PUT_BUCKET_LOGGING},
    "metadataAnnotationTable": {"PUT": _O.UPDATE_BUCKET_METADATA_ANNOTATION_TABLE},
    "metadataConfiguration": {
        "GET": _O.GET_BUCKET_METADATA,
        "POST": _O.CREATE_BUCKET_METADATA,
        "DELETE": _O.DELETE_BUCKET_METADATA,
    },
    "metadataInventoryTable": {"PUT": _O.UPDATE_BUCKET_METADATA_INVENTORY_TABLE},
    "metadataJournalTable": {"PUT": _O.UPDATE_BUCKET_METADATA_JOURNAL_TABLE},
    "metadataTable": {
        "GET": _O.GET_BUCKET_METADATA_TABLE,
        "POST": _O.CREATE_BUCKET_METADATA_TABLE,
        "DELETE": _O.DELETE_BUCKET_METADATA_TABLE,
    },
    "metrics": {"GET": _O.GET_BUCKET_METRICS, "PUT": _O.PUT_BUCKET_METRICS, "DELETE": _O.DELETE_BUCKET_METRICS},
    "notification": {"GET": _O.GET_BUCKET_NOTIFICATION, "PUT": _O.PUT_BUCKET_NOTIFICATION},
    "object-lock": {"GET": _O.GET_OBJECT_LOCK_CONFIGURATION, "PUT": _O.PUT_OBJECT_LOCK_CONFIGURATION},
    "ownershipControls": {
        "GET": _O.GET_BUCKET_OWNERSHIP_CONTROLS,
        "PUT": _O.PUT_BUCKET_OWNERSHIP_CONTROLS,
        "DELETE": _O.DELETE_BUCKET_OWNERSHIP_CONTROLS,
    },
    "policy": {"GET": _O.GET_BUCKET_POLICY, "PUT": _O.PUT_BUCKET_POLICY, "DELETE": _O.DELETE_BUCKET_POLICY},
    "policyStatus": {"GET": _O.GET_BUCKET_POLICY_STATUS},
    "publicAccessBlock": {
        "GET": _O.GET_PUBLIC_ACCESS_BLOCK,
        "PUT": _O.PUT_PUBLIC_ACCESS_BLOCK,
        "DELETE": _O.DELETE_PUBLIC_ACCESS_BLOCK,
    },
    "replication": {
        "GET": _O.GET_BUCKET_REPLICATION,
        "PUT": _O.PUT_BUCKET_REPLICATION,
        "DELETE": _O.DELETE_BUCKET_REPLICATION,
    },
    "requestPayment": {"GET": _O.GET_BUCKET_REQUEST_PAYMENT, "PUT": _O.PUT_BUCKET_REQUEST_PAYMENT},
    "session": {"GET": _O.CREATE_SESSION},
    "tagging": {"GET": _O.GET_BUCKET_TAGGING, "PUT": _O.PUT_BUCKET_TAGGING, "DELETE": _O.DELETE_BUCKET_TAGGING},
    "uploads": {"GET": _O.LIST_MULTIPART_UPLOADS},
    "versioning": {"GET": _O.GET_BUCKET_VERSIONING, "PUT": _O.PUT_BUCKET_VERSIONING},
    "versions": {"GET": _O.LIST_OBJECT_VERSIONS},
    "website": {"GET": _O.GET_BUCKET_WEBSITE, "PUT": _O.PUT_BUCKET_WEBSITE, "DELETE": _O.DELETE_BUCKET_WEBSITE},
}

_OBJECT: Final[dict[str, dict[str, Operation]]] = {
    "": {"GET": _O.GET_OBJECT, "HEAD": _O.HEAD_OBJECT, "PUT": _O.PUT_OBJECT, "DELETE": _O.DELETE_OBJECT},
    "acl": {"GET": _O.GET_OBJECT_ACL, "PUT": _O.PUT_OBJECT_ACL},
    "annotation": {
        "GET": _O.GET_OBJECT_ANNOTATION,
        "PUT": _O.PUT_OBJECT_ANNOTATION,
        "DELETE": _O.DELETE_OBJECT_ANNOTATION,
    },
    "attributes": {"GET": _O.GET_OBJECT_ATTRIBUTES},
    "encryption": {"PUT": _O.UPDATE_OBJECT_ENCRYPTION},
    "legal-hold": {"GET": _O.GET_OBJECT_LEGAL_HOLD, "PUT": _O.PUT_OBJECT_LEGAL_HOLD},
    "renameObject": {"PUT": _O.RENAME_OBJECT},
    "restore": {"POST": _O.RESTORE_OBJECT},
    "retention": {"GET": _O.GET_OBJECT_RETENTION, "PUT": _O.PUT_OBJECT_RETENTION},
    "select": {"POST": _O.SELECT_OBJECT_CONTENT},
    "tagging": {"GET": _O.GET_OBJECT_TAGGING, "PUT": _O.PUT_OBJECT_TAGGING, "DELETE": _O.DELETE_OBJECT_TAGGING},
    "torrent": {"GET": _O.GET_OBJECT_TORRENT},
    "uploadId": {
        "GET": _O.LIST_PARTS,
        "PUT": _O.UPLOAD_PART,
        "POST": _O.COMPLETE_MULTIPART_UPLOAD,
        "DELETE": _O.ABORT_MULTIPART_UPLOAD,
    },
    "uploads": {"POST": _O.CREATE_MULTIPART_UPLOAD},
}

TABLE: Final[dict[Level, dict[str, dict[str, Operation]]]] = {
    Level.SERVICE: {"": {"GET": _O.LIST_BUCKETS}},
    Level.BUCKET: _BUCKET,
    Level.OBJECT: _OBJECT,
}
"""Level, sub-resource ("" is none), method."""

_SIGNATURE_PARAMETERS: Final = frozenset(
    {
        "AWSAccessKeyId", "Expires", "Signature", "X-Amz-Algorithm", "X-Amz-Content-Sha256", "X-Amz-Credential",
        "X-Amz-Date", "X-Amz-Expires", "X-Amz-Security-Token", "X-Amz-Signature", "X-Amz-SignedHeaders",
        "x-amz-security-token",
        # botocore presigns by SigV2 with copies of the headers that the client will send.
        "content-md5", "content-type",
    }
)  # fmt: skip
_LIST_PARAMETERS: Final = frozenset({"delimiter", "encoding-type", "marker", "max-keys", "prefix"})

PARAMETERS: Final[dict[Operation, frozenset[str]]] = {
    _O.LIST_BUCKETS: frozenset({"bucket-region", "continuation-token", "max-buckets", "prefix"}),
    _O.LIST_OBJECTS: _LIST_PARAMETERS | {"list-type"},
    _O.LIST_OBJECTS_V2: (_LIST_PARAMETERS - {"marker"})
    | {"list-type", "continuation-token", "fetch-owner", "start-after"},
    _O.LIST_OBJECT_VERSIONS: (_LIST_PARAMETERS - {"marker"}) | {"key-marker", "version-id-marker"},
    _O.LIST_MULTIPART_UPLOADS: frozenset(
        {"delimiter", "encoding-type", "key-marker", "max-uploads", "prefix", "upload-id-marker"}
    ),
    _O.LIST_PARTS: frozenset({"encoding-type", "max-parts", "part-number-marker"}),
    _O.GET_OBJECT: frozenset({"partNumber", "versionId"}),
    _O.HEAD_OBJECT: frozenset({"partNumber", "versionId"}),
    _O.GET_OBJECT_ATTRIBUTES: frozenset({"versionId", "max-parts", "part-number-marker"}),
    _O.DELETE_OBJECT: frozenset({"versionId"}),
    _O.GET_OBJECT_ACL: frozenset({"versionId"}),
    _O.PUT_OBJECT_ACL: frozenset({"versionId"}),
    _O.GET_OBJECT_TAGGING: frozenset({"versionId"}),
    _O.PUT_OBJECT_TAGGING: frozenset({"versionId"}),
    _O.DELETE_OBJECT_TAGGING: frozenset({"versionId"}),
    _O.UPLOAD_PART: frozenset({"partNumber"}),
    _O.UPLOAD_PART_COPY: frozenset({"partNumber"}),
}
"""The query parameters of an operation beside its sub-resource, those of signatures, `response-*` and `x-*`."""

_READS_OBJECT: Final = frozenset({_O.GET_OBJECT, _O.HEAD_OBJECT})
_ALL_PARAMETERS: Final = frozenset().union(*PARAMETERS.values())
_RESPONSE_PARAMETERS: Final = frozenset(
    {
        "response-cache-control", "response-content-disposition", "response-content-encoding",
        "response-content-language", "response-content-type", "response-expires",
    }
)  # fmt: skip


def operation_of(method: str, level: Level, query: Query, *, copies: bool) -> Operation:
    """The operation, always a served one. `copies`: the request has x-amz-copy-source. `query` is decoded.

    Raises S3Fault: NotImplemented for an operation that is not served and for sub-resources that nobody knows,
    MethodNotAllowed for a known sub-resource without this method, InvalidArgument for two sub-resources at once and
    for parameters that do not belong to the operation. Only reads of an object ignore unknown parameters that have a
    value, as S3 does: pages address their assets so (`?v=3`).
    """
    if method == "OPTIONS":
        return Operation.PREFLIGHT
    if not query:
        found = TABLE[level][""].get(method)
        if found is not None and not (copies and found is _O.PUT_OBJECT):
            return found
    names = {name for name, _ in query}
    subresource = _subresource(level, names)
    operation = _look_up(method, level, subresource)
    if operation is _O.LIST_OBJECTS and "list-type" in names:
        operation = _list_version(query)
    elif subresource == "uploadId" and not all(value for name, value in query if name == "uploadId"):
        # Riak CS takes an empty one for none: a DELETE would be about the object.
        raise S3Fault(Code.NO_SUCH_UPLOAD, extra=(("UploadId", ""),))
    elif operation is _O.UPLOAD_PART and "partNumber" not in names:
        raise S3Fault(
            Code.INVALID_ARGUMENT,
            "A part is put with both uploadId and partNumber.",
            extra=(("ArgumentName", "partNumber"), ("ArgumentValue", "")),
        )
    if copies and operation in (_O.PUT_OBJECT, _O.UPLOAD_PART):
        operation = _O.COPY_OBJECT if operation is _O.PUT_OBJECT else _O.UPLOAD_PART_COPY
    if not operation.served:
        raise S3Fault(
            Code.NOT_IMPLEMENTED,
            f"{operation.value} is not served by this store.",
            extra=(("ResourceType", subresource),),
        )
    _check_parameters(operation, subresource, query)
    return operation


def _subresource(level: Level, names: Collection[str]) -> str:
    table = TABLE[level]
    found = sorted(name for name in names if name in table)
    if len(found) > 1:
        raise S3Fault(
            Code.INVALID_ARGUMENT,
            f"The query names several sub-resources: {', '.join(found)}; one request can ask for one.",
            extra=(("ArgumentName", "ResourceType"), ("ArgumentValue", found[0])),
        )
    return found[0] if found else ""


def _look_up(method: str, level: Level, subresource: str) -> Operation:
    methods = TABLE[level][subresource]
    found = methods.get(method)
    if found is None:
        allow = ", ".join(sorted(methods))
        raise S3Fault(
            Code.METHOD_NOT_ALLOWED,
            extra=(("Method", method), ("ResourceType", (subresource or level.value).upper())),
            headers=((b"allow", allow.encode()),),
        )
    return found


def _list_version(query: Query) -> Operation:
    versions = {value for name, value in query if name == "list-type"}
    if versions == {"2"}:
        return _O.LIST_OBJECTS_V2
    if versions <= {"1", ""}:
        return _O.LIST_OBJECTS
    raise S3Fault(
        Code.INVALID_ARGUMENT,
        "list-type is 1 or 2.",
        extra=(("ArgumentName", "list-type"), ("ArgumentValue", max(versions))),
    )


def _check_parameters(operation: Operation, subresource: str, query: Query) -> None:
    known = PARAMETERS.get(operation, frozenset())
    for name, value in query:
        if name == "versionId" and name in known and not value:
            raise S3Fault(
                Code.INVALID_ARGUMENT,
                "A version id cannot be empty.",
                extra=(("ArgumentName", name), ("ArgumentValue", value)),
            )
        if name in known or name == subresource or name in _SIGNATURE_PARAMETERS or name in _RESPONSE_PARAMETERS:
            continue
        if name[:2] in ("x-", "X-"):
            # S3 keeps these for the client's own use and its logs (x-id is one that SDKs send).
            continue
        if operation in _READS_OBJECT and value and name not in _ALL_PARAMETERS and name not in _BUCKET:
            continue
        if value or name in _ALL_PARAMETERS:
            raise S3Fault(
                Code.INVALID_ARGUMENT,
                f"The query parameter {name[:100]!r} does not belong to {operation.value}.",
                extra=(("ArgumentName", name), ("ArgumentValue", value)),
            )
        raise S3Fault(
            Code.NOT_IMPLEMENTED,
            f"The sub-resource {name[:100]!r} is not served by this store.",
            extra=(("ResourceType", name),),
        )
