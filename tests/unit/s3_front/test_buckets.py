"""What a bucket allows: read with keys that may, kept briefly, forgotten when changed; outages are no answers (I5)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

import pytest

from controlplane.adapters.change_board import ChangeBoard, create_board
from controlplane.adapters.memory.object_store import MemoryObjectStore
from controlplane.model.keys import StoreName
from controlplane.ports.accounts import Account
from controlplane.ports.errors import NotFound, Unavailable
from controlplane.ports.upstream import Ask, KeyPair
from controlplane.s3.access.acl import canned
from controlplane.s3.access.acl_xml import render_acl
from controlplane.s3.access.principals import User
from controlplane.s3.error_xml import ErrorDocument
from controlplane.s3.fault import Code, S3Fault
from controlplane.services.s3.buckets import Buckets, Versioning
from controlplane.services.s3.callers import Callers
from controlplane.services.s3.subresources import Subresources
from tests.support.virtual_time import VirtualClock

KEEP_S = 5.0
ADMIN = KeyPair("ADMIN", "s")
ALICE = Account(KeyPair("ALICE", "s"), "a" * 64, "alice", enabled=True, buckets=frozenset({"bucket"}))
BOB = Account(KeyPair("BOB", "s"), "b" * 64, "bob", enabled=True)
ALLOW = b"""{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"}]}"""


class Answer:
    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.headers = {"content-length": str(len(body))}
        self._body = body

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body

    async def read_all(self, limit: int) -> bytes:
        return await self.read()

    def close(self) -> None: ...


def error(status: int, code: str) -> Answer:
    return Answer(status, ErrorDocument(code).render())


class RiakCs:
    """One bucket of alice's, as Riak CS tells of it: its policy closes it to everybody else."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.policy: bytes | None = None
        self.versioning = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
        self.canned = "private"
        self.down = False
        self.asked: list[tuple[str, str]] = []

    async def send(self, ask: Ask) -> Answer:
        who = ask.signer.access_key if ask.signer is not None else ""
        what = ask.query[0][0]
        self.asked.append((who, what))
        await self.clock.sleep(0.1)
        if self.down:
            return error(503, "ServiceUnavailable")
        if ask.bucket != "bucket":
            return error(404, "NoSuchBucket")
        if self.policy is not None and who != "ALICE":
            return error(403, "AccessDenied")
        match what:
            case "acl":
                return Answer(200, render_acl(canned(self.canned, User(ALICE.id, "alice"))))
            case "policy":
                return error(404, "NoSuchBucketPolicy") if self.policy is None else Answer(200, self.policy)
            case _:
                return Answer(200, self.versioning) if who == "ALICE" else Answer(500, b"<html>oops</html>")

    async def check(self) -> None: ...

    async def aclose(self) -> None: ...


class Users:
    def __init__(self) -> None:
        self.all_users: tuple[Account, ...] = (ALICE, BOB)

    async def by_key(self, access_key: str) -> Account:
        raise NotFound(access_key)

    async def all(self) -> Sequence[Account]:
        return self.all_users

    async def aclose(self) -> None: ...


@pytest.fixture
def riak_cs(clock: VirtualClock) -> RiakCs:
    return RiakCs(clock)


@pytest.fixture
def users() -> Users:
    return Users()


@pytest.fixture
def buckets(riak_cs: RiakCs, users: Users, clock: VirtualClock) -> Buckets:
    documents = Subresources(MemoryObjectStore(StoreName("documents"), clock=clock), clock, KEEP_S)
    return Buckets(riak_cs, Callers(users, clock, 60), documents, ADMIN, clock, KEEP_S)


async def test_the_owner_asks_for_himself_and_many_ask_once(buckets: Buckets, riak_cs: RiakCs) -> None:
    found = await asyncio.gather(*(buckets.facts("bucket", ALICE) for _ in range(20)))
    assert found[0].acl.owner.id == ALICE.id
    assert found[0].policy is None
    assert found[0].versioning is Versioning.SUSPENDED
    assert sorted(riak_cs.asked) == [("ALICE", "acl"), ("ALICE", "policy"), ("ALICE", "versioning")]


@pytest.mark.parametrize("asker", [BOB, None], ids=["bob", "nobody"])
async def test_a_policy_of_riak_cs_that_closes_the_bucket_is_read_as_its_owner(
    asker: Account | None, buckets: Buckets, riak_cs: RiakCs
) -> None:
    riak_cs.policy = ALLOW
    found = await buckets.facts("bucket", asker)
    assert found.policy is not None
    assert not found.policy_unreadable
    assert ("ALICE", "policy") in riak_cs.asked


async def test_a_policy_that_nobody_here_understands_is_not_taken_for_none(buckets: Buckets, riak_cs: RiakCs) -> None:
    riak_cs.policy = b'{"Version": "2099-01-01"}'
    found = await buckets.facts("bucket", ALICE)
    assert found.policy is None
    assert found.policy_unreadable


async def test_changes_elsewhere_count_within_the_time_and_those_here_at_once(
    buckets: Buckets, riak_cs: RiakCs, clock: VirtualClock
) -> None:
    assert not (await buckets.facts("bucket", ALICE)).acl.public
    riak_cs.canned = "public-read"
    assert not (await buckets.facts("bucket", ALICE)).acl.public
    await clock.sleep(KEEP_S)
    assert (await buckets.facts("bucket", ALICE)).acl.public
    riak_cs.canned = "private"
    buckets.forget("bucket")
    assert not (await buckets.facts("bucket", ALICE)).acl.public


async def test_what_was_looked_up_while_it_changed_is_not_kept(
    buckets: Buckets, riak_cs: RiakCs, clock: VirtualClock
) -> None:
    looking = asyncio.create_task(buckets.facts("bucket", ALICE))
    await clock.sleep(0.15)  # the ACL has been read as it was
    riak_cs.canned = "public-read"
    buckets.forget("bucket")
    await looking
    assert (await buckets.facts("bucket", ALICE)).acl.public


async def test_i5_an_outage_is_neither_no_such_bucket_nor_kept(buckets: Buckets, riak_cs: RiakCs) -> None:
    riak_cs.down = True
    with pytest.raises(Unavailable):
        await buckets.facts("bucket", ALICE)
    riak_cs.down = False
    assert await buckets.facts("bucket", ALICE)


async def test_no_such_bucket_is_said_and_not_kept(buckets: Buckets) -> None:
    with pytest.raises(S3Fault) as refused:
        await buckets.facts("other", ALICE)
    assert refused.value.code is Code.NO_SUCH_BUCKET
    assert buckets.known("other") is None


async def test_a_bucket_whose_owner_is_gone_is_still_looked_at(buckets: Buckets, users: Users) -> None:
    users.all_users = (BOB,)
    found = await buckets.facts("bucket", BOB)
    assert found.acl.owner.id == ALICE.id
    assert found.versioning is Versioning.NEVER


async def test_changes_by_another_process_of_the_node_count_at_once(
    riak_cs: RiakCs, users: Users, clock: VirtualClock
) -> None:
    fd = create_board()
    boards = [ChangeBoard(fd), ChangeBoard(fd)]
    os.close(fd)
    documents = Subresources(MemoryObjectStore(StoreName("documents"), clock=clock), clock, KEEP_S)
    one, two = (Buckets(riak_cs, Callers(users, clock, 60), documents, ADMIN, clock, KEEP_S, board) for board in boards)
    assert not (await two.facts("bucket", ALICE)).acl.public
    looking = asyncio.create_task(two.facts("bucket", BOB))
    riak_cs.canned = "public-read"
    await clock.sleep(0.01)
    one.forget("bucket")
    assert two.known("bucket") is None
    assert (await two.facts("bucket", ALICE)).acl.public
    await looking
    assert (await two.facts("bucket", ALICE)).acl.public
    for board in boards:
        board.close()
