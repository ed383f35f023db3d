"""Tokens and scopes; and what each expected error looks like to a client."""

from __future__ import annotations

import json

import pytest

from controlplane.gateway.auth import Authorizer, Grant, Right, Verdict
from controlplane.gateway.problem import problem_for
from controlplane.model.content import MalformedDigest
from controlplane.ports.errors import Conflict, Corrupt, Full, NotFound, Rejected, StorageFull, Unavailable
from controlplane.services.blobs import Collision, WrongGuid

GRANTS = [
    Grant.of("reader", "r-token", frozenset({Right.READ})),
    Grant.of("all", "a-token", frozenset({Right.READ, Right.WRITE, Right.DELETE})),
    Grant.of("probe", "p-token", frozenset({Right.PROBE})),
]


@pytest.mark.parametrize("right", list(Right))
@pytest.mark.parametrize("anonymous", [False, True])
def test_a_token_allows_its_scopes_and_nothing_else(right: Right, anonymous: bool) -> None:
    judge = Authorizer(GRANTS, anonymous_read=anonymous).judge
    free = anonymous and right is Right.READ
    for secret, rights in (
        ("r-token", {Right.READ}),
        ("a-token", {Right.READ, Right.WRITE, Right.DELETE}),
        ("p-token", {Right.PROBE}),
    ):
        allowed = free or right in rights
        expected = Verdict.ALLOWED if allowed else Verdict.FORBIDDEN
        assert judge(f"Bearer {secret}".encode(), right) is expected
        assert judge(f"bearer  {secret} ".encode(), right) is expected
    unknown = Verdict.ALLOWED if free else Verdict.UNKNOWN
    for header in (
        None,
        b"",
        b"Bearer ",
        b"Bearer wrong",
        b"Bearer r-toke",
        b"Basic cjp0",
        b"r-token",
        b"Bearer\tr-token",
    ):
        assert judge(header, right) is unknown


def test_without_grants_nobody_enters() -> None:
    assert Authorizer([], anonymous_read=False).judge(b"Bearer x", Right.READ) is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (MalformedDigest("m"), 400, "malformed-digest"),
        (WrongGuid("m"), 422, "wrong-guid"),
        (Collision("m"), 409, "collision"),
        (Conflict("m"), 409, "conflict"),
        (NotFound("m"), 404, "not-found"),
        (Full("m", retry_after=30), 503, "journal-full"),
        (StorageFull("m"), 507, "storage-full"),
        (Unavailable("m", retry_after=2.2), 503, "unavailable"),
        (Corrupt("m"), 502, "corrupt"),
        (Rejected("m"), 502, "store-refused"),
        (ZeroDivisionError("secret"), 500, "internal"),
    ],
)
def test_every_error_has_its_status_and_name(error: Exception, status: int, kind: str) -> None:
    response = problem_for(error, "id-1")
    assert response.status == status
    assert isinstance(response.body, bytes)
    body = json.loads(response.body)
    assert body["status"] == status
    assert body["type"] == f"urn:millrace:problem:{kind}"
    assert body["instance"] == "urn:millrace:request:id-1"
    assert "secret" not in body["detail"]
    headers = dict(response.headers)
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"x-request-id"] == b"id-1"
    if status == 503:
        assert isinstance(error, Unavailable)
        assert error.retry_after <= int(headers[b"retry-after"]) < error.retry_after + 1


def test_a_detail_that_is_no_unicode_is_still_an_answer() -> None:
    assert problem_for(NotFound("\udcff"), "x").status == 404
