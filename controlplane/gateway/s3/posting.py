"""POST Object: a browser's form upload, signed by its policy. Riak CS has none (post-object-form is 405)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Final
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from controlplane.gateway.s3.answers import empty, fields, xml
from controlplane.gateway.s3.authenticate import Authenticator
from controlplane.gateway.s3.authorise import Authoriser
from controlplane.gateway.s3.call import Call, require_served
from controlplane.gateway.s3.stored_headers import stored_form_headers
from controlplane.gateway.s3.writing import Stored, WriteServices, checksum_fields
from controlplane.http import Request, Response
from controlplane.ports.clock import Clock
from controlplane.s3.addressing import MAX_KEY_BYTES, Address
from controlplane.s3.body_checksums import Expected, expected_of
from controlplane.s3.documents.tagging import Tagged, parse_tagging
from controlplane.s3.documents.upload_documents import render_posted
from controlplane.s3.fault import Code, S3Fault
from controlplane.s3.post_form import FormReader
from controlplane.s3.post_policy import check_policy, read_form_claim

_STATUSES: Final = {"200": 200, "201": 201, "204": 204}


class FormUploads:
    def __init__(
        self,
        services: WriteServices,
        authenticator: Authenticator,
        authoriser: Authoriser,
        clock: Clock,
    ) -> None:
        self._services = services
        self._authenticator = authenticator
        self._authoriser = authoriser
        self._clock = clock

    async def post(self, call: Call) -> Response:
        form = FormReader((call.header(b"content-type") or b"").decode("latin-1"))
        first = await self._until_file(call.request, form)
        given = form.fields
        if given is None:
            form.finish()  # says what is missing
            raise S3Fault(Code.MALFORMED_POST_REQUEST)
        await self._prove(call, given)
        upload = check_policy(given, form.filename, call.bucket, self._clock.now())
        if not 0 < len(upload.key.encode()) <= MAX_KEY_BYTES:
            raise S3Fault(Code.KEY_TOO_LONG)
        require_served(call.bucket, upload.key)
        call.address = Address(call.bucket, upload.key, call.address.in_host)
        if (admission := self._authoriser.admit(call)) is not None:
            await admission
        headers = stored_form_headers(given)
        tags = parse_tagging(given["tagging"].encode(), Tagged.OBJECT) if given.get("tagging") else ()
        acl_given = {"x-amz-acl": given["acl"]} if "acl" in given else {}
        services = self._services
        acl = await services.prepare(call, acl_given, headers)
        async with services.bodies.spooled(_file(call.request, form, first)) as (length, pieces):
            if length < upload.min_bytes:
                raise S3Fault(
                    Code.ENTITY_TOO_SMALL,
                    extra=(("ProposedSize", str(length)), ("MinSizeAllowed", str(upload.min_bytes))),
                )
            if upload.max_bytes is not None and length > upload.max_bytes:
                raise S3Fault(
                    Code.ENTITY_TOO_LARGE,
                    extra=(("ProposedSize", str(length)), ("MaxSizeAllowed", str(upload.max_bytes))),
                )
            async with services.conditional.commit(call, None) as commit:
                incoming = services.bodies.fresh(pieces, length, _expected(call, given), commit.ready)
                stored = await services.uploading.send(call, incoming, commit, headers)
        await services.settle(call, stored, tags, acl)
        return _answer(call, given, stored)

    async def _prove(self, call: Call, given: Mapping[str, str]) -> None:
        claim = read_form_claim(given, self._authenticator.rules)
        # Without a claim in the form the request itself may be signed; else it is anonymous.
        if claim is not None:
            verified, call.account = await self._authenticator.prove_claim(claim)
            call.scheme = verified.scheme
            call.signer = call.account.keys

    async def _until_file(self, request: Request, form: FormReader) -> list[bytes]:
        """Read until the file begins; its first pieces."""
        async for chunk in request.body:
            pieces = form.feed(chunk)
            if form.fields is not None:
                return pieces
        return []


async def _file(request: Request, form: FormReader, first: list[bytes]) -> AsyncGenerator[bytes, None]:
    for piece in first:
        yield piece
    async for chunk in request.body:
        for piece in form.feed(chunk):
            yield piece
    form.finish()


def _expected(call: Call, given: Mapping[str, str]) -> Expected:
    """Checksums may come as fields of the form."""
    promised = [
        (name.encode(), value.encode("latin-1", "replace"))
        for name, value in given.items()
        if name.startswith("x-amz-checksum-") or name == "content-md5"
    ]
    return expected_of(promised, call.payload)


def _answer(call: Call, given: Mapping[str, str], stored: Stored) -> Response:
    request = call.request
    host = call.headers.get("host", "")
    path = f"/{call.key}" if call.address.in_host else f"/{call.bucket}/{call.key}"
    location = f"{'https' if call.secure else 'http'}://{host}{quote(path)}"
    etag = (b"etag", b'"%b"' % stored.etag.encode())
    redirect = given.get("success_action_redirect") or given.get("redirect")
    if redirect:
        parts = urlsplit(redirect)
        if parts.scheme in ("http", "https") and parts.netloc and not any(ord(letter) < 33 for letter in redirect):
            more = urlencode({"bucket": call.bucket, "key": call.key, "etag": f'"{stored.etag}"'})
            target = urlunsplit(parts._replace(query=f"{parts.query}&{more}" if parts.query else more))
            return Response(303, fields(request, (b"location", target.encode("ascii", "ignore")), etag), b"")
    status = _STATUSES.get(given.get("success_action_status", ""), 204)
    more_fields = (etag, (b"location", location.encode()), *checksum_fields(stored.hashed.checksum))
    if status == 201:
        return xml(request, render_posted(location, call.bucket, call.key, stored.etag), 201, more_fields)
    return Response(status, [*empty(request).headers, *more_fields], b"" if status == 200 else None)
