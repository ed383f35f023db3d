"""Who may do what: tables of policies and ACLs, and properties that hold for all of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.s3.access.acl import Acl, Grant, Permission, canned
from controlplane.s3.access.actions import ACTIONS, NEEDS, On, need_of
from controlplane.s3.access.condition_keys import context_of
from controlplane.s3.access.conditions import Context
from controlplane.s3.access.decision import UNKNOWN, Acls, Decision, Reason, Resource, Unknown, decide, may_list
from controlplane.s3.access.policy import Policy, parse_policy
from controlplane.s3.access.policy_match import is_public
from controlplane.s3.access.principals import ALL_USERS, ANONYMOUS, Caller, Group, User
from controlplane.s3.operation import SERVED, Operation

ALICE, BOB = User("a" * 64, "alice"), User("b" * 64, "bob")
OWNER = Caller(ALICE.id, "alice", "arn:aws:iam::111111111111:user/alice", "alice")
OTHER = Caller(BOB.id, "bob", "arn:aws:iam::222222222222:user/bob", "bob")
EVERYONE = (OWNER, OTHER, ANONYMOUS)
BUCKET, KEY = Resource("b"), Resource("b", "d/k")
PRIVATE = canned("private", ALICE)
O = Operation  # noqa: E741 - as short as the tables need
NONE = Context({})
ALLOWED, DENIED, STORE = True, False, None


def statement(**changes: Any) -> dict[str, Any]:
    found = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]}
    return {name: value for name, value in (found | changes).items() if value is not None}


def policy(*statements: dict[str, Any], version: str = "2012-10-17") -> Policy:
    return parse_policy(json.dumps({"Version": version, "Statement": list(statements)}).encode(), "b")


def outcome(
    caller: Caller, operation: Operation, resource: Resource, rules: Policy | None = None, acl: Acl = PRIVATE,
    object_acl: Acl | Unknown | None = UNKNOWN, context: Context = NONE,
) -> bool | None:  # fmt: skip
    return decide(caller, operation, resource, Acls(acl, object_acl), rules, context).allowed


def allowed(
    caller: Caller, operation: Operation, resource: Resource, *statements: dict[str, Any], **context: str
) -> bool:
    values = {name.replace("__", ":", 1).replace("_", "-"): (value,) for name, value in context.items()}
    return outcome(caller, operation, resource, policy(*statements), context=Context(values)) is True


def test_every_served_operation_has_a_need() -> None:
    assert {at.value for at in SERVED} - set(NEEDS) == {"Preflight"}
    assert all(need.action in ACTIONS for need in NEEDS.values())


# Without a policy: what the owner, another user and nobody may. Recordings that Riak CS is wider in: anon-private-list,
# anon-private-acl, anon-list-as-bob, anon-acl-as-bob, anon-versioning-as-bob, anon-put-acl-as-bob.
@pytest.mark.parametrize(
    ("operation", "resource", "acl", "expected"),
    [
        (O.LIST_OBJECTS, BUCKET, "private", (ALLOWED, DENIED, DENIED)),
        (O.LIST_OBJECTS_V2, BUCKET, "public-read", (ALLOWED, ALLOWED, ALLOWED)),
        (O.LIST_OBJECTS, BUCKET, "authenticated-read", (ALLOWED, ALLOWED, DENIED)),
        (O.LIST_OBJECT_VERSIONS, BUCKET, "private", (ALLOWED, DENIED, DENIED)),
        (O.LIST_OBJECT_VERSIONS, BUCKET, "public-read", (ALLOWED, ALLOWED, ALLOWED)),
        (O.LIST_MULTIPART_UPLOADS, BUCKET, "private", (ALLOWED, DENIED, DENIED)),
        (O.HEAD_BUCKET, BUCKET, "private", (ALLOWED, DENIED, DENIED)),
        (O.HEAD_BUCKET, BUCKET, "public-read", (ALLOWED, ALLOWED, ALLOWED)),
        (O.GET_BUCKET_ACL, BUCKET, "private", (ALLOWED, DENIED, DENIED)),
        (O.GET_BUCKET_ACL, BUCKET, "public-read-write", (ALLOWED, DENIED, DENIED)),
        (O.PUT_BUCKET_ACL, BUCKET, "public-read-write", (ALLOWED, DENIED, DENIED)),
        (O.GET_BUCKET_LOCATION, BUCKET, "public-read-write", (ALLOWED, DENIED, DENIED)),
        (O.PUT_BUCKET_VERSIONING, BUCKET, "public-read-write", (ALLOWED, DENIED, DENIED)),
        (O.PUT_BUCKET_POLICY, BUCKET, "public-read-write", (ALLOWED, DENIED, DENIED)),
        (O.DELETE_BUCKET, BUCKET, "public-read-write", (ALLOWED, DENIED, DENIED)),
        (O.GET_BUCKET_CORS, BUCKET, "public-read-write", (ALLOWED, DENIED, DENIED)),
        (O.PUT_BUCKET_LIFECYCLE, BUCKET, "public-read-write", (ALLOWED, DENIED, DENIED)),
        (O.PUT_OBJECT, KEY, "private", (ALLOWED, DENIED, DENIED)),
        (O.PUT_OBJECT, KEY, "public-read", (ALLOWED, DENIED, DENIED)),
        (O.PUT_OBJECT, KEY, "public-read-write", (ALLOWED, ALLOWED, ALLOWED)),
        (O.DELETE_OBJECT, KEY, "private", (ALLOWED, DENIED, DENIED)),
        (O.DELETE_OBJECT, KEY, "public-read-write", (ALLOWED, ALLOWED, ALLOWED)),
        (O.CREATE_MULTIPART_UPLOAD, KEY, "public-read-write", (ALLOWED, ALLOWED, ALLOWED)),
        (O.COMPLETE_MULTIPART_UPLOAD, KEY, "private", (ALLOWED, DENIED, DENIED)),
        (O.LIST_PARTS, KEY, "private", (ALLOWED, DENIED, DENIED)),
        (O.GET_OBJECT, KEY, "private", (STORE, STORE, STORE)),
        (O.HEAD_OBJECT, KEY, "public-read-write", (STORE, STORE, STORE)),
        (O.GET_OBJECT_ACL, KEY, "private", (STORE, STORE, STORE)),
        (O.GET_OBJECT_TAGGING, KEY, "public-read-write", (ALLOWED, DENIED, DENIED)),
        (O.PUT_OBJECT_TAGGING, KEY, "public-read-write", (ALLOWED, DENIED, DENIED)),
        (O.LIST_BUCKETS, BUCKET, "private", (ALLOWED, ALLOWED, DENIED)),
        (O.CREATE_BUCKET, BUCKET, "private", (ALLOWED, ALLOWED, DENIED)),
    ],
)
def test_acls_of_buckets(operation: Operation, resource: Resource, acl: str, expected: tuple[bool | None, ...]) -> None:
    assert tuple(outcome(who, operation, resource, acl=canned(acl, ALICE)) for who in EVERYONE) == expected


def test_an_owner_without_grants_keeps_what_needs_none() -> None:
    """The ACL and the settings of the bucket; the rest he has to give himself back."""
    nothing = Acl(ALICE, ())
    for operation in (O.LIST_OBJECTS, O.LIST_OBJECTS_V2, O.LIST_OBJECT_VERSIONS, O.HEAD_BUCKET):
        assert outcome(OWNER, operation, BUCKET, acl=nothing) is DENIED
    for operation in (O.PUT_OBJECT, O.COPY_OBJECT, O.CREATE_MULTIPART_UPLOAD, O.DELETE_OBJECT):
        assert outcome(OWNER, operation, KEY, acl=nothing) is DENIED
    for operation in (
        O.GET_BUCKET_ACL,
        O.PUT_BUCKET_ACL,
        O.DELETE_BUCKET,
        O.PUT_BUCKET_POLICY,
        O.LIST_MULTIPART_UPLOADS,
    ):
        assert outcome(OWNER, operation, BUCKET, acl=nothing) is ALLOWED
    assert outcome(OWNER, O.ABORT_MULTIPART_UPLOAD, KEY, acl=nothing) is ALLOWED


@pytest.mark.parametrize(
    ("operation", "acl", "expected"),
    [
        (O.GET_OBJECT, Acl(BOB, (Grant(BOB, Permission.FULL_CONTROL),)), (DENIED, ALLOWED, DENIED)),
        (O.GET_OBJECT, canned("public-read", BOB, ALICE), (ALLOWED, ALLOWED, ALLOWED)),
        (O.GET_OBJECT, canned("authenticated-read", BOB, ALICE), (ALLOWED, ALLOWED, DENIED)),
        (O.GET_OBJECT, canned("bucket-owner-read", BOB, ALICE), (ALLOWED, ALLOWED, DENIED)),
        (O.GET_OBJECT, Acl(BOB, ()), (DENIED, DENIED, DENIED)),
        (O.GET_OBJECT_ACL, Acl(BOB, ()), (DENIED, ALLOWED, DENIED)),
        (O.PUT_OBJECT_ACL, Acl(BOB, ()), (DENIED, ALLOWED, DENIED)),
        (O.PUT_OBJECT_ACL, Acl(ALICE, (Grant(Group(ALL_USERS), Permission.WRITE_ACP),)), (ALLOWED, ALLOWED, ALLOWED)),
        (O.GET_OBJECT_ACL, canned("bucket-owner-full-control", BOB, ALICE), (ALLOWED, ALLOWED, DENIED)),
        (O.GET_OBJECT_TAGGING, canned("public-read", BOB, ALICE), (ALLOWED, ALLOWED, DENIED)),
        (O.GET_OBJECT, None, (ALLOWED, DENIED, DENIED)),
    ],
)
def test_acls_of_objects(operation: Operation, acl: Acl | None, expected: tuple[bool, ...]) -> None:
    assert tuple(outcome(who, operation, KEY, object_acl=acl) for who in EVERYONE) == expected


@pytest.mark.parametrize(
    ("given_", "operation", "resource", "expected"),
    [
        # policy-star-anon-get, policy-star-bob-get: Riak CS opens nothing
        (statement(Action="s3:GetObject"), O.GET_OBJECT, KEY, (ALLOWED, ALLOWED, ALLOWED)),
        (statement(Principal={"AWS": "*"}), O.GET_OBJECT, KEY, (ALLOWED, ALLOWED, ALLOWED)),
        (statement(Principal={"AWS": ["*"]}), O.GET_OBJECT, KEY, (ALLOWED, ALLOWED, ALLOWED)),
        # policy-put-star-anon-put: 500 of Riak CS
        (statement(Action="s3:PutObject"), O.PUT_OBJECT, KEY, (ALLOWED, ALLOWED, ALLOWED)),
        (statement(Action="s3:ListBucket"), O.LIST_OBJECTS, BUCKET, (ALLOWED, ALLOWED, ALLOWED)),
        (statement(Action="s3:GetObject"), O.LIST_OBJECTS, BUCKET, (ALLOWED, DENIED, DENIED)),
        (statement(Principal={"CanonicalUser": BOB.id}), O.GET_OBJECT, KEY, (STORE, ALLOWED, STORE)),
        (statement(Principal={"AWS": OTHER.arn}), O.GET_OBJECT, KEY, (STORE, ALLOWED, STORE)),
        (statement(Principal={"AWS": "222222222222"}), O.PUT_OBJECT, KEY, (ALLOWED, ALLOWED, DENIED)),
        (statement(Principal={"AWS": "arn:aws:iam::222222222222:root"}), O.PUT_OBJECT, KEY, (ALLOWED, ALLOWED, DENIED)),
        # policy-deny-owner-get: Riak CS lets the owner through
        (statement(Effect="Deny", Action="s3:GetObject"), O.GET_OBJECT, KEY, (DENIED, DENIED, DENIED)),
        (statement(Effect="Deny"), O.PUT_BUCKET_POLICY, BUCKET, (ALLOWED, DENIED, DENIED)),
        (statement(Effect="Deny"), O.DELETE_BUCKET_POLICY, BUCKET, (ALLOWED, DENIED, DENIED)),
        (statement(Effect="Deny"), O.LIST_OBJECTS, BUCKET, (DENIED, DENIED, DENIED)),
        (
            statement(Effect="Deny", Principal=None, NotPrincipal={"CanonicalUser": ALICE.id}),
            O.GET_OBJECT,
            KEY,
            (STORE, DENIED, DENIED),
        ),
        (statement(Action=None, NotAction="s3:Delete*"), O.PUT_OBJECT, KEY, (ALLOWED, ALLOWED, ALLOWED)),
        (statement(Action=None, NotAction="s3:Delete*"), O.DELETE_OBJECT, KEY, (ALLOWED, DENIED, DENIED)),
        (statement(Resource=None, NotResource="arn:aws:s3:::b/d/*"), O.GET_OBJECT, KEY, (STORE, STORE, STORE)),
        (statement(Resource=None, NotResource="arn:aws:s3:::b/e/*"), O.GET_OBJECT, KEY, (ALLOWED, ALLOWED, ALLOWED)),
        (statement(Resource="arn:aws:s3:::b/d/?"), O.GET_OBJECT, KEY, (ALLOWED, ALLOWED, ALLOWED)),
        (statement(Resource="arn:aws:s3:::b/D/*"), O.GET_OBJECT, KEY, (STORE, STORE, STORE)),
        (statement(Resource="arn:aws:s3:::*"), O.LIST_OBJECTS, BUCKET, (ALLOWED, ALLOWED, ALLOWED)),
        (statement(Action="S3:gETobject"), O.GET_OBJECT, KEY, (ALLOWED, ALLOWED, ALLOWED)),
        (statement(Action="s3:Get*"), O.GET_OBJECT_ACL, KEY, (ALLOWED, ALLOWED, ALLOWED)),
        (statement(Action="*"), O.DELETE_OBJECT, KEY, (ALLOWED, ALLOWED, ALLOWED)),
        (statement(Action="s3:GetObject"), O.GET_OBJECT, Resource("b", "k", "v1"), (STORE, STORE, STORE)),
        (statement(Action="s3:GetObjectVersion"), O.GET_OBJECT, Resource("b", "k", "v1"), (ALLOWED, ALLOWED, ALLOWED)),
        (statement(Action="s3:PutObject"), O.COMPLETE_MULTIPART_UPLOAD, KEY, (ALLOWED, ALLOWED, ALLOWED)),
        (statement(Action="s3:PutBucketTagging"), O.DELETE_BUCKET_TAGGING, BUCKET, (ALLOWED, ALLOWED, ALLOWED)),
    ],
)
def test_policies(
    given_: dict[str, Any], operation: Operation, resource: Resource, expected: tuple[bool | None, ...]
) -> None:
    assert tuple(outcome(who, operation, resource, policy(given_)) for who in EVERYONE) == expected


def test_deny_wins_in_any_order_over_allow_acl_and_ownership() -> None:
    allow, deny = statement(), statement(Effect="Deny", Action="s3:DeleteObject", Principal={"CanonicalUser": BOB.id})
    for rules in ((allow, deny), (deny, allow)):
        assert outcome(OTHER, O.DELETE_OBJECT, KEY, policy(*rules), canned("public-read-write", ALICE)) is False
        assert outcome(ANONYMOUS, O.DELETE_OBJECT, KEY, policy(*rules)) is True


def test_variables_take_their_value_from_the_request() -> None:
    own = statement(Action="s3:PutObject", Resource="arn:aws:s3:::b/home/${aws:username}/*")
    values = {"aws__username": "bob"}
    assert allowed(OTHER, O.PUT_OBJECT, Resource("b", "home/bob/x"), own, **values)
    assert not allowed(OTHER, O.PUT_OBJECT, Resource("b", "home/alice/x"), own, **values)
    assert not allowed(ANONYMOUS, O.PUT_OBJECT, Resource("b", "home//x"), own)
    # A name that looks like a pattern is none.
    assert not allowed(OTHER, O.PUT_OBJECT, Resource("b", "home/alice/x"), own, aws__username="*")
    assert allowed(OTHER, O.PUT_OBJECT, Resource("b", "home/*/x"), own, aws__username="*")
    defaulted = statement(Action="s3:PutObject", Resource="arn:aws:s3:::b/home/${aws:username, 'guest'}/*")
    assert allowed(ANONYMOUS, O.PUT_OBJECT, Resource("b", "home/guest/x"), defaulted)
    star = statement(Action="s3:PutObject", Resource="arn:aws:s3:::b/${*}/*")
    assert allowed(OTHER, O.PUT_OBJECT, Resource("b", "*/x"), star)
    assert not allowed(OTHER, O.PUT_OBJECT, Resource("b", "d/x"), star)
    old = policy(own, version="2008-10-17")
    assert (
        outcome(OTHER, O.PUT_OBJECT, Resource("b", "home/bob/x"), old, context=Context({"aws:username": ("bob",)}))
        is False
    )


def test_who_may_learn_that_a_key_is_missing() -> None:
    listing = policy(statement(Action="s3:ListBucket"))
    for rules, acl, expected in (
        (None, "private", (True, False, False)),
        (None, "public-read", (True, True, True)),
        (listing, "private", (True, True, True)),
    ):
        acls = Acls(canned(acl, ALICE))
        assert tuple(may_list(who, "b", acls, rules, NONE) for who in EVERYONE) == expected


def test_reasons() -> None:
    def reason(caller: Caller, operation: Operation, rules: Policy | None = None) -> Decision:
        return decide(caller, operation, KEY, Acls(canned("public-read-write", ALICE)), rules, NONE)

    assert reason(OWNER, O.PUT_OBJECT) == Decision(True, Reason.ACL)
    assert reason(OWNER, O.ABORT_MULTIPART_UPLOAD) == Decision(True, Reason.OWNER)
    assert reason(OTHER, O.PUT_OBJECT) == Decision(True, Reason.ACL)
    assert reason(OTHER, O.GET_OBJECT) == Decision(None, Reason.STORE)
    assert reason(OTHER, O.GET_OBJECT, policy(statement())) == Decision(True, Reason.POLICY_ALLOW)
    assert reason(OWNER, O.GET_OBJECT, policy(statement(Effect="Deny"))) == Decision(False, Reason.POLICY_DENY)
    assert reason(OTHER, O.PUT_OBJECT_TAGGING) == Decision(False, Reason.NOTHING)


operations = st.sampled_from(sorted((at for at in SERVED if at is not O.PREFLIGHT), key=lambda at: at.value))
callers = st.sampled_from(EVERYONE)
actions = st.sampled_from(["s3:*", "s3:GetObject", "s3:Put*", "s3:ListBucket", "s3:DeleteObject", "*"])
statements = st.builds(
    lambda effect, principal, action: statement(Effect=effect, Principal=principal, Action=action),
    st.sampled_from(["Allow", "Deny"]),
    st.sampled_from(["*", {"CanonicalUser": BOB.id}, {"AWS": OWNER.arn}]),
    actions,
)
acls = st.sampled_from(["private", "public-read", "public-read-write", "authenticated-read"])


def resource_of(operation: Operation) -> Resource:
    return KEY if need_of(operation.value).on is On.OBJECT else BUCKET


@given(callers, operations, st.lists(statements, min_size=1, max_size=4), statements, acls)
def test_another_deny_never_allows_and_another_allow_never_denies(
    caller: Caller, operation: Operation, rules: list[dict[str, Any]], more: dict[str, Any], acl: str
) -> None:
    before = outcome(caller, operation, resource_of(operation), policy(*rules), canned(acl, ALICE))
    after = outcome(caller, operation, resource_of(operation), policy(*rules, more), canned(acl, ALICE))
    worth = {False: 0, None: 1, True: 2}
    if more["Effect"] == "Deny":
        assert worth[after] <= worth[before]
    else:
        assert worth[after] >= worth[before]


@given(callers, operations, acls)
def test_i8_a_policy_that_is_not_about_the_caller_changes_nothing(
    caller: Caller, operation: Operation, acl: str
) -> None:
    other = policy(
        statement(Principal={"CanonicalUser": "d" * 64}), statement(Effect="Deny", Principal={"AWS": "3" * 12})
    )
    where = resource_of(operation)
    assert outcome(caller, operation, where, other, canned(acl, ALICE)) == outcome(
        caller, operation, where, None, canned(acl, ALICE)
    )


@given(operations)
def test_i8_nobody_gets_anything_of_a_private_bucket(operation: Operation) -> None:
    for caller in (OTHER, ANONYMOUS):
        found = outcome(caller, operation, resource_of(operation), object_acl=canned("private", ALICE))
        assert found is (need_of(operation.value).on is On.SERVICE and not caller.anonymous)


def test_public_policies() -> None:
    assert is_public(policy(statement()))
    assert is_public(policy(statement(Principal=None, NotPrincipal={"AWS": OTHER.arn})))
    assert not is_public(policy(statement(Principal={"AWS": OTHER.arn})))
    assert not is_public(policy(statement(Effect="Deny")))
    assert not is_public(policy(statement(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})))
    assert is_public(policy(statement(Condition={"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}})))
    assert is_public(policy(statement(Condition={"StringLike": {"aws:Referer": "http://a/"}})))


def test_the_context_of_a_request() -> None:
    context = context_of(
        OTHER, {"user-agent": "boto", "x-amz-acl": "private"}, (("prefix", "d/"), ("versionId", "v")),
        source_ip="10.0.0.7", secure=True, now=1795384309.5, auth_type="REST-HEADER",
        signature_version="AWS4-HMAC-SHA256", existing_tags={"Team": "x"}, request_tags={"a": "1", "b": "2"},
    )  # fmt: skip
    assert context.values == {
        "aws:sourceip": ("10.0.0.7",), "aws:securetransport": ("true",), "aws:currenttime": ("2026-11-22T21:51:49Z",),
        "aws:epochtime": ("1795384309",), "aws:principaltype": ("User",), "aws:userid": (BOB.id,),
        "aws:username": ("bob",), "aws:principalarn": (OTHER.arn,), "aws:principalaccount": ("222222222222",),
        "aws:useragent": ("boto",), "s3:x-amz-acl": ("private",), "s3:prefix": ("d/",), "s3:versionid": ("v",),
        "s3:authtype": ("REST-HEADER",), "s3:signatureversion": ("AWS4-HMAC-SHA256",),
        "s3:existingobjecttag/team": ("x",), "s3:requestobjecttag/a": ("1",), "s3:requestobjecttag/b": ("2",),
        "s3:requestobjecttagkeys": ("a", "b"),
    }  # fmt: skip
