#!/usr/bin/python
"""One object through an S3 endpoint and back, signed with SigV2 (which every Riak CS version takes), stdlib only."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import http.client
import os
import ssl
import time
import urllib.parse
from email.utils import formatdate

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: s3_round_trip
short_description: PUT, GET, compare and DELETE one object
description:
  - Goes through one O(endpoint), or through each of several O(endpoints) in turn.
  - Looks first whether each of O(pings) answers 200; without an access key that is all.
  - Creates the bucket only when it is missing and O(create_bucket) allows it.
  - Reports no change, since it leaves nothing behind but its bucket.
options:
  endpoint: {description: URL of the S3 endpoint., type: str, default: ""}
  endpoints: {description: URLs of several S3 endpoints., type: list, elements: str, default: []}
  pings: {description: URLs that must answer 200., type: list, elements: str, default: []}
  access_key: {description: Access key., type: str, required: true}
  secret_key: {description: Secret key., type: str, required: true}
  bucket: {description: Bucket for the probe., type: str, default: millrace-probe}
  size: {description: Bytes of the object., type: int, default: 4096}
  marker: {description: Bytes that the object is made of., type: str, default: ""}
  keep: {description: Leave the object in place and only read it., type: bool, default: false}
  key: {description: Name of the object; empty makes one up., type: str, default: ""}
  create_bucket: {description: Whether a missing bucket may be created., type: bool, default: true}
  attempts: {description: How often a failure is tried., type: int, default: 1}
  delay: {description: Seconds between two attempts., type: int, default: 2}
  timeout: {description: Seconds for one request., type: int, default: 30}
  ca_file: {description: Certificate authorities for an https endpoint., type: str, default: ""}
author: [Millrace]
"""

EXAMPLES = r"""
- name: Round trip
  s3_round_trip:
    endpoint: http://10.0.0.1:8080
    access_key: KEY
    secret_key: SECRET
"""

RETURN = r"""
milliseconds: {description: Time of all round trips., type: int, returned: success}
attempts_used: {description: Largest number of attempts that an endpoint needed., type: int, returned: success}
key: {description: Name of the object., type: str, returned: success}
"""


class Failed(Exception):
    """A step of the round trip that did not do what it should; carries the words for the operator."""


class Endpoint:
    def __init__(self, url, params):
        self.url = urllib.parse.urlsplit(url)
        self.access_key, self.secret_key = params["access_key"], params["secret_key"]
        self.timeout, self.ca_file = params["timeout"], params["ca_file"] or None

    def connection(self):
        if self.url.scheme == "https":
            context = ssl.create_default_context(cafile=self.ca_file)
            return http.client.HTTPSConnection(
                self.url.hostname, self.url.port or 443, timeout=self.timeout, context=context
            )
        return http.client.HTTPConnection(self.url.hostname, self.url.port or 80, timeout=self.timeout)

    def request(self, method, path, body=b""):
        """(status, body) of one signed request; network failures are Failed."""
        date = formatdate(usegmt=True)
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode() if method == "PUT" else ""
        kind = "application/octet-stream" if method == "PUT" else ""
        text = f"{method}\n{md5}\n{kind}\n{date}\n{path}"
        signature = base64.b64encode(hmac.new(self.secret_key.encode(), text.encode(), hashlib.sha1).digest()).decode()
        headers = {"Date": date, "Authorization": f"AWS {self.access_key}:{signature}"}
        if method == "PUT":
            headers.update({"Content-MD5": md5, "Content-Type": kind, "Content-Length": str(len(body))})
        connection = self.connection()
        try:
            connection.request(method, path, body or None, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"{method} {path}: {error}") from error
        finally:
            connection.close()

    def ping(self):
        """An unsigned GET of the URL itself."""
        connection = self.connection()
        try:
            connection.request("GET", self.url.path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"GET {self.url.path}: {error}") from error
        finally:
            connection.close()
        if status != 200:
            raise Failed(f"GET {self.url.path}: HTTP {status}")

    def expect(self, statuses, method, path, body=b""):
        status, answer = self.request(method, path, body)
        if status not in statuses:
            raise Failed(f"{method} {path}: HTTP {status} {answer[:300].decode('utf-8', 'replace')}")
        return answer


def round_trip(endpoint, params, body, key):
    """PUT, GET, compare, DELETE, and a GET that must be 404."""
    bucket, path = f"/{params['bucket']}", f"/{params['bucket']}/{key}"
    status, answer = endpoint.request("PUT", path, body)
    if status == 404 and b"NoSuchBucket" in answer and params["create_bucket"]:
        endpoint.expect((200, 204), "PUT", bucket)
        status, answer = endpoint.request("PUT", path, body)
    if status not in (200, 204):
        raise Failed(f"PUT {path}: HTTP {status} {answer[:300].decode('utf-8', 'replace')}")
    if endpoint.expect((200,), "GET", path) != body:
        raise Failed(f"GET {path}: the bytes that came back are not the ones that were sent")
    if not params["keep"]:
        endpoint.expect((200, 204), "DELETE", path)
        endpoint.expect((404,), "GET", path)


def insist(module, url, step):
    """Repeats a step that raises Failed; returns how often it was tried, or ends the module."""
    attempts, delay, said = module.params["attempts"], module.params["delay"], ""
    for attempt in range(1, attempts + 1):
        try:
            step()
        except Failed as failure:
            said = str(failure)
            time.sleep(delay if attempt < attempts else 0)
            continue
        return attempt
    module.fail_json(msg=f"{url} does not serve S3 ({attempts} attempts): {said}")
    return attempts


def main():
    module = AnsibleModule(
        argument_spec={
            "endpoint": {"type": "str", "default": ""},
            "endpoints": {"type": "list", "elements": "str", "default": []},
            "pings": {"type": "list", "elements": "str", "default": []},
            "access_key": {"type": "str", "required": True, "no_log": False},
            "secret_key": {"type": "str", "required": True, "no_log": True},
            "bucket": {"type": "str", "default": "millrace-probe"},
            "size": {"type": "int", "default": 4096},
            "marker": {"type": "str", "default": "", "no_log": False},
            "keep": {"type": "bool", "default": False},
            "key": {"type": "str", "default": "", "no_log": False},
            "create_bucket": {"type": "bool", "default": True},
            "attempts": {"type": "int", "default": 1},
            "delay": {"type": "int", "default": 2},
            "timeout": {"type": "int", "default": 30},
            "ca_file": {"type": "str", "default": ""},
        },
        mutually_exclusive=[("endpoint", "endpoints")],
        supports_check_mode=True,
    )
    params = module.params
    key = params["key"] or f"probe-{os.urandom(8).hex()}"
    if module.check_mode:
        module.exit_json(changed=False, milliseconds=0, attempts_used=0, key=key)
    size, marker = params["size"], params["marker"].encode()
    body = (marker * (size // len(marker) + 1))[:size] if marker else os.urandom(size)
    used, started = 0, time.monotonic()
    for url in params["pings"]:
        used = max(used, insist(module, url, Endpoint(url, params).ping))
    for url in filter(None, [*params["endpoints"], params["endpoint"]] if params["access_key"] else []):
        endpoint = Endpoint(url, params)
        used = max(used, insist(module, url, functools.partial(round_trip, endpoint, params, body, key)))
    spent = int((time.monotonic() - started) * 1000)
    module.exit_json(changed=False, milliseconds=spent, attempts_used=used, key=key)


if __name__ == "__main__":
    main()
