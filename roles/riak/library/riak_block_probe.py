#!/usr/bin/python
"""Where bytes that were written a moment ago lie on disk: the proof that blocks go to bitcask."""

from __future__ import annotations

import os
import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: riak_block_probe
short_description: Find which storage folders hold a marker that was just written
description:
  - Reads only the ends of files that changed lately, so its cost does not grow with the data.
  - Changes nothing.
options:
  folders: {description: Folder by backend name., type: dict, required: true}
  marker: {description: The bytes to look for., type: str, required: true}
  newer_than: {description: Only files changed within so many seconds., type: int, default: 600}
  tail_bytes: {description: How much of a file's end is read., type: int, default: 67108864}
author: [Millrace]
"""

EXAMPLES = r"""
- name: Look for the marker
  riak_block_probe:
    folders: {be_blocks: /var/lib/riak/bitcask}
    marker: mm-0123456789
"""

RETURN = r"""
found: {description: Number of files with the marker by backend name., type: dict, returned: always}
read: {description: Number of files that were read by backend name., type: dict, returned: always}
"""

CHUNK = 1 << 20


def holds(path, marker, tail_bytes):
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - tail_bytes))
        kept = b""
        while True:
            chunk = file.read(CHUNK)
            if not chunk:
                return False
            if marker in kept + chunk:
                return True
            kept = chunk[-len(marker) :]


def look(folder, marker, since, tail_bytes):
    found = read = 0
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            try:
                if os.stat(path).st_mtime >= since:
                    read += 1
                    found += holds(path, marker, tail_bytes)
            except FileNotFoundError:
                continue  # a merge took it away meanwhile
    return found, read


def main():
    module = AnsibleModule(
        argument_spec={
            "folders": {"type": "dict", "required": True},
            "marker": {"type": "str", "required": True, "no_log": False},
            "newer_than": {"type": "int", "default": 600},
            "tail_bytes": {"type": "int", "default": 64 * CHUNK},
        },
        supports_check_mode=True,
    )
    since = time.time() - module.params["newer_than"]
    marker = module.params["marker"].encode()
    results = {
        name: look(folder, marker, since, module.params["tail_bytes"])
        for name, folder in module.params["folders"].items()
    }
    module.exit_json(
        changed=False,
        found={name: result[0] for name, result in results.items()},
        read={name: result[1] for name, result in results.items()},
    )


if __name__ == "__main__":
    main()
