"""The generated messages of the `riak` package, without importing the package itself."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from functools import lru_cache
from typing import Any, Final

from controlplane.ports.errors import Rejected

ERROR, PING, PING_RESP, GET, GET_RESP, PUT, PUT_RESP, DEL, DEL_RESP, INDEX, INDEX_RESP = (
    0, 1, 2, 9, 10, 11, 12, 13, 14, 25, 26,
)  # fmt: skip
"""Codes of messages. Source: Riak's documentation of its protocol buffers API."""

QUORUMS: Final = {"one": 4294967294, "quorum": 4294967293, "all": 4294967292, "default": 4294967291}
"""Words among numbers of replicas. Source: the same."""


@lru_cache(maxsize=1)
def messages() -> tuple[Any, Any]:
    """The modules riak_kv_pb2 and riak_pb2. Raises Rejected when the package is not installed.

    Its __init__ imports what Python 3.10 removed, so a bare package of the same place stands in for it while the
    messages are loaded; afterwards nobody else finds that."""
    spec = importlib.util.find_spec("riak")
    if spec is None or not spec.submodule_search_locations:
        raise Rejected("riak_kv.protocol pb needs the riak package: pip install 'millrace[riak]'")
    before = sys.modules.get("riak")
    bare = types.ModuleType("riak")
    bare.__path__ = list(spec.submodule_search_locations)
    sys.modules["riak"] = bare
    try:
        return importlib.import_module("riak.pb.riak_kv_pb2"), importlib.import_module("riak.pb.riak_pb2")
    except ImportError as error:
        raise Rejected(f"the riak package cannot be loaded: {error}: reinstall millrace[riak]") from error
    finally:
        if before is None:
            del sys.modules["riak"]
        else:
            sys.modules["riak"] = before


def quorum_number(words: str) -> int:
    return QUORUMS.get(words) or int(words)
