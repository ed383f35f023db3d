"""A few S3 requests, signed by SigV2, on plain http.client: none of it is the engine's or a client library's."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import http.client
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

NO_ANSWER = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class Keys:
    access: str
    secret: str


class S3:
    """One connection at a time to one URL; not for several threads."""

    def __init__(self, url: str, keys: Keys, timeout_s: float = 10.0) -> None:
        self._at = urlsplit(url).netloc
        self._keys = keys
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, bucket: str, key: str = "", query: str = "", body: bytes = b"") -> tuple[int, bytes]:
        """Status and body. Raises one of NO_ANSWER."""
        path = f"/{bucket}" + (f"/{quote(key)}" if key else "")
        date = email.utils.formatdate(usegmt=True)
        kind = "application/octet-stream" if method == "PUT" else ""
        text = f"{method}\n\n{kind}\n{date}\n{path}"
        mac = base64.b64encode(hmac.new(self._keys.secret.encode(), text.encode(), hashlib.sha1).digest()).decode()
        headers = {"Date": date, "Authorization": f"AWS {self._keys.access}:{mac}"}
        if kind:
            headers["Content-Type"] = kind
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._at, timeout=self._timeout_s)
        try:
            self._connection.request(method, path + (f"?{query}" if query else ""), body or None, headers)
            answer = self._connection.getresponse()
            data = answer.read()
        except NO_ANSWER:
            self.close()
            raise
        if answer.will_close:
            self.close()
        return answer.status, data

    def list(self, bucket: str, prefix: str = "") -> dict[str, str]:
        """ETags by key, by version 1 of listing."""
        found: dict[str, str] = {}
        marker = ""
        while True:
            status, body = self.ask("GET", bucket, query=f"prefix={quote(prefix)}&marker={quote(marker)}")
            if status == 404:
                return {}
            assert status == 200, (status, body[:500])
            root = ET.fromstring(body)
            entries = [
                {child.tag.rpartition("}")[2]: child.text or "" for child in element}
                for element in root.iter()
                if element.tag.rpartition("}")[2] == "Contents"
            ]
            found.update((entry["Key"], entry["ETag"].strip('"')) for entry in entries)
            truncated = [e.text for e in root.iter() if e.tag.rpartition("}")[2] == "IsTruncated"]
            if truncated != ["true"]:
                return found
            marker = entries[-1]["Key"]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
