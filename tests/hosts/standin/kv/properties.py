"""Bucket properties and bucket types, kept in the cluster's metadata."""

from typing import Any

from tests.hosts.standin.config.cuttlefish import Configuration
from tests.hosts.standin.kv.cluster import Cluster

DATATYPES = ("map", "set", "counter", "hll", "gset")
_KEYFUN = {"mod": "riak_core_util", "fun": "chash_std_keyfun"}
_LINKFUN = {"mod": "riak_kv_wm_link_walker", "fun": "mapreduce_linkfun"}
_SYMBOLS = ("quorum", "all", "one", "default")


class Invalid(ValueError):
    """A property or a type that is refused; args: the text."""


def _number_or_word(text: str) -> Any:
    return int(text) if text.isdigit() else text


class Properties:
    """`of` gives what a bucket has; unknown properties are accepted, as by the real one."""

    def __init__(self, configuration: Configuration, cluster: Cluster, replicas: int | None = None) -> None:
        values = configuration.values
        self._cluster, self._replicas = cluster, replicas
        self.default: dict[str, Any] = {
            "allow_mult": values["buckets.default.allow_mult"] == "true",
            "basic_quorum": values["buckets.default.basic_quorum"] == "true",
            "big_vclock": 50,
            "chash_keyfun": _KEYFUN,
            "dvv_enabled": values["buckets.default.merge_strategy"] == "2",
            "dw": _number_or_word(values["buckets.default.dw"]),
            "last_write_wins": values["buckets.default.last_write_wins"] == "true",
            "linkfun": _LINKFUN,
            "n_val": int(values["buckets.default.n_val"]),
            "node_confirms": int(values["buckets.default.node_confirms"]),
            "notfound_ok": values["buckets.default.notfound_ok"] == "true",
            "old_vclock": 86400,
            "postcommit": [],
            "pr": _number_or_word(values["buckets.default.pr"]),
            "precommit": [],
            "pw": _number_or_word(values["buckets.default.pw"]),
            "r": _number_or_word(values["buckets.default.r"]),
            "repl": True,
            "rw": _number_or_word(values["buckets.default.rw"]),
            "small_vclock": 50,
            "sync_on_write": values["buckets.default.sync_on_write"],
            "w": _number_or_word(values["buckets.default.w"]),
            "write_once": False,
            "young_vclock": 20,
        }
        hidden = ("repl", "write_once")
        self._typed = {k: v for k, v in reversed(self.default.items()) if k not in hidden} | {"allow_mult": True}

    def _metadata(self, key: str) -> Any:
        entry = self._cluster.metadata.get(key)
        return entry[1] if entry else None

    def type(self, name: str) -> dict[str, Any] | None:
        """{"props", "active"} of a created type."""
        return self._metadata(f"type/{name}")

    def exists(self, bucket_type: str) -> bool:
        known = self.type(bucket_type)
        return bucket_type == "default" or (known is not None and known["active"])

    def of_type(self, name: str) -> dict[str, Any]:
        if name == "default":
            return dict(self.default)
        known = self.type(name) or {"props": {}, "active": False}
        return self._typed | known["props"] | {"active": known["active"], "claimant": self._cluster.ring.claimant}

    def of(self, bucket_type: str, bucket: str) -> dict[str, Any]:
        own = self._metadata(f"props/{bucket_type}/{bucket}")
        if own is None and bucket_type == "default":
            return {"name": bucket} | self.default
        base = self.of_type(bucket_type)
        return dict(sorted((base | {"name": bucket} | (own or {})).items())) if own is not None else base

    def n_val(self, bucket_type: str, bucket: str) -> int:
        """How many copies are really kept: a loopback node on one disk may be told to keep one."""
        return self._replicas or int(self.of(bucket_type, bucket)["n_val"])

    def set(self, bucket_type: str, bucket: str, changes: dict[str, Any]) -> None:
        _check(changes)
        own = self._metadata(f"props/{bucket_type}/{bucket}") or {}
        known = set(self.default) | {"backend", "datatype"}
        kept = {k: v for k, v in changes.items() if k in known}
        self._cluster.set_metadata(f"props/{bucket_type}/{bucket}", own | kept)

    def reset(self, bucket_type: str, bucket: str) -> None:
        self._cluster.set_metadata(f"props/{bucket_type}/{bucket}", {})

    def set_type(self, name: str, changes: dict[str, Any]) -> None:
        known = self.type(name) or {"props": {}, "active": False}
        self._cluster.set_metadata(f"type/{name}", known | {"props": known["props"] | changes})

    # -- what `riak admin bucket-type` does; raises Invalid with the text after the first line ----------------------

    def create_type(self, name: str, changes: dict[str, Any]) -> None:
        known = self.type(name)
        if known and known["active"]:
            raise Invalid("already_active")
        datatype = changes.get("datatype")
        if datatype is not None and datatype not in DATATYPES:
            raise Invalid(f"{datatype} not supported for bucket datatype property")
        if changes.get("last_write_wins") is True and changes.get("dvv_enabled", True) is True:
            raise Invalid("If last_write_wins is true, dvv_enabled must be false")
        self._cluster.set_metadata(f"type/{name}", {"props": changes, "active": False})

    def update_type(self, name: str, changes: dict[str, Any]) -> None:
        if "datatype" in changes:
            raise Invalid(f"{changes['datatype']} not supported for bucket datatype property")
        self.set_type(name, changes)

    def activate_type(self, name: str) -> None:
        known = self.type(name)
        assert known is not None
        self._cluster.set_metadata(f"type/{name}", known | {"active": True})

    def types(self) -> dict[str, bool]:
        found = {
            key[5:]: value[1]["active"] for key, value in self._cluster.metadata.items() if key.startswith("type/")
        }
        return {"default": True} | found


def _check(changes: dict[str, Any]) -> None:
    for name in ("n_val", "old_vclock", "young_vclock", "big_vclock", "small_vclock"):
        if name in changes and not isinstance(changes[name], int):
            raise Invalid(f'{{"{name}":"not_integer"}}')
    for name in ("allow_mult", "last_write_wins", "basic_quorum", "notfound_ok"):
        if name in changes and not isinstance(changes[name], bool):
            raise Invalid(f'{{"{name}":"not_boolean"}}')
    for name in ("r", "w", "dw", "rw", "pr", "pw"):
        if name in changes and not isinstance(changes[name], int) and changes[name] not in _SYMBOLS:
            raise Invalid(f'{{"{name}":"not_valid_quorum"}}')
