#!/usr/bin/python
"""The one admin user of a Riak CS system: found, or made when there is none; its secret renewed on request."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import re
import subprocess
from email.utils import formatdate

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: riak_cs_admin_user
short_description: Find, make or re-key the admin user of Riak CS
description:
  - V(present) runs O(create), which acts inside the node, so anonymous user creation stays off all the time.
  - Riak CS prints the admin that exists instead of making a second one; V(present) relies on that and is idempotent.
  - V(rotated) asks the admin API for a new secret, which takes effect at once.
options:
  state: {description: What is wanted., type: str, default: present, choices: [present, rotated]}
  find: {description: Command that prints the admin that exists., type: list, elements: str, default: []}
  create: {description: Command that makes the admin and prints it., type: list, elements: str, default: []}
  endpoint: {description: Address and port of the admin API (V(rotated))., type: str, default: ""}
  access_key: {description: Key of the admin (V(rotated))., type: str, default: ""}
  secret_key: {description: Secret of the admin (V(rotated))., type: str, default: ""}
  deadline: {description: Seconds for one command or request., type: int, default: 120}
author: [Millrace]
"""

EXAMPLES = r"""
- name: Find or make the admin
  riak_cs_admin_user:
    find: [riak-cs, admin, create-admin-user]
    create: [riak-cs, admin, create-admin-user]
"""

RETURN = r"""
access_key: {description: Key of the admin., type: str, returned: success}
secret_key: {description: Secret of the admin., type: str, returned: success}
"""

# `create-admin-user` when there is one (cli/riak-cs-admin.txt), and the record that create_user returns.
PRINTED = re.compile(r"KeyId:\s*(\S+)\s+Secret:\s*(\S+)")
RECORD = re.compile(
    r'\{rcs_user_v\d,\s*"(?:[^"\\]|\\.)*",\s*"(?:[^"\\]|\\.)*",\s*"(?:[^"\\]|\\.)*",\s*"([^"]+)",\s*"([^"]+)"'
)


def read_credentials(text):
    """(key, secret) of the admin, or None when the words carry none."""
    found = PRINTED.search(text) or RECORD.search(text)
    return (found[1], found[2]) if found else None


def exists_already(text):
    return "already exists" in text or "user_already_exists" in text


def masked(words):
    """Without what may be a key or a secret: these are told to the operator."""
    return re.sub(r"[\w+/=-]{16,}", "...", words)


def say(module, command):
    try:
        run = subprocess.run(
            command,
            check=False,
            timeout=module.params["deadline"],
            cwd="/",  # another user than root may not be where root is
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        module.fail_json(msg=f"`{' '.join(command)}` did not answer: {error}")
    return run.stdout.decode("utf-8", "replace")


def present(module):
    words = say(module, module.params["create"])
    existed = exists_already(words)
    credentials = read_credentials(words)
    if not credentials and module.params["find"]:
        words = say(module, module.params["find"])
        credentials = read_credentials(words)
    if not credentials:
        reason = (
            "An admin exists already, and this version cannot print its key: give riak_cs_admin_key and "
            "riak_cs_admin_secret."
            if existed
            else f"Riak CS printed no credentials. The first words were: {masked(words.strip()[:200])}"
        )
        module.fail_json(msg=reason)
    module.exit_json(changed=not existed, access_key=credentials[0], secret_key=credentials[1])


def rotated(module):
    params = module.params
    kind, date = "application/json", formatdate(usegmt=True)
    path = f"/riak-cs/user/{params['access_key']}"
    text = f"PUT\n\n{kind}\n{date}\n{path}"
    signature = base64.b64encode(hmac.new(params["secret_key"].encode(), text.encode(), hashlib.sha1).digest()).decode()
    headers = {
        "Date": date,
        "Content-Type": kind,
        "Accept": kind,
        "Authorization": f"AWS {params['access_key']}:{signature}",
    }
    connection = http.client.HTTPConnection(params["endpoint"], timeout=params["deadline"])
    try:
        connection.request("PUT", path, json.dumps({"new_key_secret": True}), headers)
        response = connection.getresponse()
        status, body = response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        module.fail_json(msg=f"The admin API at {params['endpoint']} did not answer: {error}")
    finally:
        connection.close()
    if status != 200:
        module.fail_json(msg=f"The admin API at {params['endpoint']} refused a new secret: HTTP {status}")
    user = json.loads(body)
    module.exit_json(changed=True, access_key=user["key_id"], secret_key=user["key_secret"])


def main():
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "default": "present", "choices": ["present", "rotated"]},
            "find": {"type": "list", "elements": "str", "default": []},
            "create": {"type": "list", "elements": "str", "default": []},
            "endpoint": {"type": "str", "default": ""},
            "access_key": {"type": "str", "default": "", "no_log": False},
            "secret_key": {"type": "str", "default": "", "no_log": True},
            "deadline": {"type": "int", "default": 120},
        },
        required_if=[("state", "present", ["create"]), ("state", "rotated", ["endpoint", "access_key", "secret_key"])],
        supports_check_mode=False,
    )
    present(module) if module.params["state"] == "present" else rotated(module)


if __name__ == "__main__":
    main()
