"""Every operation that is served, asked for by whole botocore clients: signature, address and operation are found."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from controlplane.s3.addressing import decode_query, locate
from controlplane.s3.authentication import read_claim, verify
from controlplane.s3.claim import PayloadKind
from controlplane.s3.operation import SERVED, Operation
from controlplane.s3.operation_table import operation_of
from tests.unit.s3.signed_requests import ACCESS, SECRET

ROOT = "s3.store.test"
KEYS = ["k", "a b+c/ä//../%2F~*'()!@$,;:=&?#.txt", "/k", "k/"]
VALUES = {"Bucket": "a-bucket", "Key": "k", "CopySource": {"Bucket": "a-bucket", "Key": "s+1/ä"}, "UploadId": "u+/=="}
ALWAYS_BY_PATH = {Operation.LIST_BUCKETS, Operation.GET_BUCKET_LOCATION}
NOT_BOTOCORES = {Operation.POST_OBJECT, Operation.PREFLIGHT}


class _Raw:
    def stream(self, *_: Any, **__: Any) -> Any:
        yield b""

    def read(self, *_: Any) -> bytes:
        return b""


def sample(shape: Any, name: str) -> Any:
    """A value that botocore's validation takes."""
    if name in VALUES:
        return VALUES[name]
    match shape.type_name:
        case "structure":
            return {member: sample(shape.members[member], member) for member in shape.required_members}
        case "list":
            return [sample(shape.member, "")]
        case "string":
            return shape.enum[0] if shape.enum else "x"
        case "integer" | "long":
            return 1
        case "boolean":
            return True
        case "blob":
            return b"data"
        case other:
            raise AssertionError(other)


_CLIENTS: dict[tuple[str, str, str], Any] = {}


def client(version: str, style: str, scheme: str) -> Any:
    if (version, style, scheme) not in _CLIENTS:
        _CLIENTS[version, style, scheme] = botocore.session.get_session().create_client(
            "s3", aws_access_key_id=ACCESS, aws_secret_access_key=SECRET, region_name="us-east-1",
            endpoint_url=f"{scheme}://{ROOT}", config=Config(signature_version=version, s3={"addressing_style": style}),
        )  # fmt: skip
    return _CLIENTS[version, style, scheme]


def sent(version: str, style: str, scheme: str, operation: str, parameters: dict[str, Any]) -> Any:
    """The request that a client sends."""
    found: list[Any] = []

    def take(request: Any, **_: Any) -> AWSResponse:
        found.append(request)
        return AWSResponse(request.url, 200, {}, _Raw())

    one = client(version, style, scheme)
    one.meta.events.register("before-send.s3", take, unique_id="take")
    try:
        one._make_api_call(operation, parameters)
    except Exception:
        assert found, "nothing was sent"  # the empty answer is no document
    finally:
        one.meta.events.unregister("before-send.s3", unique_id="take")
    return found[0]


@pytest.mark.parametrize(
    ("version", "style", "scheme"),
    [("s3v4", "path", "http"), ("s3v4", "virtual", "https"), ("s3", "path", "https"), ("s3", "virtual", "http")],
    ids=["v4-path-http", "v4-virtual-https", "v2-path-https", "v2-virtual-http"],
)
@pytest.mark.parametrize("operation", sorted(SERVED - NOT_BOTOCORES, key=lambda o: o.value), ids=lambda o: o.value)
def test_a_client_asks_for_it(version: str, style: str, scheme: str, operation: Operation) -> None:
    model = botocore_model().operation_model(operation.value)
    shape = model.input_shape
    for key in KEYS if shape is not None and "Key" in shape.members else KEYS[:1]:
        parameters = {} if shape is None else sample(shape, "")
        if "Key" in parameters:
            parameters["Key"] = key
        if operation in (Operation.PUT_OBJECT, Operation.UPLOAD_PART):
            parameters["Body"] = b"data"
        request = sent(version, style, scheme, operation.value, parameters)
        url = urlsplit(request.url)
        fields = [(b"host", url.netloc.encode())]
        fields += [
            (name.lower().encode(), value if isinstance(value, bytes) else str(value).encode())
            for name, value in request.headers.items()
            if name.lower() != "host"  # awscrt's signer adds it, botocore's does not
        ]
        address = locate(url.netloc, url.path or "/", [ROOT])
        claim = read_claim(
            request.method,
            url.path or "/",
            url.query,
            fields,
            time.time(),
            bucket_in_host=address.bucket if address.in_host else "",
        )
        assert claim is not None
        payload = verify(claim, SECRET).payload
        copies = any(name == b"x-amz-copy-source" for name, _ in fields)
        assert operation_of(request.method, address.level, decode_query(url.query), copies=copies) is operation
        assert address.in_host == (style == "virtual" and operation not in ALWAYS_BY_PATH)
        assert (address.bucket, address.key) == (parameters.get("Bucket", ""), parameters.get("Key", ""))
        if parameters.get("Body") and scheme == "https" and version == "s3v4":
            assert payload.kind is PayloadKind.UNSIGNED_CHUNKS_TRAILER


def botocore_model() -> Any:
    return botocore.session.get_session().get_service_model("s3")
