"""The error document of S3: `<Error><Code>...</Code><Message>...</Message>...</Error>`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.xml import Element, MalformedXml, escape, parse_xml


@dataclass(frozen=True, slots=True)
class ErrorDocument:
    code: str
    message: str = ""
    resource: str = ""
    request_id: str = ""

    def render(self) -> bytes:
        """In the order of elements that Riak CS uses."""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f"<Error><Code>{escape(self.code)}</Code><Message>{escape(self.message)}</Message>"
            f"<RequestId>{escape(self.request_id)}</RequestId><Resource>{escape(self.resource)}</Resource></Error>"
        ).encode()


NO_KEY: Final = "NoKeyId"
"""AWSAccessKeyId of a request whose caller is not known."""

_ABOUT_KEYS: Final = frozenset({Code.NO_SUCH_KEY, Code.NO_SUCH_VERSION, Code.NO_SUCH_UPLOAD})
_ABOUT_BUCKETS: Final = (
    frozenset(
        {Code.NO_SUCH_BUCKET, Code.BUCKET_ALREADY_EXISTS, Code.BUCKET_ALREADY_OWNED_BY_YOU, Code.BUCKET_NOT_EMPTY}
        | {code for code in Code if code.name.startswith("NO_SUCH_") and code.status == 404}
    )
    - _ABOUT_KEYS
)


def _printable(text: str) -> str:
    """Characters that XML does not have replaced: an error must stay readable, whatever key it is about."""
    return "".join(char if char.isprintable() or char in "\t\n" else "?" for char in text[:4096])


def render_fault(
    fault: S3Fault, resource: str, request_id: str, access_key: str = NO_KEY, *, bucket: str = "", key: str = ""
) -> bytes:
    """The document of a refusal: Code, Message, what belongs to the code, RequestId, Resource, AWSAccessKeyId, in the
    order of Riak CS. `resource` is the path as the client sent it; bucket and key are told where S3 tells them."""
    told = fault.extra
    if fault.code in _ABOUT_KEYS and key:
        told = (*told, ("Key", key))
    elif fault.code in _ABOUT_BUCKETS and bucket:
        told = (*told, ("BucketName", bucket))
    fields = (
        ("Code", fault.code.text), ("Message", fault.message), *told, ("RequestId", request_id),
        ("Resource", resource), ("AWSAccessKeyId", access_key),
    )  # fmt: skip
    inner = "".join(f"<{name}>{escape(_printable(text))}</{name}>" for name, text in fields)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode(errors="replace")


def error_of(root: Element) -> ErrorDocument | None:
    """The error that an already parsed document is; None when it is another document."""
    code = root.text_of("Code")
    if root.name != "Error" or not code:
        return None
    return ErrorDocument(
        code.strip(), root.text_of("Message") or "", root.text_of("Resource") or "", root.text_of("RequestId") or ""
    )


def parse_error(document: bytes) -> ErrorDocument | None:
    """The S3 error in a body; None when the body is none (a proxy's page, nothing, garbage): not an answer of S3."""
    try:
        return error_of(parse_xml(document))
    except MalformedXml:
        return None
