"""S3's answers in Riak CS's wording."""

import datetime as dt
import uuid
from xml.sax.saxutils import escape

from tests.hosts.standin.web.messages import Response, crash

XML = {"Content-Type": "application/xml"}
HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
HOST_ID = "cmlha19jcy1pcy1ub3QtYW1hem9uYXdzLmNvbQ=="
_ALLOWED = "host,origin,authorization,x-amz-content-sha256,x-amz-date,content-type,content-md5,accept,accept-encoding"
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST,PUT,GET,OPTIONS,DELETE",
    "Access-Control-Allow-Headers": _ALLOWED,
    "Access-Control-Allow-Credentials": "true",
}
_BUSY = "Please reduce your request rate."
_SMALL = (
    "Your proposed upload is smaller than the minimum allowed object size. "
    "Each part must be at least 5 MB in size, except the last part."
)
_UPLOAD = (
    "The specified upload does not exist. "
    "The upload ID may be invalid, or the upload may have been aborted or completed."
)
_XML = "The XML you provided was not well-formed or did not validate against our published schema"
_TAKEN = (
    "The requested bucket name is not available. The bucket namespace is shared by all users of the system. "
    "Please select a different name and try again."
)
_EMAIL = (
    "The specified email address has already been registered. Email addresses must be unique among all users of the "
    "system. Please try again with a different email address."
)
ERRORS = {
    "AccessDenied": (403, "Access Denied"),
    "BadRequest": (400, "Bad Request"),
    "BucketAlreadyExists": (409, _TAKEN),
    "BucketNotEmpty": (409, "The bucket you tried to delete is not empty."),
    "DeleteConflict": (409, "User has buckets and cannot be deleted."),
    "EntityTooLarge": (400, "Your proposed upload exceeds the maximum allowed object size."),
    "EntityTooSmall": (400, _SMALL),
    "InvalidAccessKeyId": (403, "The AWS Access Key Id you provided does not exist in our records."),
    "InvalidAction": (400, "This Action is invalid or not yet supported"),
    "InvalidArgument": (400, "Invalid Argument"),
    "InvalidBucketName": (400, "The specified bucket is not valid."),
    "InvalidDigest": (400, "The Content-MD5 you specified was invalid."),
    "InvalidPart": (400, _BUSY),
    "InvalidPartOrder": (400, _BUSY),
    "InvalidRange": (416, "The requested range is not satisfiable"),
    "InvalidUserUpdate": (400, "The user update you requested was invalid."),
    "KeyTooLongError": (400, "Your key is too long"),
    "MalformedACLError": (400, _BUSY),
    "MalformedPolicy": (400, "JSON parsing error"),
    "MalformedXML": (400, _XML),
    "MissingParameter": (400, "Missing parameter"),
    "NoSuchBucket": (404, "The specified bucket does not exist."),
    "NoSuchBucketPolicy": (404, "The specified bucket does not have a bucket policy."),
    "NoSuchEntity": (404, "The request was rejected because it referenced an entity that does not exist."),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchUpload": (404, _UPLOAD),
    "NotImplemented": (501, "A request you provided implies functionality that is not implemented"),
    "RequestTimeTooSkewed": (403, "The difference between the request time and the current time is too large."),
    "ServiceUnavailable": (503, _BUSY),
    "TooManyBuckets": (400, "You have attempted to create more buckets than allowed"),
    "UnresolvableGrantByCanonicalId": (400, "The Canonical Id you provided does not match any account on record."),
    "UnresolvableGrantByEmailAddress": (400, "The e-mail address you provided does not match any account on record."),
    "UserAlreadyExists": (409, _EMAIL),
}


class S3Error(Exception):
    """Refused with a code of ERRORS; `extra` are elements behind the message."""

    def __init__(
        self,
        code: str,
        *,
        message: str | None = None,
        status: int | None = None,
        extra: str = "",
        resource: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.code, self.extra, self.resource, self.headers = code, extra, resource, headers or {}
        known = ERRORS[code]
        self.status, self.message = status or known[0], message or known[1]

    def response(self, resource: str, key_id: str | None) -> Response:
        resource = self.resource or resource
        content = (
            f"{HEAD}<Error><Code>{self.code}</Code><Message>{escape(self.message)}</Message>{self.extra}"
            f"<RequestId>{uuid.uuid4()}</RequestId><Resource>{escape(resource)}</Resource>"
            f"<AWSAccessKeyId>{key_id or 'NoKeyId'}</AWSAccessKeyId><HostId>{HOST_ID}</HostId></Error>"
        )
        return Response(self.status, XML | self.headers, content.encode("utf-8", "surrogateescape"))


class Crash(Exception):
    """Riak CS's own crash: a 500 page with an Erlang term."""

    def response(self) -> Response:
        return crash(f"{{error,{self.args[0]}}}")


def xml(content: str, **headers: str) -> Response:
    return Response(200, XML | headers, (HEAD + content).encode("utf-8", "surrogateescape"))


def compact_date(milliseconds: int) -> str:
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC).strftime("%Y%m%dT%H%M%SZ")


def iso_date(milliseconds: int) -> str:
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def text_of(raw: bytes) -> str:
    """Bytes of a key for XML; what is no UTF-8 goes through as it is."""
    return escape(raw.decode("utf-8", "surrogateescape"))
