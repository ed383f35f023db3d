"""Both digests of what passes, however it is cut."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from controlplane.cli.digests import Digester


@given(st.lists(st.binary(min_size=1, max_size=64), max_size=12))
def test_the_digests_are_those_of_the_whole(blocks: list[bytes]) -> None:
    whole = b"".join(blocks)
    with Digester() as digester:
        for block in blocks:
            digester.update(block)
        found = digester.content()
    assert found.md5 == hashlib.md5(whole).hexdigest()
    assert found.sha256 == hashlib.sha256(whole).hexdigest()
    assert found.size == len(whole)


def test_leaving_early_ends_the_threads() -> None:
    import threading

    before = threading.active_count()
    with Digester() as digester:
        for _ in range(20):
            digester.update(b"x" * 1000)
    assert threading.active_count() == before
