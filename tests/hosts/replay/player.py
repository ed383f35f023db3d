"""Sends recorded requests to a stand-in and compares the answers by structure.

Identifiers differ from run to run: the player learns which live one stands for which recorded one (keys, upload ids,
vector clocks, ETags of KV) from answers at the same place, and uses them in later requests.
"""

import base64
import datetime as dt
import email.utils
import gzip
import hashlib
import http.client
import json
import re
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.hosts.replay import signing

Record = dict[str, Any]
_VARIABLE = re.compile(
    r"\b\d{8}T\d{6}Z\b|\b[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} [\d:]{8} GMT|\b\d{13}\b|arn:aws:iam::\d{12}"
    r"|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|boundary=[^;\s]+|\"create_date\": \d+"
)
_IDENTIFIER = re.compile(r"(?<![A-Za-z0-9_+/=-])(?=[A-Za-z_+/=-]*\d)(?![0-9a-f]{32}(?:-\d+)?\b)[A-Za-z0-9_+/=-]{16,}")
_VERSION = re.compile(r"(?<=<VersionId>)[0-9a-f]{32}")
_NAMED = re.compile(
    r"(?<=<UploadId>)[^<]+|(?<=<KeyId>)[^<]+|(?<=<KeySecret>)[^<]+"
    r'|(?<="context":")[^"]+|(?<="continuation":")[^"]+|(?<="key_id": ")[^"]+|(?<="key_secret": ")[^"]+'
)
_FREE_HEADERS = {"date", "last-modified", "content-length", "expires", "connection", "location", "x-riak-vclock"}


def recordings(name: str) -> list[Record]:
    """The recording of a real Riak CS by the name of its file. They lie here: a clone needs nothing beside it."""
    with gzip.open(Path(__file__).with_name("recordings") / f"{name}.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


@dataclass
class Answer:
    status: int | None
    reason: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Player:
    """`places` maps a recorded address to host:port; `people` maps `as` to (key, secret)."""

    places: dict[str, str]
    people: dict[str, tuple[str, str]]
    known: dict[str, str] = field(default_factory=dict)

    def translate(self, text: str) -> str:
        for recorded, live in self.known.items():
            text = text.replace(recorded, live)
        return text

    def translate_bytes(self, body: bytes) -> bytes:
        return self.translate(body.decode("latin-1")).encode("latin-1") if len(body) < 100_000 else body

    def learn(self, recorded: str, live: str) -> None:
        """Pairs identifiers at the same place of two texts of the same shape: by name, so that no random value can
        look like a plain word, and otherwise by their looks."""
        self.known.update(_pairs(_NAMED, recorded, live))
        recorded, live = (_VARIABLE.sub("~", _NAMED.sub("~", text)) for text in (recorded, live))
        mine, theirs = _IDENTIFIER.findall(live), _IDENTIFIER.findall(recorded)
        if len(mine) == len(theirs) and _IDENTIFIER.sub("#", live) == _IDENTIFIER.sub("#", recorded):
            self.known.update({a: b for a, b in zip(theirs, mine, strict=True) if a != b})

    def play(self, record: Record) -> Answer:
        request = record["request"]
        dropped = ("authorization", "date")
        headers = {k: self.translate(_wire(v)) for k, v in request["headers"].items() if k.lower() not in dropped}
        _shift_dates(record, headers)
        path, query = self.translate(request["path"]), self.translate(request["query"])
        recorded_body = body_of(request)
        body = self.translate_bytes(recorded_body)
        if headers.get("Content-Length") == str(len(recorded_body)):
            headers["Content-Length"] = str(len(body))
        place = self.places[request["to"]]
        now = dt.datetime.now(dt.UTC) + offset(record)
        self._fresh(record, place, headers)
        host = next(k for k in headers if k.lower() == "host")
        if headers[host] == request["to"]:
            headers[host] = place
        auth = request["auth"]
        if "query" in auth:
            query = presigned(record, path, query, headers, self.people["alice"])
        elif request["as"] in self.people and "header" in auth:
            key, secret = self._credentials(record)
            if record["name"] in V2_DATES:
                headers |= V2_DATES[record["name"]](request["method"], path, query, headers, key, secret, now)
                return send(place, request["method"], path + (f"?{query}" if query else ""), headers, body)
            sign = signing.v4 if auth.startswith("SigV4") else signing.v2
            headers.pop("x-amz-date", None)
            if sign is signing.v4:
                headers |= sign_v4(record["name"], request["method"], path, query, headers, key, secret, now)
            else:
                bucket = headers[host].removesuffix(".s3.amazonaws.com")
                signed = path if bucket == headers[host] else f"/{bucket}{path}"
                headers |= sign(request["method"], signed, query, headers, key, secret, now)
        return send(place, request["method"], path + (f"?{query}" if query else ""), headers, body)

    def _fresh(self, record: Record, place: str, headers: dict[str, str]) -> None:
        """Clocks and ETags that stand in no recorded answer are read from the object itself."""
        for name, source in (("X-Riak-Vclock", "x-riak-vclock"), ("If-None-Match", "etag")):
            value = headers.get(name, "")
            if len(value) > 16 and value == record["request"]["headers"][name] and ":8098" in record["request"]["to"]:
                headers[name] = send(place, "HEAD", record["request"]["path"], {"Host": place}, b"").headers.get(
                    source, ""
                )

    def _credentials(self, record: Record) -> tuple[str, str]:
        key, secret = self.people[record["request"]["as"]]
        if "unknown-key" in record["name"]:
            key = "NOSUCHKEY00000000000"
        if "wrong-secret" in record["name"]:
            secret += "x"
        if record["name"] == "user-old-secret-s3":
            secret = self.people["old"][1]
        return key, secret

    def same(self, record: Record, answer: Answer) -> str | None:
        """What differs, or None."""
        recorded = record["response"]
        self._learn_all(recorded, answer)
        if recorded["status"] is None and answer.status is None:
            return None
        if recorded["status"] != answer.status:
            return f"status {answer.status}, recorded {recorded['status']}"
        if (recorded.get("reason") or "") != answer.reason:
            return f"reason {answer.reason}, recorded {recorded.get('reason')}"
        ours, theirs = set(answer.headers), {k.lower() for k in recorded["headers"]}
        if ours - {"connection"} != theirs - {"connection"}:
            return f"headers: too many {sorted(ours - theirs)}, missing {sorted(theirs - ours)}"
        kind = answer.headers.get("content-type", "").partition(";")[0]
        wanted = next((v for k, v in recorded["headers"].items() if k.lower() == "content-type"), "").partition(";")[0]
        if kind != wanted:
            return f"content type {kind}, recorded {wanted}"
        return self._same_values(record, answer) or self._same_body(record, answer)

    def _same_values(self, record: Record, answer: Answer) -> str | None:
        """Values of headers; an ETag is compared where it is the MD5 of content, which is on the S3 port."""
        free = set(_FREE_HEADERS) | (set() if record["request"]["to"].endswith(":8080") else {"etag"})
        free |= {"etag"} if record["group"] == "iam" else set()
        for name, value in record["response"]["headers"].items():
            live = answer.headers.get(name.lower(), "")
            varies = name.lower() == "x-amz-version-id" and len(value) == 32 and len(live) == 32
            if name.lower() not in free and not varies and _shape(value) != _shape(live):
                return f"header {name}: {live}, recorded {value}"
        return None

    def _learn_all(self, recorded: Record, answer: Answer) -> None:
        for name, value in (recorded.get("headers") or {}).items():
            live = answer.headers.get(name.lower())
            if live and name.lower() in ("x-riak-vclock", "x-amz-version-id") and live != value:
                self.known[value] = live
            elif live and name.lower() in ("etag", "location"):
                self.learn(value, live)
        body = recorded.get("body")
        if isinstance(body, str) and recorded["status"] == answer.status:
            self.learn(body, answer.body.decode("utf-8", "replace"))

    def _same_body(self, record: Record, answer: Answer) -> str | None:
        recorded = record["response"].get("body")
        if isinstance(recorded, dict) and "sha256" in recorded:
            return None if hashlib.sha256(answer.body).hexdigest() == recorded["sha256"] else "other bytes"
        if isinstance(recorded, dict):
            return None if base64.b64decode(recorded["base64"]) == answer.body else "other bytes"
        if record["response"].get("body_note") or answer.status == 500:
            return None
        live = answer.body.decode("utf-8", "replace")
        recorded = recorded or ""
        if _shape(self.translate(recorded)) != _shape(live):
            return f"body {live[:160]!r}, recorded {recorded[:160]!r}"
        return None


def _pairs(pattern: re.Pattern[str], recorded: str, live: str) -> dict[str, str]:
    theirs, mine = pattern.findall(recorded), pattern.findall(live)
    return {a: b for a, b in zip(theirs, mine, strict=True) if a != b} if len(theirs) == len(mine) else {}


def _shape(text: str) -> Any:
    """Text without what varies; JSON as its keys and plain values."""
    text = _VARIABLE.sub("~", text.replace("\r\n", "\n"))
    text = _IDENTIFIER.sub("#", _VERSION.sub("#", _NAMED.sub("#", text)))
    text = re.sub(r"--[A-Za-z0-9#]{1,40}(--)?$", "--#", text, flags=re.MULTILINE)
    text = re.sub(r"(<AWSAccessKeyId>|<ID>)(?!NoKeyId)[^<]+", r"\1#", text)
    if "<Version>" in text or "<Contents>" in text:
        return sorted(re.split(r"(?=<Version>|<Contents>)|(?<=</Version>)|(?<=</Contents>)", text))
    found = [json.loads(part) for part in re.findall(r'\{"(?:keys|results)":.*?\]\}', text)]
    if found:
        return sorted(json.dumps(row) for block in found for rows in block.values() for row in rows)
    try:
        return json.loads(text)
    except ValueError:
        return re.sub(r"127\.0\.0\.1:\d+", "@", text)


def body_of(request: Record) -> bytes:
    body = request.get("body") or ""
    if isinstance(body, str):
        return body.encode()
    if "base64" in body:
        return base64.b64decode(body["base64"])
    if str(body.get("head", "")).startswith("AAAA"):
        return b"A" * int(body["bytes"])
    return (bytes(range(256)) * (int(body["bytes"]) // 256 + 1))[: body["bytes"]]


def _v2_amz(
    method: str, path: str, query: str, headers: dict[str, str], key: str, secret: str, now: Any, *, line: str
) -> Any:
    date = email.utils.format_datetime(now, usegmt=True)
    added = {"x-amz-date": date} | ({"Date": date} if line == "both" else {})
    signature = signing.v2_signature(method, path, query, headers | added, secret, date if line == "repeated" else "")
    return added | {"Authorization": f"AWS {key}:{signature}"}


def _v2_none(method: str, path: str, query: str, headers: dict[str, str], key: str, secret: str, _: Any) -> Any:
    return {"Authorization": f"AWS {key}:{signing.v2_signature(method, path, query, headers, secret, '')}"}


V2_DATES = {
    "auth-v2-x-amz-date": partial(_v2_amz, line="empty"),
    "auth-v2-x-amz-date-repeated": partial(_v2_amz, line="repeated"),
    "auth-v2-both-dates": partial(_v2_amz, line="both"),
    "auth-v2-no-date": _v2_none,
    "stats-v2-x-amz-date": partial(_v2_amz, line="empty"),
}


def _wire(value: str) -> str:
    """UTF-8 bytes as Latin-1 text, as headers are sent."""
    return value if value.isascii() else value.encode().decode("latin-1")


def _shift_dates(record: Record, headers: dict[str, str]) -> None:
    """Conditions by date keep their distance to the moment of the request."""
    answered = (record["response"].get("headers") or {}).get("Date")
    for name in ("If-Modified-Since", "If-Unmodified-Since"):
        if name in headers and answered:
            gap = email.utils.parsedate_to_datetime(headers[name]) - email.utils.parsedate_to_datetime(answered)
            headers[name] = email.utils.format_datetime(dt.datetime.now(dt.UTC) + gap, usegmt=True)


def sign_v4(
    name: str, method: str, path: str, query: str, headers: dict[str, str], key: str, secret: str, now: Any
) -> Any:
    """SigV4 with the mistake that a record is about."""
    if name == "auth-v4-no-sha-header":
        headers.pop("x-amz-content-sha256", None)
    added = signing.v4(method, path, query, headers, key, secret, now, literal=name != "auth-v4-double-space")
    if name == "auth-v4-empty-region":
        added["Authorization"] = added["Authorization"].replace("/us-east-1/", "//")
    if name == "auth-v4-date-header":
        del added["x-amz-date"]
        added["Date"] = email.utils.format_datetime(now, usegmt=True)
    return added


def presigned(record: Record, path: str, query: str, headers: dict[str, str], who: tuple[str, str]) -> str:
    """The query signed anew; SigV4 by query is not heeded, so it is left as it is."""
    if "V4" in record["request"]["auth"]:
        return query
    key, secret = who
    expires = int(time.time()) + (-60 if "expired" in record["name"] else 300)
    plain = "&".join(
        p for p in query.split("&") if p.partition("=")[0] not in ("AWSAccessKeyId", "Expires", "Signature")
    )
    signed = {k: v for k, v in headers.items() if k != "Content-Type"}
    target = "/rec-c-main/small" if "tampered" in record["name"] else path
    signature = signing.v2_signature(record["request"]["method"], target, plain, signed, secret, str(expires))
    if "response-content-type" in plain:
        signature = signature[::-1]
    if "unknown-key" in record["name"]:
        key = "NOSUCHKEY00000000000"
    ours = f"AWSAccessKeyId={key}&Expires={expires}&Signature={quote(signature, safe='')}"
    return f"{plain}&{ours}" if plain else ours


def offset(record: Record) -> dt.timedelta:
    """How far the recorded date of a request was from the clock of the server."""
    headers = record["request"]["headers"]
    answered = record["response"].get("headers", {}).get("Date")
    sent = headers.get("x-amz-date") or headers.get("Date")
    if not answered or not sent:
        return dt.timedelta()
    if re.fullmatch(r"\d{8}T\d{6}Z", sent):
        moment = dt.datetime.strptime(sent, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    else:
        moment = email.utils.parsedate_to_datetime(sent)
    gap = moment - email.utils.parsedate_to_datetime(answered)
    return gap if abs(gap) > dt.timedelta(minutes=2) else dt.timedelta()


def send(place: str, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
    connection = http.client.HTTPConnection(place, timeout=20)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders(None if "chunked" in headers.get("Transfer-Encoding", "") else body or None)
        answer = connection.getresponse()
        content = answer.read()
        return Answer(answer.status, answer.reason, {k.lower(): v for k, v in answer.getheaders()}, content)
    except (http.client.HTTPException, OSError) as error:
        return Answer(None, type(error).__name__, {}, b"")
    finally:
        connection.close()
