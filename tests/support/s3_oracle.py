"""botocore as the oracle of S3's documents: it reads what we write, and writes what we read."""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import botocore.session
from botocore.handlers import (
    decode_list_object,
    decode_list_object_v2,
    decode_list_object_versions,
    parse_get_bucket_location,
)
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

_DECODERS = {
    "ListObjects": decode_list_object,
    "ListObjectsV2": decode_list_object_v2,
    "ListObjectVersions": decode_list_object_versions,
}


@lru_cache(maxsize=1)
def _model() -> ServiceModel:
    return botocore.session.get_session().get_service_model("s3")


def read(operation: str, body: bytes, *, status: int = 200) -> dict[str, Any]:
    """What a client of boto3 gets, who did not ask for an encoding himself."""
    shape = _model().operation_model(operation).output_shape
    found: dict[str, Any] = create_parser("rest-xml").parse({"status_code": status, "headers": {}, "body": body}, shape)
    if operation in _DECODERS:
        _DECODERS[operation](found, {"encoding_type_auto_set": True})
    if operation == "GetBucketLocation":
        parse_get_bucket_location(found, SimpleNamespace(content=body, raw=body))
    found.pop("ResponseMetadata", None)
    return found


def written(operation: str, **parameters: Any) -> bytes:
    """The body that a client of boto3 sends."""
    model = _model().operation_model(operation)
    body = create_serializer("rest-xml", include_validation=False).serialize_to_request(parameters, model)["body"]
    return body if isinstance(body, bytes) else str(body).encode()
