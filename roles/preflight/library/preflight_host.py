#!/usr/bin/python
"""What preflight looks at on a host: clock, free space, taken ports with their units, versions, an older ring."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: preflight_host
short_description: Observe a host without changing it
options:
  ports: {description: Ports whose listeners are looked up., type: list, elements: int, default: []}
  disks: {description: Paths whose file system's free space is measured., type: list, elements: str, default: []}
  packages: {description: Packages whose installed version is looked up., type: list, elements: str, default: []}
  ring_folder: {description: Folder of a Riak ring., type: str, default: /var/lib/riak/ring}
  ring_config: {description: The riak.conf of that ring., type: str, default: /etc/riak/riak.conf}
author: [Millrace]
"""

EXAMPLES = r"""
- name: Look
  preflight_host:
    ports: [8087, 8098]
"""

RETURN = r"""
time: {description: Seconds since the epoch on the host., type: float, returned: always}
listeners: {description: Units or commands that listen on each taken port., type: dict, returned: always}
free_bytes: {description: Free space by path., type: dict, returned: always}
versions: {description: Installed version by package., type: dict, returned: always}
ring: {description: Name and ring size of a ring that lives here already., type: dict, returned: always}
"""

LISTEN = "0A"


def listening_inodes(ports):
    """inode -> port of every TCP socket that listens on one of the ports, any address."""
    found = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as lines:
                rows = [line.split() for line in lines][1:]
        except FileNotFoundError:
            continue
        for row in rows:
            port = int(row[1].rsplit(":", 1)[1], 16)
            if row[3] == LISTEN and port in ports:
                found[row[9]] = port
    return found


def unit_of(pid):
    """The systemd unit of a process, else its command. Erlang's epmd serves all nodes of the machine and is told by its
    name: it stays where a command of a stopped node has started it, such as in somebody's session."""
    try:
        with open(f"/proc/{pid}/comm") as file:
            command = file.read().strip()
        with open(f"/proc/{pid}/cgroup") as file:
            units = re.findall(r"([^/\n]+\.(?:service|socket))", file.read())
        return units[-1] if units and command != "epmd" else command
    except (FileNotFoundError, ProcessLookupError):
        return "a process that has ended"


def listeners(ports):
    inodes, found = listening_inodes(set(ports)), {}
    owners = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue  # ended meanwhile
        for link in links:
            if link.startswith("socket:[") and link[8:-1] in inodes:
                owners.setdefault(link[8:-1], set()).add(unit_of(pid))
    for inode, port in inodes.items():
        found.setdefault(str(port), set()).update(owners.get(inode, {"an unknown process"}))
    return {port: sorted(names) for port, names in found.items()}


def free_bytes(path):
    """Of the file system that the path is, or will be, on."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return shutil.disk_usage(path).free


def version_of(package):
    for command in (
        ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package],
        ["rpm", "-q", "--qf", "installed %{VERSION}", package],
    ):
        if not shutil.which(command[0]):
            continue
        run = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        words = run.stdout.decode().split()
        if run.returncode == 0 and words[:1] == ["installed"]:
            return words[1]
    return ""


def ring_of(folder, config):
    """A ring keeps its node's name and its size for ever."""
    try:
        if not os.listdir(folder):
            return {}
        with open(config) as file:
            text = file.read()
    except FileNotFoundError:
        return {}
    keys = dict(re.findall(r"^\s*(nodename|ring_size)\s*=\s*(\S+)", text, re.MULTILINE))
    return {"nodename": keys.get("nodename", ""), "ring_size": int(keys.get("ring_size", 64))}


def main():
    module = AnsibleModule(
        argument_spec={
            "ports": {"type": "list", "elements": "int", "default": []},
            "disks": {"type": "list", "elements": "str", "default": []},
            "packages": {"type": "list", "elements": "str", "default": []},
            "ring_folder": {"type": "str", "default": "/var/lib/riak/ring"},
            "ring_config": {"type": "str", "default": "/etc/riak/riak.conf"},
        },
        supports_check_mode=True,
    )
    params = module.params
    module.exit_json(
        changed=False,
        time=time.time(),
        listeners=listeners(params["ports"]),
        free_bytes={path: free_bytes(path) for path in params["disks"]},
        versions={package: version_of(package) for package in params["packages"]},
        ring=ring_of(params["ring_folder"], params["ring_config"]),
    )


if __name__ == "__main__":
    main()
