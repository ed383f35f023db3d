"""Keys to paths: injective, safe, and walked in the order of the keys' bytes."""

from __future__ import annotations

import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.adapters.filesystem.listing import walk
from controlplane.adapters.filesystem.names import FANNED, path_of
from controlplane.model.content import Guid
from controlplane.model.keys import Key, blob_key
from controlplane.ports.errors import Rejected

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
tricky = st.text(st.sampled_from("ab/.%+@=0-~é\U0001f600\0\n"), max_size=12)
long_component = st.builds(lambda a, n, b: a * n + b, st.sampled_from("aé%."), st.integers(70, 245), tricky)
keys = st.builds(
    lambda fan, rest: Key((fan + rest) or "x"),
    st.sampled_from(["", "", "blobs/", "tombstones/", "blobs", "blobs/0123456789abcdef0123456789abcdef"]),
    st.one_of(text, tricky, long_component),
).filter(lambda key: len(key.encode()) <= 1024)


@given(st.lists(keys, max_size=12, unique=True), st.one_of(text, tricky), keys)
def test_a_walk_finds_every_key_in_order(some: list[Key], prefix: str, after: Key) -> None:
    with tempfile.TemporaryDirectory() as top:
        for key in some:
            path = os.path.join(top, path_of(key))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        ordered = sorted(key.encode() for key in some)
        assert [(key, os.path.relpath(path, top)) for key, path in walk(top, b"", b"")] == [
            (key, path_of(Key(key.decode()))) for key in ordered
        ]
        assert [key for key, _ in walk(top, prefix.encode(), after.encode())] == [
            key for key in ordered if key.startswith(prefix.encode()) and key > after.encode()
        ]


@given(keys)
def test_a_path_stays_within_the_store_and_within_the_file_systems_names(key: Key) -> None:
    names = path_of(key).split("/")
    assert not {"", ".", ".."} & set(names)
    assert all(len(name) <= 255 and name.isascii() and "\0" not in name for name in names)


def test_blobs_are_fanned_out_by_their_guid() -> None:
    guid = Guid("d41d8cd98f00b204e9800998ecf8427e")
    assert path_of(blob_key(guid)) == f"blobs+/=d/=41/{guid}"
    assert "blobs/" in FANNED


@pytest.mark.parametrize("key", ["", "x" * 1025, "é" * 513, "\ud800"])
def test_what_cannot_be_a_key_is_rejected(key: str) -> None:
    with pytest.raises(Rejected):
        path_of(Key(key))


def test_files_of_others_are_not_listed(tmp_path: object) -> None:
    top = str(tmp_path)
    for name in ("fine", "%zz", "%61", ".hidden", "a b", "%0+x", "lost,found"):
        os.close(os.open(os.path.join(top, name), os.O_CREAT))
    assert [key for key, _ in walk(top, b"", b"")] == [b"fine"]


def test_a_large_directory_is_walked_in_batches(tmp_path: object) -> None:
    top = str(tmp_path)
    expected = sorted(f"k{n}".encode() for n in range(2500))
    for key in expected:
        os.close(os.open(os.path.join(top, key.decode()), os.O_CREAT))
    assert [key for key, _ in walk(top, b"", b"")] == expected
