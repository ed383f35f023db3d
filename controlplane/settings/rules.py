"""What must hold between settings. Pure: values in, contradictions out.

A rule is tried only when every value it looks at is present and sound by itself, so that one fault is reported once.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from controlplane.settings.rule_places import shared_places

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Contradiction = tuple[str, str]
"""The dotted path to blame, and the message."""

MOST_PARTS = 10_000
"""Of one multipart upload, in every S3 server."""


def contradictions(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Every rule that `values` (by dotted path, unsound ones left out) breaks."""
    yield from _tokens(values)
    yield from _pairs(values)
    yield from _ports(values)
    yield from _order(values)
    yield from _workers(values)
    yield from _directory(values)
    yield from _s3_front(values)
    yield from _gc(values)
    for store in ("primary", "persistent"):
        yield from _upload_size(values, store)
    yield from _clouds(values)
    yield from _same_bucket(values)
    yield from _mirror_rules(values)
    yield from shared_places(values)
    yield from _riak_kv(values)
    yield from _hot_tier(values)
    yield from _places(values)


def _known(values: Mapping[str, Any], *paths: str) -> bool:
    return all(path in values for path in paths)


def _tokens(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    for key, what in (("name", "the name"), ("secret", "the secret")):
        first: dict[Any, str] = {}
        for path, value in values.items():
            match path.split("."):
                case ["tokens", _, last] if last == key:
                    if value in first:
                        yield path, f"{what} is the same as {first[value]}: tokens must be told apart"
                    first.setdefault(value, path)


def _pairs(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Settings that are of use only together."""
    for one, other in (
        ("gateway.tls.cert_file", "gateway.tls.key_file"),
        ("directory.etcd.cert_file", "directory.etcd.key_file"),
        ("directory.etcd.username", "directory.etcd.password"),
        ("primary.access_key", "primary.secret_key"),
        ("persistent.access_key", "persistent.secret_key"),
        ("s3.tls.cert_file", "s3.tls.key_file"),
        ("s3.admin_key", "s3.admin_secret"),
        ("riak_kv.username", "riak_kv.password"),
    ):
        if _known(values, one, other) and bool(values[one]) != bool(values[other]):
            given, missing = (one, other) if values[one] else (other, one)
            yield given, f"is of no use without {missing}: give both or neither"


def _ports(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    taken: dict[tuple[str, int], str] = {}
    for host, port in (
        ("gateway.host", "gateway.port"),
        ("admin.host", "admin.port"),
        ("admin.host", "admin.agent_port"),
        *((("s3.host", "s3.port"),) if values.get("s3.endpoints") else ()),
    ):
        if not _known(values, host, port) or not values[port]:
            continue
        place = (values[host], values[port])
        if place in taken:
            yield port, f"is the same address and port as {taken[place]}"
        taken.setdefault(place, port)


def _order(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Settings of which one must not be less than the other."""
    for great, small, reason in (
        ("mirror.retry.most_s", "mirror.retry.first_s", "the longest wait cannot be shorter than the first"),
        ("hot_cache.limit_bytes", "hot_cache.max_blob_bytes", "a blob must fit into the cache"),
    ):
        if _known(values, great, small) and values[great] < values[small]:
            yield great, f"must be at least {small} ({values[small]}): {reason}"


def _workers(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    if values.get("gateway.workers", 1) > 1 and values.get("primary.kind") == "memory":
        yield "gateway.workers", "must be 1 with a primary store in memory: each process would have its own"


def _directory(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    lease, probe = "directory.lease_ttl_s", "directory.probe_interval_s"
    if _known(values, lease, probe) and values[lease] <= values[probe]:
        yield lease, f"must exceed {probe} ({values[probe]}): the endpoint would vanish between two probes"
    v2, own, shared = "directory.v2", "directory.v2_endpoints", "directory.etcd.endpoints"
    if _known(values, v2, own, shared) and values[v2] and not values[own] and not values[shared]:
        yield v2, f"needs {own} or {shared}: there is no etcd to write to"
    mode = "cluster.mode"
    if _known(values, mode, shared) and values[mode] == "on" and not values[shared]:
        yield mode, f"needs {shared}: agents divide the work there"
    secret, url = "cluster.secret", "cluster.peer_url"
    anywhere = values.get("gateway.host") in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
    if _known(values, secret, url) and values[secret] and not values[url] and anywhere:
        yield url, "is needed with cluster.secret: gateway.host is no address by which other gateways reach this one"


def _s3_front(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    """The front asks Riak CS who its callers are."""
    if not values.get("s3.endpoints"):
        return
    for path, what in (("s3.admin_urls", "the admin ports"), ("s3.admin_key", "the admin user's access key")):
        if _known(values, path) and not values[path]:
            yield path, f"is needed with s3.endpoints: {what} of Riak CS, where secrets of callers are looked up"


def _gc(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    lease, command = "gc.lease_ttl_s", "gc.command_timeout_s"
    if _known(values, lease, command) and values[lease] < 3 * values[command]:
        yield (
            lease,
            (
                f"must be at least three times {command} ({values[command]}): "
                "time to start a batch, to halt it, and to spare before the duty is another node's"
            ),
        )


def _riak_kv(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    users = [path for path in ("journal.kind", "catalog.kind", "hot_cache.kind") if values.get(path) == "riak_kv"]
    needed = "riak_kv.pb_endpoints" if values.get("riak_kv.protocol") == "pb" else "riak_kv.endpoints"
    if users and values.get(needed) == ():
        yield users[0], f"needs {needed}: there is no Riak KV to ask"
    for place in values.get("hot_cache.tier.servers") or ():
        host, _, port = place.removeprefix("rediss://").rpartition(":")
        if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
            yield "hot_cache.tier.servers", f"must be host:port, not {place!r}"


def _hot_tier(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    kind, servers = values.get("hot_cache.kind"), values.get("hot_cache.tier.servers")
    if kind in ("redis", "memcached") and servers is not None:
        if not servers:
            yield "hot_cache.tier.servers", f"is needed with hot_cache.kind {kind}"
        if kind == "redis" and len(servers) > 1:
            yield "hot_cache.tier.servers", "takes one server of Redis"
    if kind == "redis" and values.get("hot_cache.tier.username") and not values.get("hot_cache.tier.password"):
        yield "hot_cache.tier.username", "is of no use without hot_cache.tier.password"


def _upload_size(values: Mapping[str, Any], store: str) -> Iterator[Contradiction]:
    most, part = "gateway.max_blob_bytes", f"{store}.part_bytes"
    if _known(values, most, part) and values[most] > values[part] * MOST_PARTS:
        yield (
            part,
            (
                f"must be at least {-(-values[most] // MOST_PARTS)}: an S3 object has at most {MOST_PARTS} parts, "
                f"and {most} is {values[most]}"
            ),
        )


def _clouds(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Stores in Azure and Google Cloud Storage, wherever they stand in the tree."""
    for path, kind in values.items():
        store, _, last = path.rpartition(".")
        if last != "kind":
            continue
        account, secret = f"{store}.account", f"{store}.secret_key"
        if kind == "azure" and _known(values, account, secret) and values[account] and not values[secret]:
            yield account, f"is of no use without {secret}: give both or neither"
        credentials, create, project = (f"{store}.{name}" for name in ("credentials", "create_bucket", "project"))
        if kind == "gcs" and values.get(credentials) and not _is_service_account(values[credentials].reveal()):
            yield credentials, "is no JSON key of a service account, as Google's console makes it"
        if kind == "gcs" and _known(values, create, project) and values[create] and not values[project]:
            yield create, f"needs {project}: a bucket belongs to a project"


def _is_service_account(text: str) -> bool:
    try:
        key = json.loads(text)
    except ValueError:
        return False
    needed = ("client_email", "private_key", "token_uri")
    return isinstance(key, dict) and all(isinstance(key.get(name), str) and key[name] for name in needed)


def _same_bucket(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    yield from _same_place(values)
    keys = ("endpoints", "bucket", "prefix")
    one, other = ([f"{store}.{key}" for key in keys] for store in ("primary", "persistent"))
    if not _known(values, *one, *other):
        return
    here, there = ([values[path] for path in paths] for paths in (one, other))
    if here[1:] == there[1:] and {url.lower() for url in here[0]} & {url.lower() for url in there[0]}:
        yield "persistent.bucket", "is the same bucket and prefix as the primary store: nothing would be mirrored"


def _same_place(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    """The same for stores of one endpoint."""
    keys = ("kind", "endpoint", "bucket", "prefix")
    one, other = ([f"{store}.{key}" for key in keys] for store in ("primary", "persistent"))
    if _known(values, *one, *other) and [values[path] for path in one] == [values[path] for path in other]:
        yield "persistent.bucket", "is the same bucket and prefix as the primary store: nothing would be mirrored"


def _mirror_rules(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Rules copy what the S3 front lets into Riak CS, to some other place."""
    front = values.get("s3.endpoints")
    names: dict[str, str] = {}
    for path, value in values.items():
        match path.split("."):
            case ["mirror", "rules", _, "buckets"] if front == ():
                yield path, "needs s3.endpoints: rules are about what is written through the S3 front"
            case ["mirror", "rules", number, "target", "endpoints"]:
                if front and {url.lower() for url in value} & {url.lower() for url in front}:
                    yield from _within_riak_cs(values, f"mirror.rules.{number}")
            case ["mirror", "rules", number, "target", "access_key"]:
                secret = f"mirror.rules.{number}.target.secret_key"
                if secret in values and bool(value) != bool(values[secret]):
                    yield path, f"is of no use without {secret}: give both or neither"
            case ["mirror", "rules", _, "name"] if value:
                if value == "blobs":
                    yield path, "is how the mirror of blobs is called: take another name"
                if value in names:
                    yield path, f"is the same as {names[value]}: rules must be told apart"
                names.setdefault(value, path)


def _within_riak_cs(values: Mapping[str, Any], rule: str) -> Iterator[Contradiction]:
    """A rule whose target is Riak CS itself: its copies must not be what it copies."""
    buckets, place, version = f"{rule}.buckets", f"{rule}.target.bucket", f"{rule}.target.list_version"
    if not _known(values, buckets, place):
        return
    # A name that the rule is about, in the place of {bucket}: as good as any other.
    name = values[place].replace("{bucket}", values[buckets].replace("*", "x").replace("?", "x"))
    if fnmatchcase(name, values[buckets].replace("[", "[[]")):
        yield (
            place,
            (
                f"is in Riak CS itself (s3.endpoints), and a bucket that the rule is about ({values[buckets]}): the "
                "copies would be copied; take a name that the rule does not match"
            ),
        )
    if values.get(version, 1) != 1:
        yield version, "must be 1 where the target is Riak CS itself: it answers version 2 with silent truncation"


def _places(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Directories that would hold each other's files."""
    places: dict[str, Path] = {path: values[path] for path in ("primary.path", "persistent.path") if path in values}
    if values.get("hot_cache.kind") not in (None, "memory", "none") and _known(
        values, "hot_cache.path", "node.data_dir"
    ):
        places["hot_cache.path"] = values["hot_cache.path"] or values["node.data_dir"] / "hot"
    resolved = {path: place.resolve() for path, place in places.items()}
    names = list(resolved)
    for number, name in enumerate(names):
        for earlier in names[:number]:
            if resolved[name].is_relative_to(resolved[earlier]) or resolved[earlier].is_relative_to(resolved[name]):
                yield name, f"is the same place as {earlier}, or one lies in the other ({places[earlier]})"
    if "node.data_dir" in values:
        home: Path = values["node.data_dir"].resolve()
        for name, place in resolved.items():
            if home.is_relative_to(place):
                yield name, f"holds node.data_dir ({values['node.data_dir']}): take a directory of its own below it"
