"""Users by the admin port of Riak CS.

It wants SigV2 with a Date header (stats-sigv4 is 500); an unknown user is 403 InvalidAccessKeyId (user-get-unknown);
all users come as multipart/mixed whose parts are JSON arrays, or "" where everything was filtered out (users-json,
users-disabled).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, Final

from controlplane.adapters.riak_cs.client import RiakCsClient
from controlplane.adapters.riak_cs.options import RiakCsOptions
from controlplane.ports.accounts import Account
from controlplane.ports.clock import Clock
from controlplane.ports.errors import NotFound, Rejected, Unavailable
from controlplane.ports.upstream import Ask, KeyPair
from controlplane.s3.error_xml import parse_error
from controlplane.s3.xml import MalformedXml, parse_xml

_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
_MAX_USER_BYTES: Final = 4 * 1024 * 1024
_MAX_USERS_BYTES: Final = 256 * 1024 * 1024
_JSON: Final = {"accept": "application/json"}


def is_access_key(text: str) -> bool:
    """Whether it has the form of one: what goes into a path of the admin port is never anything else."""
    return _KEY.match(text) is not None


class Nonsense(ValueError):
    """An answer that no Riak CS gives."""


class RiakCsAccounts:
    """Implements ports.accounts.Accounts."""

    def __init__(self, options: RiakCsOptions, admin: KeyPair, clock: Clock, random: Random) -> None:
        self._client = RiakCsClient(options, clock, random)
        self._admin = admin
        self._where = ", ".join(options.endpoints)

    async def by_key(self, access_key: str) -> Account:
        if not is_access_key(access_key):
            raise NotFound(f"{access_key[:40]!r} cannot be an access key of Riak CS")
        status, _, body = await self._get(f"user/{access_key}", _MAX_USER_BYTES)
        if status == 200:
            try:
                return read_account(json.loads(body))
            except ValueError as error:
                raise self._nonsense(error) from error
        document = parse_error(body)
        code = document.code if document is not None else ""
        # Riak CS says InvalidAccessKeyId also of an admin key that it does not know: then it has authenticated nobody,
        # and the document names NoKeyId. Taking that for "no such user" would refuse everybody (I5).
        if status == 404 or (code == "InvalidAccessKeyId" and _asked_as(body) == self._admin.access_key):
            raise NotFound(f"Riak CS has no user with the access key {access_key}")
        raise self._refused(status, code)

    async def all(self) -> Sequence[Account]:
        status, kind, body = await self._get("users", _MAX_USERS_BYTES)
        if status != 200:
            document = parse_error(body)
            raise self._refused(status, document.code if document is not None else "")
        try:
            return tuple(read_account(user) for user in _users(kind, body))
        except ValueError as error:
            raise self._nonsense(error) from error

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _get(self, path: str, limit: int) -> tuple[int, str, bytes]:
        reply = await self._client.send(Ask("GET", self._admin, "riak-cs", path, headers=dict(_JSON)))
        try:
            return reply.status, reply.headers.get("content-type", ""), await reply.read_all(limit)
        finally:
            reply.close()

    def _refused(self, status: int, code: str) -> Rejected | Unavailable:
        what = f"the admin port of Riak CS at {self._where} answers {status} {code}".rstrip()
        if status in (401, 403):
            return Rejected(f"{what}: check s3.admin_key and s3.admin_secret")
        return Unavailable(f"{what}: check that Riak CS is up and s3.admin_urls name its admin port")

    def _nonsense(self, error: ValueError) -> Unavailable:
        # The error is not shown: its text may hold secrets.
        kind = type(error).__name__
        return Unavailable(f"the admin port of Riak CS at {self._where} answered what cannot be read ({kind})")


def _asked_as(document: bytes) -> str:
    """Whom an error document names as the one who asked."""
    try:
        return parse_xml(document).text_of("AWSAccessKeyId") or ""
    except MalformedXml:
        return ""


def read_account(user: Any) -> Account:
    """Raises Nonsense."""
    try:
        key, secret, canonical = user["key_id"], user["key_secret"], user["id"]
        shown, status = user.get("display_name", ""), user["status"]
        email, arn, name = user.get("email", ""), user.get("arn", ""), user.get("name", "")
        buckets = frozenset(
            bucket["name"] for bucket in user.get("buckets") or () if bucket.get("last_action", "created") == "created"
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise Nonsense("a user without the usual fields") from error
    if (
        not all(isinstance(text, str) for text in (key, secret, canonical, shown, status, email, arn, name, *buckets))
        or not secret
    ):
        raise Nonsense("a user with fields of other types")
    return Account(KeyPair(key, secret), canonical, shown, status == "enabled", email, arn, name, buckets)


def _users(kind: str, body: bytes) -> Iterator[Any]:
    match = re.search(r'boundary="?([^";]+)', kind)
    if match is None:
        raise Nonsense("no multipart answer")
    for part in body.split(b"--" + match[1].encode())[1:]:
        if part.startswith(b"--"):
            return
        _, blank, content = part.partition(b"\r\n\r\n")
        if not blank:
            raise Nonsense("a part without a body")
        found = json.loads(content)
        if isinstance(found, list):
            yield from found
    raise Nonsense("the answer is not whole")
