"""Writing ACLs to Riak CS.

It takes canned ACLs in a header and everything else as an XML document of ?acl; grants by id or e-mail address in
headers crash it (acl-object-grant-header-id, acl-object-grant-header-email are 500), and it takes unknown ids without a
word (acl-object-xml-unknown-id). So grants are resolved here and always sent as a document.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from controlplane.ports.upstream import Ask, KeyPair, Query, Upstream
from controlplane.s3.access.acl import Acl, addresses_of, ids_of, resolved
from controlplane.s3.access.acl_xml import render_acl
from controlplane.s3.access.grant_headers import GRANT_HEADERS, acl_from_headers
from controlplane.s3.access.principals import User
from controlplane.services.s3.callers import Callers
from controlplane.services.s3.refusals import refusal

_CANNED: Final = frozenset(
    {
        "private",
        "public-read",
        "public-read-write",
        "authenticated-read",
        "bucket-owner-read",
        "bucket-owner-full-control",
    }
)
"""Those that Riak CS knows in a header."""


class AclWrites:
    def __init__(self, upstream: Upstream, callers: Callers) -> None:
        self._upstream = upstream
        self._callers = callers

    async def asked_for(
        self, given: Mapping[str, str], owner: User, bucket_owner: User | None, headers: dict[str, str]
    ) -> Acl | None:
        """The ACL that the headers of an upload ask for, when it has to be put by itself; a canned one that Riak CS
        knows is put into `headers` instead. `bucket_owner` for an object. Raises S3Fault, Unavailable."""
        if "x-amz-acl" not in given and not any(name in given for name in GRANT_HEADERS):
            return None
        acl = acl_from_headers(given, owner, bucket_owner)
        canned = given.get("x-amz-acl", "").strip()
        if acl is None or canned in _CANNED:
            headers["x-amz-acl"] = canned
            return None
        return await self.resolved(acl)

    async def resolved(self, acl: Acl) -> Acl:
        """With every grantee a user that exists. Raises S3Fault, Unavailable."""
        others, addresses = ids_of(acl) - {acl.owner.id}, addresses_of(acl)
        if not others and not addresses:
            return acl
        by_id = {acl.owner.id: acl.owner}
        for canonical_id in others:
            if (account := await self._callers.by_id(canonical_id)) is not None:
                by_id[canonical_id] = User(account.id, account.display_name)
        by_email: dict[str, User] = {}
        for address in addresses:
            if (account := await self._callers.by_email(address)) is not None:
                by_email[address] = User(account.id, account.display_name)
        return resolved(acl, by_email.get, by_id.get)

    async def put(self, bucket: str, key: str, signer: KeyPair | None, acl: Acl, query: Query = ()) -> None:
        """`key` empty: the bucket's. Raises S3Fault, Unavailable."""
        document = render_acl(acl)
        headers = {"content-type": "application/xml"}
        ask = Ask("PUT", signer, bucket, key, (("acl", ""), *query), headers, document, len(document))
        reply = await self._upstream.send(ask)
        if reply.status != 200:
            raise await refusal(reply, key=bool(key))
        reply.close()
