"""SigV4 and SigV2 as the recorder signed, with the oddities that single records ask for."""

import base64
import datetime as dt
import email.utils
import hashlib
import hmac
from urllib.parse import quote, unquote, unquote_to_bytes

_NAMES = """
acl delete lifecycle location logging notification partNumber policy requestPayment torrent uploadId uploads versionId
versioning versions website
"""
_SUBRESOURCES = set(_NAMES.split())
Headers = dict[str, str]


def amz_date(moment: dt.datetime) -> str:
    return moment.strftime("%Y%m%dT%H%M%SZ")


def v4(
    method: str,
    path: str,
    query: str,
    headers: Headers,
    key: str,
    secret: str,
    moment: dt.datetime,
    *,
    literal: bool = True,
) -> Headers:
    """`headers` holds Host and x-amz-content-sha256 if wanted; returns what to add."""
    stamp = amz_date(moment)
    scope = f"{stamp[:8]}/us-east-1/s3/aws4_request"
    signed = {k.lower(): v if literal else " ".join(v.split()) for k, v in headers.items() if _is_signed(k)}
    signed["x-amz-date"] = stamp
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    pairs = sorted(
        (quote(unquote(n), safe="-_.~"), quote(unquote_to_bytes(v), safe="-_.~"))
        for n, _, v in (pair.partition("=") for pair in query.split("&") if pair)
    )
    canonical_query = "&".join(f"{n}={v}" for n, v in pairs)
    canonical_path = quote(unquote_to_bytes(path), safe="/-_.~")
    payload = headers.get("x-amz-content-sha256", hashlib.sha256().hexdigest())
    text = f"{method}\n{canonical_path}\n{canonical_query}\n{lines}\n{names}\n{payload}"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(text.encode('latin-1')).hexdigest()}"
    derived = f"AWS4{secret}".encode()
    for piece in scope.split("/"):
        derived = hmac.new(derived, piece.encode(), hashlib.sha256).digest()
    signature = hmac.new(derived, to_sign.encode(), hashlib.sha256).hexdigest()
    value = f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {"x-amz-date": stamp, "Authorization": value}


def _is_signed(name: str) -> bool:
    lower = name.lower()
    return lower in ("host", "content-type", "content-md5") or (lower.startswith("x-amz-") and lower != "x-amz-date")


def v2_signature(method: str, path: str, query: str, headers: Headers, secret: str, date: str) -> str:
    low = {k.lower(): v for k, v in headers.items()}
    amz = "".join(f"{k}:{v}\n" for k, v in sorted(low.items()) if k.startswith("x-amz-"))
    pairs = sorted(pair.partition("=") for pair in query.split("&") if pair.partition("=")[0] in _SUBRESOURCES)
    resource = path + ("?" + "&".join(n + (f"={unquote(v)}" if e else "") for n, e, v in pairs) if pairs else "")
    text = f"{method}\n{low.get('content-md5', '')}\n{low.get('content-type', '')}\n{date}\n{amz}{resource}"
    return base64.b64encode(hmac.new(secret.encode(), text.encode("latin-1"), hashlib.sha1).digest()).decode()


def v2(method: str, path: str, query: str, headers: Headers, key: str, secret: str, moment: dt.datetime) -> Headers:
    date = email.utils.format_datetime(moment, usegmt=True)
    return {"Date": date, "Authorization": f"AWS {key}:{v2_signature(method, path, query, headers, secret, date)}"}
