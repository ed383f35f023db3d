#!/usr/bin/python
"""Membership of an etcd cluster that runs."""

from __future__ import annotations

import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.etcd_json import EtcdClient, EtcdRefused, EtcdUnreachable

DOCUMENTATION = r"""
module: etcd_member
short_description: Makes room for a member in a running etcd cluster, or takes one out
description:
  - With C(state=present) the machine that is to join must have no data. A member of its name or its peer URL that has
    run before has lost its data, and is taken out before the new one is added, since its identity cannot come back.
options:
  endpoints:
    description: Client URLs of the members to ask, in order.
    type: list
    elements: str
    required: true
  name:
    description: Name of the member.
    type: str
    required: true
  peer_url:
    description: Its peer URL; needed for C(present).
    type: str
    default: ""
  state:
    description: Whether there is to be such a member.
    type: str
    choices: [present, absent]
    default: present
  root_password:
    description: Password of root; empty while users are off.
    type: str
    default: ""
  tls:
    description: Paths C(ca_file), C(cert_file), C(key_file); empty for plain HTTP.
    type: dict
    default: {}
author:
  - The Millrace authors
"""

EXAMPLES = r"""
- name: Make room for this machine
  etcd_member:
    endpoints: ["https://10.0.0.1:2379"]
    name: n3
    peer_url: https://10.0.0.3:2380
"""

RETURN = r"""
initial_cluster:
  description: Value of ETCD_INITIAL_CLUSTER with which the member must start.
  returned: with state present
  type: str
removed:
  description: IDs of the members that were taken out.
  returned: always
  type: list
  elements: str
"""

PATIENCE_S = 30.0


def hexadecimal(member: dict) -> str:
    return f"{int(member['ID']):x}"


def to_remove(members: list[dict], name: str, peer_url: str) -> list[dict]:
    """Members of this name, and those at this peer URL that have ever started: a name comes with the first start."""
    return [
        member
        for member in members
        if member.get("name") == name or (peer_url in member.get("peerURLs", []) and member.get("name"))
    ]


def initial_cluster(members: list[dict], name: str, peer_url: str) -> str:
    """As the first start wants it: every member by name, this one by the name that it is going to have."""
    pairs = []
    for member in members:
        urls = member.get("peerURLs", [])
        who = name if peer_url in urls else member.get("name", "")
        pairs += [f"{who}={url}" for url in urls if who]
    return ",".join(sorted(pairs))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "endpoints": {"type": "list", "elements": "str", "required": True},
            "name": {"type": "str", "required": True},
            "peer_url": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "root_password": {"type": "str", "default": "", "no_log": True},
            "tls": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    given = module.params
    client = EtcdClient(given["endpoints"], **given["tls"])
    try:
        if given["root_password"]:
            log_in(client, given["root_password"])
        result = change(client, given, module.check_mode)
    except EtcdUnreachable as error:
        module.fail_json(msg=f"no member of the etcd cluster answers: {error}")
    except EtcdRefused as error:
        module.fail_json(
            msg=f"etcd refuses to change its members: {error}. Look at `etcdctl member list` and their health"
        )
    module.exit_json(**result)


def log_in(client: EtcdClient, password: str) -> None:
    try:
        client.log_in("root", password)
    except EtcdRefused as error:
        if "not enabled" not in str(error):
            raise


def patiently(client: EtcdClient, method: str, **fields: object) -> dict:
    """etcd changes its members only when all that are left were connected for 5 s: wait for that, not for more."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            return client.call(method, **fields)
        except EtcdRefused as error:
            if "unhealthy cluster" not in str(error) or time.monotonic() > give_up_at:
                raise
        time.sleep(1)


def change(client: EtcdClient, given: dict, check_mode: bool) -> dict:
    name, peer_url = given["name"], given["peer_url"]
    members = client.call("cluster/member/list").get("members", [])
    if given["state"] == "absent":
        going = [member for member in members if member.get("name") == name]
        if not check_mode:
            for member in going:
                patiently(client, "cluster/member/remove", ID=member["ID"])
        return {"changed": bool(going), "removed": [hexadecimal(member) for member in going]}
    going = to_remove(members, name, peer_url)
    staying = [member for member in members if member not in going]
    there = any(peer_url in member.get("peerURLs", []) for member in staying)
    if not check_mode:
        for member in going:
            patiently(client, "cluster/member/remove", ID=member["ID"])
        if not there:
            staying = patiently(client, "cluster/member/add", peerURLs=[peer_url])["members"]
    return {
        "changed": bool(going) or not there,
        "removed": [hexadecimal(member) for member in going],
        "initial_cluster": initial_cluster(staying, name, peer_url),
    }


if __name__ == "__main__":
    main()
