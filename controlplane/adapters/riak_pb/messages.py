"""The generated messages of the `riak` package, without importing the package itself."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import types
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from controlplane.ports.errors import Rejected

ERROR, PING, PING_RESP, GET, GET_RESP, PUT, PUT_RESP, DEL, DEL_RESP, BUCKET, BUCKET_RESP, INDEX, INDEX_RESP = (
    0, 1, 2, 9, 10, 11, 12, 13, 14, 19, 20, 25, 26,
)  # fmt: skip
"""Codes of messages. Source: Riak's documentation of its protocol buffers API."""

QUORUMS: Final = {"one": 4294967294, "quorum": 4294967293, "all": 4294967292, "default": 4294967291}
"""Words among numbers of replicas. Source: the same."""


_FILES: Final = ("riak_pb2", "riak_kv_pb2")
"""Of the package's folder `pb`, each after those it refers to."""


@lru_cache(maxsize=1)
def messages() -> tuple[Any, Any]:
    """The messages of riak_kv.proto and of riak.proto, each by name. Raises Rejected when the package is not installed.

    The package's code was generated for protobuf 2.5, which it brings along under another name; where a newer protobuf
    has taken that one's place (Google's libraries need it), the same descriptors are given to the newer."""
    spec = importlib.util.find_spec("riak")
    if spec is None or not spec.submodule_search_locations:
        raise Rejected("riak_kv.protocol pb needs the riak package: pip install 'millrace[riak]'")
    package = Path(next(iter(spec.submodule_search_locations)))
    try:
        import google.protobuf  # not at the top: only this extra has it

        is_newer = hasattr(google.protobuf, "__version__")  # since 2.6
        general, kv = _described(package / "pb") if is_newer else _generated(package)
    except (ImportError, OSError, SyntaxError, LookupError, TypeError, ValueError) as error:
        raise Rejected(f"the riak package cannot be loaded: {error}: reinstall millrace[riak]") from error
    return kv, general


def _described(folder: Path) -> list[Any]:
    """Message classes of the installed protobuf from the descriptors that the generated files hold as bytes."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    found = []
    for name in _FILES:
        file = descriptor_pb2.FileDescriptorProto.FromString(_serialized((folder / f"{name}.py").read_text("utf-8")))
        pool.Add(file)
        names = [message.name for message in file.message_type]
        classes = {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names}
        found.append(types.SimpleNamespace(**classes))
    return found


def _serialized(source: str) -> bytes:
    """The argument `serialized_pb` of a generated file: each character of it stands for a byte."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "serialized_pb" and isinstance(node.value, ast.Constant):
            return str(node.value.value).encode("latin-1")
    raise LookupError("a generated file has no serialized_pb")


def _generated(package: Path) -> list[Any]:
    """The package's own modules. Its __init__ imports what Python 3.10 removed, so a bare package of the same place
    stands in for it while they are loaded; afterwards nobody else finds that."""
    before = sys.modules.get("riak")
    bare = types.ModuleType("riak")
    bare.__path__ = [str(package)]
    sys.modules["riak"] = bare
    try:
        return [importlib.import_module(f"riak.pb.{name}") for name in _FILES]
    finally:
        if before is None:
            del sys.modules["riak"]
        else:
            sys.modules["riak"] = before


def quorum_number(words: str) -> int:
    return QUORUMS.get(words) or int(words)
