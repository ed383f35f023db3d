"""Creating and changing users by the admin port of Riak CS.

A taken name or address is 409 UserAlreadyExists; an address that is none is 400 with the code ServiceUnavailable; an
unknown user is 403 InvalidAccessKeyId (recordings user-create-duplicate-name, user-create-bad-email, user-put-unknown).
A new secret counts at once (user-old-secret-s3).
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

from controlplane.adapters.riak_cs.accounts import is_access_key, read_account
from controlplane.adapters.riak_cs.client import RiakCsClient
from controlplane.adapters.riak_cs.options import RiakCsOptions
from controlplane.ports.accounts import Account
from controlplane.ports.clock import Clock
from controlplane.ports.errors import Conflict, MillraceError, NotFound, Rejected, Unavailable
from controlplane.ports.upstream import Ask, KeyPair
from controlplane.s3.error_xml import parse_error

_MAX_USER_BYTES = 4 * 1024 * 1024


class RiakCsAccountAdmin:
    """Implements ports.accounts.AccountAdmin."""

    def __init__(self, options: RiakCsOptions, admin: KeyPair, clock: Clock, random: Random) -> None:
        self._client = RiakCsClient(options, clock, random)
        self._admin = admin
        self._where = f"the admin port of Riak CS at {', '.join(options.endpoints)}"

    async def create(self, name: str, email: str) -> Account:
        # Riak CS takes an empty name, and makes a user that nobody can tell apart (user-create-empty-name).
        if not name.strip():
            raise Rejected("a user needs a name that is not empty")
        try:
            return await self._send("POST", "user", {"name": name, "email": email}, repeatable=False)
        except Unavailable as error:
            raise Unavailable(f"{error}; the user may have been created: look before trying again") from error

    async def set_enabled(self, access_key: str, enabled: bool) -> Account:
        return await self._change(access_key, {"status": "enabled" if enabled else "disabled"})

    async def rotate(self, access_key: str) -> Account:
        try:
            return await self._change(access_key, {"new_key_secret": True})
        except Unavailable as error:
            raise Unavailable(f"{error}; the secret may have been changed: look, or rotate it again") from error

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _change(self, access_key: str, fields: dict[str, Any]) -> Account:
        if not is_access_key(access_key):
            raise NotFound(f"{access_key[:40]!r} cannot be an access key of Riak CS")
        return await self._send("PUT", f"user/{access_key}", fields, repeatable=True)

    async def _send(self, method: str, path: str, fields: dict[str, Any], *, repeatable: bool) -> Account:
        body = json.dumps(fields).encode()
        headers = {"content-type": "application/json", "accept": "application/json"}
        ask = Ask(method, self._admin, "riak-cs", path, (), headers, body, len(body), repeatable)
        reply = await self._client.send(ask)
        try:
            status, found = reply.status, await reply.read_all(_MAX_USER_BYTES)
        finally:
            reply.close()
        if status in (200, 201):
            try:
                return read_account(json.loads(found))
            except ValueError as error:
                # The error is not shown: its text may hold a secret.
                raise Unavailable(f"{self._where} answered what cannot be read ({type(error).__name__})") from None
        raise self._refusal(status, found, path)

    def _refusal(self, status: int, body: bytes, path: str) -> MillraceError:
        document = parse_error(body)
        code = document.code if document is not None else ""
        about = f"{self._where} answers {status} {code}".rstrip()
        if code == "UserAlreadyExists":
            return Conflict("a user of this name or e-mail address exists already: choose another")
        if status == 400:
            said = document.message if document is not None else ""
            return Rejected(f"{about}: {said or 'the request is refused'}")
        if code == "InvalidAccessKeyId" and document is not None and document.resource.endswith(f"/{path}"):
            return NotFound(f"Riak CS has no user with the access key {path.rpartition('/')[2]}")
        if status in (401, 403):
            return Rejected(f"{about}: check s3.admin_key and s3.admin_secret")
        return Unavailable(f"{about}: check that Riak CS is up and s3.admin_urls name its admin port")
