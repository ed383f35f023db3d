"""The fast S3 look-alike of s3_sink.py with what a gateway asks a Riak CS for besides: a user, an ACL, no policy.

Run: python -m tests.bench.riak_cs_sink PORT. S3 and the admin port are one port. A PUT gets the right ETag only for
the bytes of s3_sink's pattern, since computing one would cost more than all that is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

from tests.bench.s3_sink import Sink

KEY, SECRET, OWNER = "BENCHKEY000000000000", "bench-secret-of-forty-characters-0000000", "a" * 64
ADMIN_KEY, ADMIN_SECRET = "ADMINKEY000000000000", "admin-secret-of-forty-characters-0000000"

_USER = json.dumps(
    {"name": "bench", "display_name": "bench", "email": "bench@example.com", "key_id": KEY, "key_secret": SECRET,
     "id": OWNER, "arn": "arn:aws:iam::1:user/bench", "status": "enabled", "buckets": []}
).encode()  # fmt: skip
_ACL = (
    f'<?xml version="1.0" encoding="UTF-8"?><AccessControlPolicy><Owner><ID>{OWNER}</ID><DisplayName>bench'
    "</DisplayName></Owner><AccessControlList><Grant><Grantee "
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">'
    f"<ID>{OWNER}</ID><DisplayName>bench</DisplayName></Grantee><Permission>FULL_CONTROL</Permission></Grant>"
    "</AccessControlList></AccessControlPolicy>"
).encode()
_NO_POLICY = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchBucketPolicy</Code><Message>none</Message></Error>'
)
_NO_KEY = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code><Message>none</Message></Error>'
_VERSIONING = (
    b'<?xml version="1.0" encoding="UTF-8"?><VersioningConfiguration><Status>Suspended</Status>'
    b"</VersioningConfiguration>"
)


class RiakCsSink(Sink):
    def on_message_complete(self) -> None:
        path, _, query = self.url.partition(b"?")
        if path.startswith(b"/riak-cs/user/"):
            self._document(200, _USER, b"application/json")
        elif query.startswith(b"acl"):
            self._document(200, _ACL)
        elif query.startswith(b"policy"):
            self._document(404, _NO_POLICY)
        elif query.startswith(b"versioning"):
            self._document(200, _VERSIONING)
        elif path.count(b"/") < 2:
            self._document(200, b"")  # the service, and buckets
        elif path.startswith(b"/millrace-"):
            self._document(404, _NO_KEY)  # the gateway's own documents
        else:
            super().on_message_complete()

    def _document(self, status: int, body: bytes, kind: bytes = b"application/xml") -> None:
        reason = b"OK" if status == 200 else b"Object Not Found"
        self.transport.write(
            b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (status, reason, kind, len(body), body)
        )


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(RiakCsSink, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
