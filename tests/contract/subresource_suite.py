"""What Subresources promise over any store."""

from __future__ import annotations

from hashlib import sha256

import pytest

from controlplane.adapters.system_clock import SystemClock
from controlplane.model.keys import Key
from controlplane.ports.errors import Corrupt
from controlplane.ports.object_store import ObjectStore
from controlplane.s3.checksums import Algorithm, ChecksumType
from controlplane.s3.documents.checksum_elements import StoredChecksum
from controlplane.s3.documents.object_attributes import ObjectPart
from controlplane.s3.documents.object_extras import NOTHING, ObjectExtras
from controlplane.services.s3.subresources import Kind, Subresources

CHECKSUM = StoredChecksum(Algorithm.CRC32C, "yZRlqg==-2", ChecksumType.COMPOSITE)
EXTRAS = ObjectExtras(
    (("colour", "blue"), ("größe", "")), CHECKSUM, (ObjectPart(1, 5, CHECKSUM), ObjectPart(7, 0, None))
)


class SetClock(SystemClock):
    """Its time passes when a test says so."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> float:
        return 1_750_000_000.0 + self.passed

    def monotonic(self) -> float:
        return self.passed


class SubresourceContract:
    """Subclasses give the fixture `store`: an empty private bucket."""

    @pytest.fixture
    def time(self) -> SetClock:
        return SetClock()

    @pytest.fixture
    def kept(self, store: ObjectStore, time: SetClock) -> Subresources:
        return Subresources(store, time, keep_s=5)

    async def test_a_bucket_document_is_read_back_replaced_and_deleted(self, kept: Subresources) -> None:
        assert await kept.bucket_document("b", Kind.CORS) is None
        await kept.put_bucket_document("b", Kind.CORS, b"<One/>")
        await kept.put_bucket_document("b", Kind.TAGGING, b"<Tags/>")
        assert await kept.bucket_document("b", Kind.CORS) == b"<One/>"
        await kept.put_bucket_document("b", Kind.CORS, b"<Two/>")
        assert await kept.bucket_document("b", Kind.CORS) == b"<Two/>"
        assert await kept.bucket_document("c", Kind.CORS) is None
        await kept.delete_bucket_document("b", Kind.CORS)
        await kept.delete_bucket_document("b", Kind.CORS)
        assert await kept.bucket_document("b", Kind.CORS) is None
        assert await kept.bucket_document("b", Kind.TAGGING) == b"<Tags/>"

    async def test_what_another_gateway_changes_counts_within_keep_s(
        self, store: ObjectStore, kept: Subresources, time: SetClock
    ) -> None:
        other = Subresources(store, time, keep_s=5)
        assert await kept.bucket_document("b", Kind.LIFECYCLE) is None
        await other.put_bucket_document("b", Kind.LIFECYCLE, b"<L/>")
        time.passed += 5
        assert await kept.bucket_document("b", Kind.LIFECYCLE) == b"<L/>"
        await other.delete_bucket_document("b", Kind.LIFECYCLE)
        time.passed += 5
        assert await kept.bucket_document("b", Kind.LIFECYCLE) is None

    async def test_a_document_is_not_of_the_next_owner_of_the_name(
        self, store: ObjectStore, kept: Subresources
    ) -> None:
        await kept.put_bucket_document("b", Kind.POLICY, b"{}", owner="a" * 64)
        for reader in (kept, Subresources(store, SetClock(), keep_s=5)):
            assert await reader.bucket_document("b", Kind.POLICY, owner="a" * 64) == b"{}"
            assert await reader.bucket_document("b", Kind.POLICY) == b"{}"
            assert await reader.bucket_document("b", Kind.POLICY, owner="b" * 64) is None

    async def test_a_fresh_look_sees_what_another_gateway_did_a_moment_ago(
        self, store: ObjectStore, kept: Subresources, time: SetClock
    ) -> None:
        await kept.put_bucket_document("b", Kind.POLICY, b"{1}")
        await Subresources(store, time, keep_s=5).put_bucket_document("b", Kind.POLICY, b"{2}")
        assert await kept.bucket_document("b", Kind.POLICY) == b"{1}"
        assert await kept.bucket_document("b", Kind.POLICY, fresh=True) == b"{2}"
        assert await kept.bucket_document("b", Kind.POLICY) == b"{2}"

    @pytest.mark.parametrize("key", ["k", "a/b//c", "/lead", "c\x01\r\n", "ü?&+%2F", "k" * 1024])
    async def test_extras_of_an_object_under_any_key(self, kept: Subresources, key: str) -> None:
        assert await kept.extras("b", key, "e1") == NOTHING
        await kept.keep_extras("b", key, "e1", EXTRAS)
        assert await kept.extras("b", key, "e1") == EXTRAS
        assert await kept.extras("b", key + "x", "e1") == NOTHING
        await kept.keep_extras("b", key, "e1", NOTHING)
        assert await kept.extras("b", key, "e1") == NOTHING

    async def test_an_overwrite_drops_the_extras_of_the_former_object(self, kept: Subresources) -> None:
        await kept.keep_extras("b", "k", "etag-1 at 10:00", EXTRAS)
        assert await kept.extras("b", "k", "etag-2 at 10:00") == NOTHING
        assert await kept.extras("b", "k", "etag-1 at 10:01") == NOTHING
        assert await kept.extras("b", "k", "etag-1 at 10:00") == EXTRAS

    async def test_extras_go_with_the_object(self, store: ObjectStore, kept: Subresources) -> None:
        await kept.keep_extras("b", "k", "e", EXTRAS)
        await kept.forget_object("b", "k")
        assert await kept.extras("b", "k", "e") == NOTHING
        assert (await store.list(prefix="o/")).objects == ()

    async def test_who_asks_for_tags_gets_those_written_by_another_gateway_a_moment_ago(
        self, store: ObjectStore, kept: Subresources, time: SetClock
    ) -> None:
        assert await kept.extras("b", "k", "e") == NOTHING
        await Subresources(store, time, keep_s=5).keep_extras("b", "k", "e", EXTRAS)
        assert await kept.extras("b", "k", "e", certain=True) == EXTRAS
        time.passed += 5
        assert await kept.extras("b", "k", "e") == EXTRAS

    async def test_nothing_outlives_its_bucket(self, store: ObjectStore, kept: Subresources) -> None:
        for kind in (Kind.TAGGING, Kind.CORS, Kind.LIFECYCLE):
            await kept.put_bucket_document("b", kind, b"<X/>")
            await kept.put_bucket_document("bb", kind, b"<X/>")
        for n in range(3):
            await kept.keep_extras("b", f"k{n}", "e", EXTRAS)
        await kept.keep_extras("bb", "k", "e", EXTRAS)
        await kept.forget_bucket("b")
        for kind in Kind:
            assert await kept.bucket_document("b", kind) is None
        left = [at.key for at in (await store.list()).objects]
        assert left == [
            "b/cors/bb", "b/lifecycle/bb", "b/objects/bb", "b/tagging/bb", f"o/bb/{sha256(b'k').hexdigest()}",
        ]  # fmt: skip
        await kept.forget_bucket("b")

    async def test_buckets_are_found_by_what_they_have(self, kept: Subresources) -> None:
        for bucket in ("b1", "a.b", "c"):
            await kept.put_bucket_document(bucket, Kind.LIFECYCLE, b"<L/>")
        await kept.put_bucket_document("d", Kind.CORS, b"<C/>")
        assert [bucket async for bucket in kept.buckets_with(Kind.LIFECYCLE)] == ["a.b", "b1", "c"]
        assert [bucket async for bucket in kept.buckets_with(Kind.TAGGING)] == []

    async def test_a_damaged_record_is_told_and_not_taken_for_none(
        self, store: ObjectStore, kept: Subresources
    ) -> None:
        await kept.keep_extras("b", "k", "e", EXTRAS)
        at = Key(f"o/b/{sha256(b'k').hexdigest()}")
        for damaged in (b"", b"{", b"[]", b'{"format": 2}', b'{"format":1,"key":"k","identity":"e","tags":3}'):
            await store.put(at, damaged)
            with pytest.raises(Corrupt, match="cannot be read"):
                await kept.extras("b", "k", "e")
