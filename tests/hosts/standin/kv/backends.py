"""Which backend a bucket lives in, as the configuration says it, and what kills a node at the start."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hosts.standin.config import erlang_terms
from tests.hosts.standin.config.cuttlefish import Configuration
from tests.hosts.standin.kv.log_store import FileStore, MemoryStore, Store

_FILES = {"bitcask": "1.bitcask.data", "leveldb": "000001.log", "leveled": "journal.cdb"}
_MODULES = {
    "bitcask": "riak_kv_bitcask_backend",
    "leveldb": "riak_kv_eleveldb_backend",
    "leveled": "riak_kv_leveled_backend",
    "memory": "riak_kv_memory_backend",
    "multi": "riak_kv_multi_backend",
    "prefix_multi": "riak_kv_multi_prefix_backend",
}
_UNITS = {"": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "f": 1209600.0}


class StartFailure(RuntimeError):
    """The vnodes cannot start, so the node dies."""


@dataclass(frozen=True)
class Backend:
    name: str
    kind: str
    root: Path
    memory: int | None = None
    ttl: float | None = None

    @property
    def module(self) -> str:
        return _MODULES[self.kind]

    def open(self, partition: int) -> Store:
        if self.kind == "memory":
            return MemoryStore(self.memory, self.ttl)
        return FileStore(self.root / str(partition) / _FILES[self.kind])

    def partitions(self) -> list[int]:
        """Partitions that have a directory here."""
        if self.kind == "memory" or not self.root.is_dir():
            return []
        return [int(entry.name) for entry in self.root.iterdir() if entry.name.isdigit()]


@dataclass(frozen=True)
class Backends:
    """The named backends of a node; `prefixes` decides by the first bytes of a bucket name."""

    kind: str
    default: str
    named: Mapping[str, Backend]
    prefixes: tuple[tuple[str, str], ...] = ()

    @property
    def module(self) -> str:
        return _MODULES[self.kind]

    def choose(self, bucket: str, properties: Mapping[str, Any]) -> Backend | None:
        """None when a property names a backend that does not exist: the request then never ends."""
        if self.kind not in ("multi", "prefix_multi"):
            return self.named[self.default]
        for prefix, name in self.prefixes:
            if bucket.startswith(prefix):
                return self.named[name]
        return self.named.get(properties.get("backend", self.default))

    def has_indexes(self, bucket_type: str, bucket: str, properties: Mapping[str, Any]) -> bool:
        """Not recorded for bucket types: with prefix_multi, only the default type's buckets are told apart, any other
        is given what all backends can. Source: riak_kv_multi_prefix_backend.erl, capabilities/2."""
        if self.kind == "prefix_multi" and bucket_type != "default":
            return all(backend.kind != "bitcask" for backend in self.named.values())
        chosen = self.choose(bucket, properties)
        return chosen is not None and chosen.kind != "bitcask"


def size_in_bytes(text: str) -> int:
    digits = re.match(r"\d+", text)
    assert digits
    return int(digits[0]) * _UNITS[text[digits.end() :].upper()]


def seconds(text: str) -> float:
    return sum(float(n) * _SECONDS[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|[smhdwf])", text))


def read(configuration: Configuration, advanced: Path) -> Backends:
    """Raises StartFailure where a real node dies."""
    values = configuration.values
    kind = values["storage_backend"]
    if kind not in ("multi", "prefix_multi"):
        return Backends(kind, kind, {kind: _single(kind, values, "")})
    phantom = [k for k in configuration.explicit if k.startswith("multi_backend.name.")]
    if phantom:
        raise StartFailure("{invalid_config_setting,multi_backend_default,backend_not_found}")
    if "cs_version" in values and kind == "prefix_multi":
        return Backends(
            kind,
            "be_default",
            {
                "be_default": _single("leveldb", values, "", "be_default"),
                "be_blocks": _single("bitcask", values, "", "be_blocks"),
            },
            (("0b:", "be_blocks"),),
        )
    named = {}
    for key in configuration.explicit:
        found = re.fullmatch(r"multi_backend\.([^.]+)\..+", key)
        if found:
            prefix = f"multi_backend.{found[1]}."
            named[found[1]] = _single(values.get(f"{prefix}storage_backend", "bitcask"), values, prefix, found[1])
    default = values.get("multi_backend.default", "")
    if default not in named:
        raise StartFailure("{invalid_config_setting,multi_backend_default,backend_not_found}")
    prefixes = _prefixes(advanced, named) if kind == "prefix_multi" else ()
    return Backends(kind, default, named, prefixes)


def _single(kind: str, values: Mapping[str, str], prefix: str, name: str | None = None) -> Backend:
    if kind == "memory":
        memory, ttl = (values.get(f"{prefix}memory_backend.{key}") for key in ("max_memory_per_vnode", "ttl"))
        return Backend(
            name or kind, kind, Path(), size_in_bytes(memory) if memory else None, seconds(ttl) if ttl else None
        )
    root = values.get(f"{prefix}{kind}.data_root")
    if root is None:
        raise StartFailure(f"{{invalid_config_setting,{kind}.data_root,{name or kind},missing}}")
    return Backend(name or kind, kind, Path(root))


def _prefixes(advanced: Path, named: Mapping[str, Backend]) -> tuple[tuple[str, str], ...]:
    terms = erlang_terms.parse(advanced.read_text()) if advanced.exists() else []
    pairs = erlang_terms.lookup(terms, "riak_kv", "multi_backend_prefix_list")
    if pairs is None:
        return ()
    result = []
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(x, bytes) for x in pair)):
            raise StartFailure("{invalid_config_setting,multi_backend_prefix_list,not_binaries}")
        prefix, name = pair[0].decode("latin-1"), pair[1].decode("latin-1")
        if name not in named:
            raise StartFailure(f"{{invalid_config_setting,multi_backend_prefix_list,{{backend_not_found,{name}}}}}")
        result.append((prefix, name))
    return tuple(result)
