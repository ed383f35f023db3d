"""Objects of S3 in KV: a manifest for each key and version, blocks of 1 MiB, deleted blocks in the GC bucket.

A manifest record: {"active": manifest or null, "uploads": {upload id: upload}}. A manifest lists its segments, each
a run of blocks under one identifier: one for a plain object, one for each part of a multipart one.
"""

import hashlib
import json
import struct
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from tests.hosts.standin.cs.kv_client import KvClient, KvDown, decode
from tests.hosts.standin.cs.users import now_ms

BLOCK = 1 << 20
GC = "riak-cs-gc"
VERSION_MARK = "\x00v"

Manifest = dict[str, Any]
Record = dict[str, Any]


def manifests_of(bucket: str) -> str:
    return "0o:" + hashlib.md5(bucket.encode()).digest().decode("latin-1")


def blocks_of(bucket: str) -> str:
    return "0b:" + hashlib.md5(bucket.encode()).digest().decode("latin-1")


def stored_key(key: bytes, version: str = "null") -> str:
    text = key.decode("latin-1")
    return text if version == "null" else f"{text}{VERSION_MARK}{version}"


class Objects:
    def __init__(self, kv: KvClient) -> None:
        self.kv = kv

    # -- blocks -------------------------------------------------------------------------------------------------------

    def store(self, bucket: str, pieces: Iterable[bytes]) -> tuple[dict[str, Any], bytes]:
        """Writes pieces of BLOCK bytes; returns the segment and the MD5."""
        segment, size, digest = uuid.uuid4().hex, 0, hashlib.md5()
        for number, piece in enumerate(pieces):
            digest.update(piece)
            self.kv.put(blocks_of(bucket), _block_key(segment, number), piece)
            size += len(piece)
        return {"id": segment, "size": size, "bucket": bucket}, digest.digest()

    def read(self, segments: list[dict[str, Any]], start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` up to before `end`."""
        base = 0
        for segment in segments:
            low, high = max(start - base, 0), min(end - base, segment["size"])
            for number in range(low // BLOCK, (high + BLOCK - 1) // BLOCK if high > low else 0):
                place = blocks_of(segment["bucket"]), _block_key(segment["id"], number)
                # One replica is enough for a block that never changes, but not to say that there is none.
                found = self.kv.get(*place, r=1) or self.kv.get(*place, r=2)
                if found is None or not found.live:
                    raise KvDown(f"block {number} of {segment['id']} is missing")
                offset = number * BLOCK
                yield found.live[0].value[max(low - offset, 0) : high - offset]
            base += segment["size"]

    def discard(self, segments: list[dict[str, Any]]) -> None:
        """Hands blocks to the garbage collector."""
        if segments:
            self.kv.write(GC, f"{int(time.time())}_{uuid.uuid4().hex[:6]}", segments, {})

    def collect(self, before: float) -> int:
        """Deletes blocks that were discarded before a time; returns how many batches."""
        done = 0
        for key, segments in self.kv.records(GC):
            if int(key.partition("_")[0]) > before:
                continue
            for segment in segments:
                for number in range((segment["size"] + BLOCK - 1) // BLOCK):
                    place = blocks_of(segment["bucket"]), _block_key(segment["id"], number)
                    found = self.kv.get(*place)
                    if found is not None:
                        self.kv.delete(*place, found.clock)
            _, context = self.kv.read(GC, key)
            self.kv.delete(GC, key, context)
            done += 1
        return done

    # -- manifests ----------------------------------------------------------------------------------------------------

    def record(self, bucket: str, key: bytes, version: str = "null") -> tuple[Record, dict[str, int]]:
        found = self.kv.get(manifests_of(bucket), stored_key(key, version))
        if found is None or not found.live:
            return {"active": None, "uploads": {}}, found.clock if found else {}
        values = [decode_sibling(s.value) for s in found.live]
        merged: Record = {"active": None, "uploads": {}}
        for value in values:
            for identifier, upload in value["uploads"].items():
                known = merged["uploads"].setdefault(identifier, upload)
                known["parts"] += [part for part in upload["parts"] if part not in known["parts"]]
            active = value["active"]
            if active and (merged["active"] is None or active["created"] >= merged["active"]["created"]):
                merged["active"] = active
        return merged, found.clock

    def manifest(self, bucket: str, key: bytes, version: str = "null") -> Manifest | None:
        active: Manifest | None = self.record(bucket, key, version)[0]["active"]
        return active

    def save(self, bucket: str, key: bytes, version: str, record: Record, context: dict[str, int]) -> None:
        place = manifests_of(bucket), stored_key(key, version)
        if record["active"] is None and not record["uploads"]:
            self.kv.delete(*place, context)
        else:
            self.kv.write(*place, record, context)

    def publish(self, bucket: str, key: bytes, version: str, manifest: Manifest) -> None:
        """Makes a manifest the active one; the blocks of the one before are discarded."""
        record, context = self.record(bucket, key, version)
        old = record["active"]
        manifest |= {"version": version, "created": now_ms()}
        record["active"] = manifest
        self.save(bucket, key, version, record, context)
        kept = {s["id"] for s in manifest["segments"]}
        self.discard([s for s in (old or {"segments": []})["segments"] if s["id"] not in kept])

    def remove(self, bucket: str, key: bytes, version: str = "null") -> None:
        record, context = self.record(bucket, key, version)
        if record["active"] is not None:
            self.discard(record["active"]["segments"])
            record["active"] = None
            self.save(bucket, key, version, record, context)

    def listing(self, bucket: str, after: bytes, prefix: bytes) -> Iterator[tuple[bytes, Record]]:
        """Records of a bucket by key, versions of a key one after the other."""
        mark = after.decode("latin-1")
        if mark:
            mark += "\x00w"
        while page := self.kv.fold(manifests_of(bucket), mark, prefix.decode("latin-1")):
            for stored, value in page:
                record = decode(value)
                if record is not None:
                    yield stored.partition(VERSION_MARK)[0].encode("latin-1"), record
            mark = page[-1][0]

    def empty(self, bucket: str) -> bool:
        return not any(record["active"] for _, record in self.listing(bucket, b"", b""))


def decode_sibling(value: bytes) -> Record:
    record: Record = json.loads(value)
    return record


def _block_key(segment: str, number: int) -> str:
    return (bytes.fromhex(segment) + struct.pack(">I", number)).decode("latin-1")
