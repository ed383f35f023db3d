"""What every Catalog promises. Subclasses give `make`, which builds an opened catalog."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.copies import Copy
from controlplane.model.keys import Bucket, Key, StoreName, blob_key
from controlplane.model.manifest import Location, LocationState, Manifest
from controlplane.ports.catalog import Catalog, Quarantined
from controlplane.ports.errors import Conflict, Unavailable

Make = Callable[[], Awaitable[Catalog]]

NEAR, FAR, THIRD = StoreName("primary"), StoreName("persistent"), StoreName("third")


def content(name: str) -> Content:
    data = name.encode()
    return Content(Md5(hashlib.md5(data).hexdigest()), Sha256(hashlib.sha256(data).hexdigest()), len(data))


def at(store: StoreName, what: Content, state: LocationState = LocationState.MIRRORED, etag: str = "e") -> Location:
    return Location(store, Bucket("b"), blob_key(what.md5), state, etag, 12.25)


def manifest(name: str, *stores: StoreName) -> Manifest:
    what = content(name)
    return Manifest(what, 'text/plain; charset="ü"', 1.125, tuple(at(store, what) for store in stores))


class CatalogSuite:
    @pytest.fixture
    def make(self) -> Make:
        raise NotImplementedError

    @pytest.fixture
    async def catalog(self, make: Make) -> AsyncIterator[Catalog]:
        catalog = await make()
        yield catalog
        await catalog.aclose()

    async def test_a_manifest_comes_back_as_it_was_recorded(self, catalog: Catalog) -> None:
        odd = Location(THIRD, Bucket("b"), Key("elsewhere/ü\x00"), LocationState.PENDING)
        recorded = replace(manifest("a", NEAR, FAR), deleted_at=3.5).with_location(odd)
        assert await catalog.get(recorded.guid) is None
        assert await catalog.by_sha256(recorded.content.sha256) is None
        await catalog.record(recorded)
        assert await catalog.get(recorded.guid) == recorded
        assert await catalog.by_sha256(recorded.content.sha256) == recorded
        assert await catalog.by_sha256(Sha256("")) is None

    async def test_record_replaces_all_but_the_stores_it_does_not_name(self, catalog: Catalog) -> None:
        first = manifest("a", NEAR, FAR)
        await catalog.record(first)
        moved = at(FAR, first.content, LocationState.FAILED)
        extra = at(THIRD, first.content)
        await catalog.record(replace(first, content_type="x/y", created_at=9.0, locations=(extra, moved)))
        known = await catalog.get(first.guid)
        assert known == replace(
            first, content_type="x/y", created_at=9.0, locations=(extra, moved, at(NEAR, first.content))
        )
        assert (await catalog.counts(FAR))[LocationState.FAILED] == 1
        assert (await catalog.counts(FAR))[LocationState.MIRRORED] == 0

    @pytest.mark.parametrize("change", [{"sha256": Sha256("0" * 64)}, {"size": 99}])
    async def test_another_content_under_a_guid_is_a_conflict(
        self, catalog: Catalog, change: dict[str, object]
    ) -> None:
        first = manifest("a", NEAR)
        other = replace(first, content=replace(first.content, **change), content_type="other", locations=())
        await catalog.record(first)
        answers = await asyncio.gather(
            catalog.record(other), catalog.record(manifest("b", NEAR)), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [Conflict, type(None)]
        assert await catalog.get(first.guid) == first
        assert (await catalog.counts(NEAR))[LocationState.MIRRORED] == 2

    async def test_a_tombstone_is_lifted_by_a_new_write_even_of_another_content(self, catalog: Catalog) -> None:
        first = manifest("a", NEAR)
        await catalog.record(first)
        await catalog.entomb(first.guid, 50.0)
        assert await catalog.get(first.guid) == replace(first, deleted_at=50.0)
        other = replace(first, content=replace(first.content, sha256=Sha256("0" * 64)))
        await catalog.record(other)
        assert await catalog.get(first.guid) == other
        assert await catalog.by_sha256(first.content.sha256) is None

    async def test_an_unknown_guid_gets_a_bare_tombstone(self, catalog: Catalog) -> None:
        what = content("never seen")
        await catalog.entomb(what.md5, 50.0)
        bare = await catalog.get(what.md5)
        assert bare is not None
        assert (bare.content, bare.deleted_at, bare.locations) == (Content(what.md5, Sha256(""), 0), 50.0, ())
        await catalog.record(manifest("never seen", NEAR))
        assert await catalog.get(what.md5) == manifest("never seen", NEAR)

    async def test_set_locations_upserts_and_ignores_unknown_guids(self, catalog: Catalog) -> None:
        one, two = manifest("one", NEAR, FAR), manifest("two")
        await catalog.record(one)
        await catalog.record(two)
        copying = at(NEAR, one.content, LocationState.COPYING)
        await catalog.set_locations(
            [
                (one.guid, at(NEAR, one.content, LocationState.PENDING)),
                (content("unknown").md5, at(NEAR, content("unknown"))),
                (two.guid, at(FAR, two.content)),
                (one.guid, copying),
            ]
        )
        await catalog.set_locations([])
        assert await catalog.get(one.guid) == replace(one, locations=(copying, at(FAR, one.content)))
        assert await catalog.get(two.guid) == replace(two, locations=(at(FAR, two.content),))
        assert await catalog.get(content("unknown").md5) is None
        assert await catalog.counts(NEAR) == {state: int(state is LocationState.COPYING) for state in LocationState}

    async def test_forget_removes_the_row_and_its_locations(self, catalog: Catalog) -> None:
        known = manifest("a", NEAR)
        await catalog.record(known)
        await catalog.forget(known.guid)
        await catalog.forget(known.guid)
        assert await catalog.get(known.guid) is None
        assert await catalog.by_sha256(known.content.sha256) is None
        assert not any((await catalog.counts(NEAR)).values())

    async def test_list_pages_in_order_of_guid_with_tombstones(self, catalog: Catalog) -> None:
        everything = sorted((manifest(str(n), NEAR) for n in range(25)), key=lambda m: m.guid)
        await asyncio.gather(*(catalog.record(m) for m in reversed(everything)))
        await catalog.entomb(everything[3].guid, 8.0)
        everything[3] = replace(everything[3], deleted_at=8.0)
        seen: list[Manifest] = []
        while page := await catalog.list(seen[-1].guid if seen else None, 10):
            seen += page
        assert seen == everything
        assert list(await catalog.list(limit=0)) == []

    async def test_quarantine_remembers_a_content_once(self, catalog: Catalog) -> None:
        late = Quarantined(content("late"), 9.0, kept=False)
        early = Quarantined(replace(late.content, sha256=Sha256("1" * 64)), 2.0, kept=True)
        for entry in (late, early, replace(late, at=1.0, kept=True)):
            await catalog.quarantine(entry)
        assert list(await catalog.quarantined()) == [early, late]

    async def test_copies_of_objects_come_back_in_order_of_their_keys_bytes(self, catalog: Catalog) -> None:
        b = Bucket("b")
        odd = [Key(name) for name in ("", "A", "a", "a\x00", "a/b", "a\uffff", "a\U0001f600", "z", "é", "\uffee")]
        rows = [Copy(key, f"source-{n}-2", 10**12 + n, 1_700_000_000 + n, f"target-{n}") for n, key in enumerate(odd)]
        expected = sorted(rows, key=lambda row: row.key.encode())
        await catalog.record_copies(FAR, b, rows[::-1])
        await catalog.record_copies(FAR, b, [])
        assert list(await catalog.copies(FAR, b)) == expected
        pages: list[Copy] = []
        while page := await catalog.copies(FAR, b, after=pages[-1].key if pages else None, limit=3):
            pages += page
        assert pages == expected
        assert list(await catalog.copies(FAR, b, after=Key("a"), until=Key("z"))) == [
            row for row in expected if b"a" < row.key.encode() <= b"z"
        ]
        assert list(await catalog.copies(FAR, b, limit=0)) == []

    async def test_copies_belong_to_one_bucket_at_one_target(self, catalog: Catalog) -> None:
        row = Copy(Key("k"), "e", 1, 2, "t")
        await catalog.record_copies(FAR, Bucket("b"), [row])
        for store, bucket in ((FAR, Bucket("b2")), (THIRD, Bucket("b"))):
            assert list(await catalog.copies(store, bucket)) == []
            await catalog.forget_copies(store, bucket, [row.key])
        assert list(await catalog.copies(FAR, Bucket("b"))) == [row]
        await catalog.forget_copies(FAR, Bucket("b"), [Key("unknown"), row.key])
        await catalog.forget_copies(FAR, Bucket("b"), [])
        assert list(await catalog.copies(FAR, Bucket("b"))) == []

    async def test_copies_are_found_by_their_keys(self, catalog: Catalog) -> None:
        b = Bucket("b")
        rows = {Key(name): Copy(Key(name), "e", 1, 2, f"t-{name}") for name in ("a", "a/b", "é", "a\x00", "z")}
        await catalog.record_copies(FAR, b, list(rows.values()))
        await catalog.record_copies(THIRD, b, [rows[Key("z")]._replace(target_etag="there")])
        newer = rows[Key("a")]._replace(target_etag="newer")
        await catalog.record_copies(FAR, b, [newer])
        await catalog.forget_copies(FAR, b, [Key("z")])
        found = await catalog.copies_of(FAR, b, [Key("a"), Key("é"), Key("unknown"), Key("z"), Key("a\x00")])
        assert dict(found) == {Key("a"): newer, **{key: rows[key] for key in (Key("é"), Key("a\x00"))}}
        assert dict(await catalog.copies_of(FAR, b, [])) == {}

    async def test_the_newest_record_of_a_copy_counts(self, catalog: Catalog) -> None:
        b = Bucket("b")
        first = Copy(Key("k"), "e", 1, 2, "t")
        gone = first._replace(absent_since=12.5)
        await catalog.record_copies(FAR, b, [first, Copy(Key("l"), "e", 1, 2, "t")])
        await catalog.record_copies(FAR, b, [first._replace(size=9), gone])
        assert list(await catalog.copies(FAR, b, absent=True)) == [gone]
        await catalog.record_copies(FAR, b, [first])
        assert list(await catalog.copies(FAR, b, absent=True)) == []
        assert [copy.key for copy in await catalog.copies(FAR, b)] == ["k", "l"]

    async def test_after_aclose_it_is_unavailable(self, make: Make) -> None:
        catalog = await make()
        await catalog.aclose()
        await catalog.aclose()
        known = manifest("a", NEAR)
        for call in (
            lambda: catalog.get(known.guid),
            lambda: catalog.by_sha256(known.content.sha256),
            lambda: catalog.record(known),
            lambda: catalog.set_locations([(known.guid, known.locations[0])]),
            lambda: catalog.entomb(known.guid, 1.0),
            lambda: catalog.forget(known.guid),
            catalog.list,
            lambda: catalog.counts(NEAR),
            lambda: catalog.quarantine(Quarantined(known.content, 1.0, kept=True)),
            catalog.quarantined,
            lambda: catalog.record_copies(FAR, Bucket("b"), [Copy(Key("k"), "e", 1, 2, "t")]),
            lambda: catalog.copies(FAR, Bucket("b")),
            lambda: catalog.forget_copies(FAR, Bucket("b"), [Key("k")]),
        ):
            with pytest.raises(Unavailable):
                await call()
