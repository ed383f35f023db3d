"""Doctor says what a store makes of conditions."""

from __future__ import annotations

import pytest

from controlplane.cli.doctor import Health
from controlplane.cli.doctor_conditions import CREATE, DELETE, REPLACE, ignored_by, judged
from controlplane.model.keys import Key, StoreName
from controlplane.ports.object_store import Body, ObjectInfo
from tests.support.fakes import FakeStore
from tests.support.virtual_time import VirtualClock

K = Key("probe")


class Careless(FakeStore):
    """Looks only at these conditions."""

    looks_at: frozenset[str] = frozenset()

    async def put(self, key: Key, body: Body, **options: object) -> ObjectInfo:  # type: ignore[override]
        heeded = {name: value for name, value in options.items() if name in self.looks_at}
        return await super().put(key, body, **heeded)  # type: ignore[arg-type]

    async def delete(self, key: Key, *, if_match: str | None = None) -> None:
        await super().delete(key, if_match=if_match if "delete" in self.looks_at else None)


@pytest.mark.parametrize(
    ("looks_at", "ignored", "health"),
    [
        ({"if_absent", "if_match", "delete"}, [], Health.OK),
        ({"if_absent", "if_match"}, [DELETE], Health.OK),
        ({"if_absent", "delete"}, [REPLACE], Health.WARN),
        (set(), [CREATE, REPLACE, DELETE], Health.WARN),
    ],
)
async def test_what_a_store_ignores_is_said(
    clock: VirtualClock, looks_at: set[str], ignored: list[str], health: Health
) -> None:
    store = Careless(StoreName("far"), clock=clock)
    store.looks_at = frozenset(looks_at)
    await store.put(K, b"what doctor put")
    assert await ignored_by(store, K) == ignored
    finding = judged("persistent store", "it works", ignored)
    assert finding.health is health
    for name in ignored:
        assert name in finding.found
    assert finding.advice if health is Health.WARN else not finding.advice
