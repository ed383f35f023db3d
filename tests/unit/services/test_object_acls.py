"""ACLs beside copies: noted, carried where they mean the same at the target, counted where they do not; never wider."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.model.copy_record import MOST_METADATA_BYTES, CopyRecord, decode_copy_record
from controlplane.model.keys import Bucket, Key
from controlplane.model.mirror_rules import AclCarried, MirrorRule
from controlplane.ports.errors import NotFound, Rejected, Unavailable
from controlplane.s3.access.acl import Acl, Grant, Permission, canned
from controlplane.s3.access.acl_note import CARRIED, note_of
from controlplane.s3.access.acl_xml import render_acl
from controlplane.s3.access.principals import ALL_USERS, AUTHENTICATED_USERS, LOG_DELIVERY, Group, User
from controlplane.services.object_acls import ObjectAcls
from tests.support.object_node import OWNER as PAIR
from tests.support.object_node import B, ObjectNode
from tests.support.virtual_time import VirtualClock

OWNER, OTHER = User("0" * 64, "owner"), User("1" * 64, "other")
GRANTS = st.lists(
    st.builds(
        Grant,
        st.sampled_from([OWNER, OTHER, Group(ALL_USERS), Group(AUTHENTICATED_USERS), Group(LOG_DELIVERY)]),
        st.sampled_from(Permission),
    ),
    unique=True,
    max_size=12,
)


@given(GRANTS, st.randoms())
def test_a_note_says_who_may_do_what_whatever_the_order(grants: list[Grant], random: object) -> None:
    shuffled = sorted(grants, key=lambda grant: hash((grant, id(random))))
    note = note_of(Acl(OWNER, tuple(grants)))
    assert note == note_of(Acl(OWNER, tuple(shuffled)))
    assert note.isascii()
    assert note.isprintable()
    said = set(grants)
    for name in CARRIED:
        # A canned name is said only of exactly that ACL: the copy is never open to more people.
        assert (note == name) == (said == set(canned(name, OWNER).grants))


@given(GRANTS, GRANTS)
def test_other_grants_have_another_note(one: list[Grant], other: list[Grant]) -> None:
    if set(one) != set(other):
        assert note_of(Acl(OWNER, tuple(one))) != note_of(Acl(OWNER, tuple(other)))


def test_a_long_list_is_a_digest_and_leaves_room() -> None:
    many = tuple(Grant(User(f"{n:064x}", ""), Permission.READ) for n in range(100))
    note = note_of(Acl(OWNER, many))
    assert note.startswith("left:")
    assert note != note_of(Acl(OWNER, many[1:]))
    encoded = CopyRecord("e", 1.0, acl=note, tags=(("k", "v"),)).encoded()
    assert sum(len(name) + len(value) for name, value in encoded.items()) < MOST_METADATA_BYTES
    said = decode_copy_record(encoded)
    assert said is not None
    assert (said.acl, said.tags) == (note, (("k", "v"),))
    assert not said.is_same_version(CopyRecord("e", 1.0, tags=(("k", "v"),)))


class FakeAcls:
    """Implements AclStores for one bucket."""

    def __init__(self) -> None:
        self.all: dict[str, Acl] = {}
        self.put: list[tuple[str, str]] = []
        self.error: Exception | None = None

    def acls(self, bucket: Bucket) -> FakeAcls:
        assert bucket == B
        return self

    async def document(self, key: Key) -> bytes:
        return render_acl(self.all.get(key, canned("private", OWNER)))

    async def put_canned(self, key: Key, canned: str) -> None:
        if self.error is not None:
            raise self.error
        self.put.append((key, canned))


class World:
    def __init__(self, clock: VirtualClock, path: Path, carried: AclCarried, *, read_through: bool = False) -> None:
        self.node = ObjectNode(clock, path, MirrorRule("*", "", "t", acl=carried, read_through=read_through), bulk=True)
        self.source, self.target = FakeAcls(), FakeAcls()
        self.node.acls = ObjectAcls(self.source, {"t": self.target}, self.node.tally)
        self.node.mirror = self.node.new_mirror()

    async def note(self, key: str) -> str:
        said = decode_copy_record((await self.node.targets["t"].store(B).head(Key(key))).metadata)
        assert said is not None
        return said.acl


@pytest.fixture
def world(clock: VirtualClock, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    world = World(clock, tmp_path / "spool", getattr(request, "param", AclCarried.CANNED))
    yield world
    world.node.spool.close()


READER = Acl(OWNER, (Grant(OWNER, Permission.FULL_CONTROL), Grant(OTHER, Permission.READ)))


@pytest.mark.parametrize("world", list(AclCarried), indirect=True)
async def test_what_a_rule_says_becomes_of_them(world: World) -> None:
    carried = world.node.rules[0].acl
    world.source.all = {"public": canned("public-read", OWNER), "shared": READER}
    for key in ("public", "shared", "private"):
        await world.node.put(key, key.encode())
    await world.node.drain()
    notes = [await world.note(key) for key in ("public", "shared", "private")]
    if carried is AclCarried.NONE:
        assert notes == ["", "", ""]
    else:
        assert notes == ["public-read", f"grants:FULL_CONTROL={OWNER.id},READ={OTHER.id}", "private"]
    assert world.target.put == ([("public", "public-read")] if carried is AclCarried.CANNED else [])
    counted = {AclCarried.NONE: (0, 0), AclCarried.NOTE: (0, 2), AclCarried.CANNED: (1, 1)}[carried]
    assert (world.node.tally.acls_carried, world.node.tally.acls_noted) == counted


async def test_another_acl_of_the_same_bytes_makes_the_copy_anew_and_takes_the_old_one_away(world: World) -> None:
    etag = await world.node.put("a", b"x")
    world.source.all["a"] = canned("public-read", OWNER)
    await world.node.drain()
    world.source.all["a"] = canned("private", OWNER)
    await world.node.log.regranted(B, "a")
    puts = world.node.targets["t"].store(B).calls["put"]
    await world.node.drain(world.node.new_mirror())
    # A put is private anywhere.
    assert world.node.targets["t"].store(B).calls["put"] == puts + 1
    assert await world.note("a") == "private"
    assert world.target.put == [("a", "public-read")]
    assert etag == (await world.node.source.store(B).head(Key("a"))).etag


@pytest.mark.parametrize("world", [AclCarried.NONE], indirect=True)
async def test_a_rule_that_does_not_want_them_is_not_told(world: World) -> None:
    await world.node.log.regranted(B, "a")
    assert world.node.journal.open_tasks == []


async def test_a_target_that_has_no_acls_gets_the_copy_all_the_same(world: World) -> None:
    world.source.all["a"] = canned("public-read", OWNER)
    world.target.error = Rejected("AccessControlListNotSupported")
    await world.node.put("a", b"x")
    await world.node.drain()
    assert world.node.copies() == {"a": b"x"}
    assert await world.note("a") == "public-read"
    assert (world.node.tally.acls_noted, world.node.tally.buried) == (1, 0)


@pytest.mark.parametrize("error", [Unavailable("told to"), NotFound("lost again")])
async def test_i1_until_the_copy_has_it_the_entry_stays(world: World, error: Exception) -> None:
    world.source.all["a"] = canned("public-read", OWNER)
    world.target.error = error
    await world.node.put("a", b"x")
    for _ in range(20):
        await world.node.mirror.once()
    assert len(world.node.journal.open_tasks) == 1
    world.target.error = None
    await world.node.drain()
    assert world.target.put == [("a", "public-read")]
    assert world.node.targets["t"].store(B).calls["put"] == 1  # the bytes were there


@pytest.mark.parametrize("carried", list(AclCarried))
@pytest.mark.parametrize("noted", ["public-read", "private", "grants"])
async def test_what_is_put_back_has_the_acl_that_its_copy_carries(
    clock: VirtualClock, tmp_path: Path, carried: AclCarried, noted: str
) -> None:
    """In the PUT itself; what no canned ACL says comes back private, and so does all of a rule that only notes."""
    world = World(clock, tmp_path / "spool", carried, read_through=True)
    world.source.all["a"] = READER if noted == "grants" else canned(noted, OWNER)
    await world.node.put("a", b"x")
    await world.node.drain()
    world.node.lose("a")
    assert await world.node.through.bring_back(B, Key("a"), PAIR)
    (put,) = [ask for ask in world.node.upstream.asked if ask.method == "PUT"]
    given = "public-read" if carried is AclCarried.CANNED and noted == "public-read" else None
    assert put.headers.get("x-amz-acl") == given
    assert not any(name.startswith("x-amz-meta-millrace") for name in put.headers)
    world.node.spool.close()
