"""Requests to S3 that no client sends, put together by dice: known names with wrong values, at wrong places."""

from __future__ import annotations

import random

from controlplane.s3.operation_table import PARAMETERS, TABLE

METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"]
SUBRESOURCES = sorted({name for table in TABLE.values() for name in table if name})
NAMES = [
    *sorted({name for names in PARAMETERS.values() for name in names}),
    "x-id",
    "response-content-type",
    "v",
    "nonsense",
]
VALUES = [
    "",
    "0",
    "1",
    "-1",
    "2",
    "1001",
    "10001",
    "99999999999999999999",
    "null",
    "x",
    "a%2Fb",
    "%00",
    "%0d%0a",
    "%ff",
    "%e2%82%ac",
    "%F0%9F%98%80",
    "+",
    "url",
    "true",
    "1.5",
    "..",
    "a" * 1100,
    "%25",
    "%",
    "https://x/y",
    "%22",
    "%3Cx%3E",
    "NaN",
    "%D9%A3",
]
KEYS = [
    "",
    "k",
    "k",
    "missing",
    "d/k",
    "a%2Bb",
    "%20",
    "%00",
    "%0A",
    "..",
    "d//k",
    "%C3%A4",
    "%F0%9F%98%80",
    "k" * 1025,
    "%25",
    "x%3Fy",
]
HEADERS = {
    "x-amz-acl": ["private", "public-read", "nonsense", "", "\xe4"],
    "x-amz-grant-read": [
        'id="x"',
        "uri=http://acs.amazonaws.com/groups/global/AllUsers",
        "id=",
        '"',
        "emailAddress=a@b",
        ",",
    ],
    "x-amz-grant-full-control": ["id=1", "x"],
    "x-amz-copy-source": [
        "/{bucket}/k",
        "{bucket}/k?versionId=null",
        "{bucket}",
        "/",
        "",
        "%",
        "%00/%00",
        "{bucket}/%ff",
        "missing/k",
    ],
    "x-amz-copy-source-range": ["bytes=0-1", "bytes=5-1", "x", "bytes=0-99999999999999999999"],
    "x-amz-copy-source-if-match": ["x", "*"],
    "x-amz-metadata-directive": ["COPY", "REPLACE", "x"],
    "x-amz-tagging-directive": ["COPY", "REPLACE", "x"],
    "x-amz-tagging": ["a=b", "a", "=", "a=b&a=c", "%", "&".join(f"k{n}=v" for n in range(11))],
    "x-amz-meta-a": ["b", "\xff", "a" * 3000, ""],
    "x-amz-storage-class": ["STANDARD", "GLACIER", ""],
    "x-amz-server-side-encryption": ["AES256"],
    "x-amz-object-lock-mode": ["GOVERNANCE"],
    "x-amz-website-redirect-location": ["/x"],
    "x-amz-checksum-crc32": ["AAAAAA==", "x", ""],
    "x-amz-checksum-sha256": ["AAAA"],
    "x-amz-sdk-checksum-algorithm": ["CRC32", "x"],
    "x-amz-checksum-algorithm": ["CRC32", "SHA256", "x"],
    "x-amz-checksum-type": ["FULL_OBJECT", "COMPOSITE", "x"],
    "x-amz-checksum-mode": ["ENABLED", "x"],
    "x-amz-mp-object-size": ["1", "x"],
    "x-amz-trailer": ["x-amz-checksum-crc32", "x"],
    "x-amz-decoded-content-length": ["0", "5", "x", "-1"],
    "x-amz-object-attributes": ["ETag,Checksum,ObjectParts,ObjectSize,StorageClass", "x", ""],
    "x-amz-max-parts": ["0", "x", "99999999999"],
    "x-amz-part-number-marker": ["x", "1"],
    "x-amz-expected-bucket-owner": ["x", ""],
    "x-amz-object-ownership": ["BucketOwnerEnforced", "x"],
    "x-amz-bucket-object-lock-enabled": ["true"],
    "x-amz-mfa": ["x"],
    "x-amz-request-payer": ["requester"],
    "content-md5": ["x", "1B2M2Y8AsgTpgAmY7PhCfg==", ""],
    "content-type": [
        "text/plain",
        "multipart/form-data; boundary=b",
        "multipart/form-data",
        "\xe4",
        "application/json",
    ],
    "content-encoding": ["aws-chunked", "gzip,aws-chunked", "\xe4"],
    "content-language": ["en", "\xe4"],
    "expires": ["0", "x"],
    "range": [
        "bytes=0-1",
        "bytes=-1",
        "bytes=9-",
        "bytes=1-0",
        "bytes=0-1,3-4",
        "x",
        "bytes=-0",
        "bytes=99999999999999999999-",
    ],
    "if-match": ["*", "x", '"x"'],
    "if-none-match": ["*", "x"],
    "if-modified-since": ["x", "Wed, 25 Nov 2026 00:00:00 GMT"],
    "if-unmodified-since": ["Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 99 Foo 99999 99:99:99"],
    "if-range": ["x", '"x"'],
    "origin": ["http://example.org", "null", ""],
    "access-control-request-method": ["GET", "x", ""],
    "access-control-request-headers": ["x-a, x-b", ","],
    "expect": ["100-continue"],
    "x-forwarded-for": ["192.0.2.1", "x"],
    "user-agent": ["\xe4"],
}
BODIES = [
    b"",
    b"x",
    b"\xff\x00",
    b"<",
    b"<x/>",
    b"{}",
    b"[]",
    b"null",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"x" * 70_000,
    b"<Delete><Object><Key>k</Key></Object></Delete>",
    b"<Delete><Object><Key></Key></Object></Delete>",
    b"<Delete/>",
    b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    b"<Tagging><TagSet><Tag/></TagSet></Tagging>",
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
    b"<CompleteMultipartUpload><Part><PartNumber>x</PartNumber></Part></CompleteMultipartUpload>",
    b"<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>",
    b"<CORSConfiguration><CORSRule/></CORSConfiguration>",
    (
        b"<LifecycleConfiguration><Rule><Status>Enabled</Status><Filter/><Expiration><Days>1</Days></Expiration></Rule>"
        b"</LifecycleConfiguration>"
    ),
    b"<LifecycleConfiguration><Rule><Expiration><Days>x</Days></Expiration></Rule></LifecycleConfiguration>",
    b"<AccessControlPolicy><Owner><ID>x</ID></Owner><AccessControlList/></AccessControlPolicy>",
    b"<AccessControlPolicy/>",
    b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    b"<VersioningConfiguration/>",
    b"<CreateBucketConfiguration><LocationConstraint>mars</LocationConstraint></CreateBucketConfiguration>",
    b'{"Statement":[]}',
    b'{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}]}',
    b'{"Statement":{"x":[[[]]]}}',
    (
        b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\nk\r\n--b\r\n'
        b'Content-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n'
    ),
    b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\nk',
    b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>",
    b"<x>" * 40,
]


def odd_request(dice: random.Random, bucket: str) -> tuple[str, str, bytes, dict[str, str], str]:
    """Method, target, body, headers and x-amz-content-sha256 ("": that of the body, "-": none)."""
    where = dice.choice([bucket] * 6 + ["missing-bucket", "", "Bad_Name", "..", "%00", "a" * 300])
    target = f"/{where}/{dice.choice(KEYS)}" if where and dice.random() < 0.7 else f"/{where}"
    query = []
    if dice.random() < 0.6:
        query.append(dice.choice(SUBRESOURCES) + dice.choice(["", "", "=", "=x"]))
    query += [f"{dice.choice(NAMES)}={dice.choice(VALUES)}" for _ in range(dice.choice([0, 0, 1, 1, 2]))]
    headers = {
        name: dice.choice(HEADERS[name]).replace("{bucket}", bucket)
        for name in dice.sample(sorted(HEADERS), dice.choice([0, 0, 1, 1, 2, 3]))
    }
    method = dice.choice(METHODS)
    body = dice.choice(BODIES) if method in ("PUT", "POST") or dice.random() < 0.1 else b""
    payload = dice.choice(
        [
            "",
            "",
            "",
            "UNSIGNED-PAYLOAD",
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            "x",
            "-",
        ]
    )
    return method, target + ("?" + "&".join(query) if query else ""), body, headers, payload
