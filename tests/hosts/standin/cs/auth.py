"""Who sends a request: SigV4 in headers, SigV2 in headers and in the query, as Riak CS checks them."""

import base64
import datetime as dt
import email.utils
import hashlib
import hmac
import re
import time
from urllib.parse import quote, unquote_plus, unquote_to_bytes

from tests.hosts.standin.cs.answers import Crash, S3Error
from tests.hosts.standin.cs.users import User, Users
from tests.hosts.standin.web.messages import Request

SKEW = 15 * 60
_V4_FIELDS = ("Credential", "SignedHeaders", "Signature")
_V2_NAMES = """
acl delete lifecycle location logging notification partNumber policy requestPayment torrent uploadId uploads versionId
versioning versions website response-content-type response-content-language response-expires response-cache-control
response-content-disposition response-content-encoding
"""
_V2_SUBRESOURCES = set(_V2_NAMES.split())
_NOT_SIGNED_BY_CS = {name for name in _V2_SUBRESOURCES if name.startswith("response-")}


def identify(request: Request, users: Users, bucket_host: str | None, *, admin_port: bool = False) -> User | None:
    """The user, or None for an anonymous request. Raises S3Error, or Crash where Riak CS crashes."""
    header = request.header("authorization") or ""
    query = _query(request)
    if header.startswith("AWS4-HMAC-SHA256 ") and all(f"{name}=" in header for name in _V4_FIELDS):
        if admin_port:
            raise Crash("{badmatch,undefined}")
        return _v4(request, users, header)
    if re.match(r"AWS [^:\s]+:\S+$", header):
        key_id, _, signature = header[4:].partition(":")
        user = _known(users, key_id)
        date = request.header("date") or request.header("x-amz-date")
        if date is None:
            raise Crash("function_clause")
        _check(user, signature, _v2_string(request, query, bucket_host, date), hashlib.sha1)
        _fresh(_timestamp(date), admin_port=admin_port)
        return user
    if {"AWSAccessKeyId", "Signature", "Expires"} <= set(query):
        user = _known(users, query["AWSAccessKeyId"] or "")
        _check(
            user,
            query["Signature"] or "",
            _v2_string(request, query, bucket_host, query["Expires"] or ""),
            hashlib.sha1,
        )
        if int(query["Expires"] or 0) < time.time():
            raise S3Error("AccessDenied")
        return user
    return None


def _query(request: Request) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for pair in request.query.split("&"):
        name, equals, value = pair.partition("=")
        if name:
            found[unquote_plus(name)] = unquote_plus(value) if equals else None
    return found


def _known(users: Users, key_id: str) -> User:
    user = users.get(key_id)
    if user is None:
        raise S3Error("InvalidAccessKeyId")
    return user


def _check(user: User, signature: str, text: str, algorithm: object) -> None:
    digest = hmac.new(user.key_secret.encode(), text.encode("utf-8", "surrogateescape"), hashlib.sha1).digest()
    if not hmac.compare_digest(base64.b64encode(digest).decode(), signature) or user.status != "enabled":
        raise S3Error("AccessDenied")


def _timestamp(text: str) -> float:
    try:
        if re.fullmatch(r"\d{8}T\d{6}Z", text):
            return dt.datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC).timestamp()
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        raise Crash("function_clause") from None


def _fresh(moment: float, *, admin_port: bool = False) -> None:
    if abs(time.time() - moment) > SKEW:
        raise S3Error("AccessDenied" if admin_port else "RequestTimeTooSkewed")


def _v2_string(request: Request, query: dict[str, str | None], bucket_host: str | None, date: str) -> str:
    amz: dict[str, list[str]] = {}
    for name, value in request.headers:
        if name.lower().startswith("x-amz-"):
            amz.setdefault(name.lower(), []).append(value)
    lines = "".join(f"{name}:{','.join(values)}\n" for name, values in sorted(amz.items()))
    resource = (f"/{bucket_host}" if bucket_host else "") + request.path
    signed = sorted((k, v) for k, v in query.items() if k in _V2_SUBRESOURCES - _NOT_SIGNED_BY_CS)
    if signed:
        resource += "?" + "&".join(k if v is None else f"{k}={v}" for k, v in signed)
    md5, kind = request.header("content-md5") or "", request.header("content-type") or ""
    return f"{request.method}\n{md5}\n{kind}\n{date}\n{lines}{resource}".encode("latin-1", "replace").decode(
        "utf-8", "surrogateescape"
    )


def _v4(request: Request, users: Users, header: str) -> User:
    fields = dict(part.strip().partition("=")[::2] for part in header[17:].split(","))
    scope = fields["Credential"].split("/")
    user = _known(users, scope[0])
    date = request.header("x-amz-date")
    payload = request.header("x-amz-content-sha256")
    names = fields.get("SignedHeaders", "").split(";")
    if payload is None:
        raise Crash("{badmatch,false}")
    if date is None:
        raise Crash("{badmatch,false}")
    try:
        unquote_to_bytes(request.path).decode()
    except UnicodeDecodeError:
        raise S3Error("AccessDenied") from None
    parts = [piece for piece in scope if piece]
    if len(parts) != 5:
        raise Crash("{badmatch,scope}")
    headers = "".join(f"{name}:{request.header(name) or ''}\n" for name in names)
    canonical = "\n".join(
        [
            request.method,
            _canonical_path(request.path),
            _canonical_query(request),
            headers,
            fields["SignedHeaders"],
            payload,
        ]
    )
    hashed = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{date}\n{'/'.join(scope[1:])}\n{hashed}"
    key = f"AWS4{user.key_secret}".encode()
    for piece in scope[1:]:
        key = hmac.new(key, piece.encode(), hashlib.sha256).digest()
    good = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(good, fields.get("Signature", "")) or user.status != "enabled":
        raise S3Error("AccessDenied")
    _fresh(_timestamp(date))
    return user


def _canonical_path(path: str) -> str:
    """Decoded and encoded again, so that a raw plus has become a space."""
    return quote(unquote_to_bytes(path.replace("+", " ")), safe="/-_.~")


def _canonical_query(request: Request) -> str:
    """Encoded again with a plus left as it is: why a prefix with %2B fails."""
    pairs = []
    for pair in request.query.split("&"):
        name, _, value = pair.partition("=")
        if name:
            decoded = unquote_to_bytes(value.replace("+", " "))
            pairs.append((quote(unquote_to_bytes(name), safe="-_.~"), quote(decoded, safe="-_.~+")))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))
