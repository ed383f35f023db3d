#!/usr/bin/env python3
"""Everything that is wrong with an inventory and its hosts, as sentences: pure decisions over what was observed.

`hosts` maps an inventory name to {"wanted": the role's variables, "seen": preflight_host's answer, "facts": ...}.
"""

from __future__ import annotations

import fnmatch
import hashlib
import ipaddress
import os

GIB = 1024**3
PLACEHOLDERS = ("change", "todo", "secret", "password", "xxx", "example", "riak")
# Keys that decide where blocks land, whether siblings work, or who the node is: the role renders them, nobody else.
OWNED_KEYS = ("storage_backend", "cs_version", "nodename", "distributed_cookie", "ring_size")
OWNED_PREFIXES = (
    "multi_backend.",
    "listener.",
    "buckets.default.",
    "leveldb.",
    "bitcask.",
    "memory_backend.",
    "leveled.",
)


def platform(wanted, facts):
    supported = wanted["platforms"].get(facts["distribution"], [])
    release = str(facts["release"])
    if release not in map(str, supported):
        known = "; ".join(f"{name} {', '.join(map(str, rows))}" for name, rows in wanted["platforms"].items())
        yield f"{facts['distribution']} {release} is not supported: install one of {known}"
    if int(facts["memory_mb"]) < int(wanted["min_memory_mb"]):
        yield f"{facts['memory_mb']} MB of memory; give it at least {wanted['min_memory_mb']} MB"


def versions(wanted, seen):
    for package in wanted["packages"]:
        name, version = package["package"], str(package["version"])
        if series_of(version) not in map(str, package["series"]):
            known = ", ".join(map(str, package["series"]))
            yield f"{name} {version} is not supported: set its version to one of the series {known}"
        there = seen["versions"].get(name, "")
        if there and not there.startswith(version) and not wanted["upgrading"]:
            yield f"{name} {there} is installed and {version} is wanted: run playbooks/upgrade.yml"


def disks(wanted, seen):
    for disk in wanted["disks"]:
        free = seen["free_bytes"][disk["path"]]
        if free < float(disk["free_gb"]) * GIB:  # -e gives strings
            needed = disk["free_gb"]
            yield f"{disk['path']} has {free / GIB:.1f} GiB free; make {needed} GiB free, or mount a larger disk"


def ports(wanted, seen):
    for port in wanted["ports"]:
        strangers = set(seen["listeners"].get(str(port["port"]), [])) - set(port["units"])
        if strangers:
            holders = ", ".join(sorted(strangers))
            yield f"port {port['port']} ({port['purpose']}) is taken by {holders}: stop it, or give it another port"


def clock(wanted, seen, asked):
    """The host answered between two readings of our own clock; only what lies outside of them is surely skew."""
    skew = max(asked["before"] - seen["time"], seen["time"] - asked["after"], 0)
    if skew > float(wanted["max_clock_skew_s"]):
        yield f"its clock is {skew:.0f} s off: set it to within {wanted['max_clock_skew_s']} s of this machine's"


def addresses(wanted):
    for name, text in wanted["internal_addresses"].items():
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            yield f"{name} is '{text}', which is no IP address: set it to the host's address on the internal network"
            continue
        if address.is_unspecified or (address.is_global and not wanted["allow_public_addresses"]):
            yield f"{name} is {text}: it must be an address of the internal network, since it has no authentication"


def secrets(wanted):
    for name, value in wanted["secrets"].items():
        text = str(value or "")
        if not text:
            yield f"{name} is not set: put it in the vault"
        elif len(text) < int(wanted["min_secret_length"]) or any(
            text.lower().startswith(word) for word in PLACEHOLDERS
        ):
            yield f"{name} is too short or a placeholder: put a random value of its own in the vault"


def riak(wanted, seen):
    ring = wanted["riak"]
    if not ring:
        return
    size = int(ring["ring_size"])
    if not 8 <= size <= 1024 or size & (size - 1):
        yield f"riak_ring_size is {size}: it must be a power of 2 from 8 to 1024"
    for key in ring["settings"]:
        if key in OWNED_KEYS or key.startswith(OWNED_PREFIXES):
            yield (
                f"riak_settings sets {key}, which the role renders itself: remove it, since a second form of the "
                "backends is how blocks end up in leveldb without a message"
            )
    if ring["default_backend"] not in ("leveldb", "leveled"):
        yield (
            f"riak_default_backend is {ring['default_backend']}: set it to leveldb or leveled, since manifests need "
            "secondary indexes"
        )
    before = seen["ring"]
    if before and before["nodename"] and before["nodename"] != ring["nodename"]:
        yield (
            f"a ring of {before['nodename']} lives here, and this inventory calls it {ring['nodename']}: give the host "
            "its former address, or remove the old ring (teardown.yml)"
        )
    if before and before["ring_size"] != size:
        yield (
            f"the ring here has {before['ring_size']} partitions and riak_ring_size is {size}: set it back, since the "
            "number of partitions cannot be changed"
        )


def pairs(wanted):
    """Which Riak CS runs on which Riak KV."""
    pair = wanted["pair"]
    if not pair:
        return
    riak, riak_cs = (str(pair[key]) for key in ("riak", "riak_cs"))
    taken = wanted["cs_by_riak"].get(series_of(riak), [])
    if taken and series_of(riak_cs) not in map(str, taken):
        yield (
            f"Riak CS {riak_cs} does not go with Riak KV {riak}: set riak_cs_version to one of the series "
            f"{', '.join(map(str, taken))}, or another riak_version"
        )


def series_of(version):
    return ".".join(str(version).split(".")[:2])


def stanchion(wanted):
    """From 3.1 on, Riak CS nodes find the one Stanchion by the network that it may bind to."""
    asked = wanted["stanchion"]
    if not asked or int(asked["members"]) < 2 or not asked["merged"]:
        return
    unset = [name for name in asked["network"] if not asked["network"][name]]
    if unset:
        yield (
            f"{asked['members']} Riak CS nodes share one Stanchion, and {' and '.join(unset)} is not set, so that it "
            "would bind to 127.0.0.1: set the network of the internal addresses"
        )
        return
    subnet, netmask = asked["network"].values()
    try:
        network = ipaddress.ip_network(f"{subnet}/{netmask}")
    except ValueError:
        yield f"{subnet} with the netmask {netmask} is no network: set {' and '.join(asked['network'])}"
        return
    try:
        inside = ipaddress.ip_address(asked["address"]) in network
    except ValueError:
        return  # said by addresses()
    if not inside:
        yield f"its address is not in {network}, where Stanchion may bind: set {' and '.join(asked['network'])}"


def membership(hosts):
    """What only the whole inventory shows."""
    rings = {name: host["wanted"]["riak"] for name, host in hosts.items() if host["wanted"]["riak"]}
    for key, label in (("version", "riak_version"), ("ring_size", "riak_ring_size"), ("cookie", "the cookie")):
        values = {str(ring[key]) for ring in rings.values()}
        if len(values) > 1:
            shown = "" if key == "cookie" else f" ({', '.join(sorted(values))})"
            yield f"{label} differs between the Riak hosts{shown}: set it once, for all"
    places = {name: tuple(host["wanted"]["internal_addresses"].values()) for name, host in hosts.items()}
    for twice, owners in sharing(places):
        yield f"{', '.join(owners)} share the address {', '.join(map(str, twice))}: give each host its own"
    names = {name: (ring["nodename"],) for name, ring in rings.items()}
    for twice, owners in sharing(names):
        if len({places[name] for name in owners}) > 1:  # otherwise it is said above
            yield f"{', '.join(owners)} share the node name {twice[0]}: give each its own"
    for name, ring in rings.items():
        count = len(ring["members"])
        if name not in ring["members"]:
            yield f"{name} is not in riak_members: add it to the group of the Riak hosts"
        elif name == min(rings) and count < int(ring["n_val"]) and not hosts[name]["wanted"]["allow_few_nodes"]:
            yield (
                f"{count} Riak hosts cannot hold {ring['n_val']} copies on distinct nodes: add hosts, or set "
                "cluster_is_small if this is a trial"
            )
        elif name == min(rings) and count > int(ring["ring_size"]):
            yield f"{count} Riak hosts for {ring['ring_size']} partitions, some would own none: raise riak_ring_size"


def sharing(things):
    """(thing, its owners) of all that has several."""
    for thing in sorted({thing for thing in things.values() if thing}):
        owners = sorted(name for name in things if things[name] == thing)
        if len(owners) > 1:
            yield thing, owners


def quorum(hosts):
    for label in sorted({label for host in hosts.values() for label in host["wanted"]["odd_groups"]}):
        members = max(len(host["wanted"]["odd_groups"].get(label, [])) for host in hosts.values())
        if members % 2 == 0 and members:
            yield f"{members} {label} members tolerate no more failures than {members - 1}: use an odd number"
    for label in sorted({label for host in hosts.values() for label in host["wanted"]["needed_groups"]}):
        members = max(len(host["wanted"]["needed_groups"].get(label, [])) for host in hosts.values())
        if not members:
            yield f"the inventory has no host in the group {label}: name its hosts there"


def s3_front(hosts):
    for front in [host["wanted"]["s3_front"] for host in hosts.values() if host["wanted"]["s3_front"]][:1]:
        if front["value"] not in ("gateway", "riak_cs"):
            yield f"cluster_s3_front is '{front['value']}': set it to gateway, or to riak_cs"
        elif front["value"] == "gateway" and front["balancers"] and not front["gateways"]:
            yield (
                "S3 clients are to reach gateways, and the group controlplane has no host: name its hosts, or set "
                "cluster_s3_front to riak_cs, which is not safe with today's S3 clients"
            )


def folders(hosts):
    """Package folders lie on the control node, where this runs."""
    wanted = {
        (package["folder"], package["package"], str(package["version"]), host["facts"]["family"])
        for host in hosts.values()
        for package in host["wanted"]["packages"]
        if package["source"] == "folder"
    }
    for folder, package, version, family in sorted(wanted):
        pattern = f"{package}_{version}*.deb" if family == "Debian" else f"{package}-{version}*.rpm"
        names = os.listdir(folder) if os.path.isdir(folder) else []
        found = fnmatch.filter(names, pattern)
        if not names:
            yield f"the package folder {folder or '(not set)'} is empty or missing: put {pattern} and SHA256SUMS there"
        elif len(found) != 1:
            yield f"{folder} must hold exactly one {pattern}; it holds {len(found)}"
        else:
            yield from checksum(folder, found[0])


def checksum(folder, name):
    try:
        with open(os.path.join(folder, "SHA256SUMS")) as file:
            rows = [line.split() for line in file if line.strip()]
    except FileNotFoundError:
        yield f"{folder} has no SHA256SUMS: make it with `sha256sum *`, once you trust the files"
        return
    listed = {row[1].lstrip("*").removeprefix("./"): row[0] for row in rows if len(row) == 2}
    with open(os.path.join(folder, name), "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if listed.get(name) != digest:
        yield f"{name} has the SHA-256 {digest}, SHA256SUMS says {listed.get(name, 'nothing')}: fetch it anew"


def preflight_findings(hosts, asked):
    """Every finding, the inventory's first, then the hosts', each said once with the hosts it is about."""
    about = {}
    for text in (*membership(hosts), *quorum(hosts), *s3_front(hosts), *folders(hosts)):
        about.setdefault(text, ["inventory"])
    for name in sorted(hosts):
        wanted, seen, facts = (hosts[name][key] for key in ("wanted", "seen", "facts"))
        for text in (
            *platform(wanted, facts),
            *versions(wanted, seen),
            *disks(wanted, seen),
            *ports(wanted, seen),
            *clock(wanted, seen, asked),
            *addresses(wanted),
            *secrets(wanted),
            *pairs(wanted),
            *stanchion(wanted),
            *riak(wanted, seen),
        ):
            about.setdefault(text, []).append(name)
    return [f"{', '.join(names)}: {text}" for text, names in about.items()]


def preflight_message(findings):
    return "\n".join([f"Nothing was changed. Wrong ({len(findings)}):", *(f"- {text}" for text in findings)])


class FilterModule:
    def filters(self):
        return {"preflight_findings": preflight_findings, "preflight_message": preflight_message}
