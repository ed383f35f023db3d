#!/usr/bin/python
"""Users and roles of etcd."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.etcd_json import EtcdClient, EtcdRefused, EtcdUnreachable, encode, end_of_prefix

DOCUMENTATION = r"""
module: etcd_access
short_description: Users of etcd with a role each, and authentication turned on
description:
  - Passwords are tried before they are set, so a second run changes nothing. As long as authentication is off they
    cannot be tried, and are set. Users and roles that are not named are left alone.
options:
  endpoints:
    description: Client URLs of the members to ask, in order.
    type: list
    elements: str
    required: true
  root_password:
    description: Password that root is to have.
    type: str
    required: true
  former_root_password:
    description: Password that root may have had before.
    type: str
    default: ""
  users:
    description: Each with C(name), C(password) and the C(prefixes) that it may read and write.
    type: list
    elements: dict
    default: []
  tls:
    description: Paths C(ca_file), C(cert_file), C(key_file); empty for plain HTTP.
    type: dict
    default: {}
author:
  - The Millrace authors
"""

EXAMPLES = r"""
- name: Let Millrace in
  etcd_access:
    endpoints: ["https://10.0.0.1:2379"]
    root_password: "{{ root_password }}"
    users:
      - { name: millrace, password: "{{ password }}", prefixes: [/millrace/] }
"""

RETURN = r"""
done:
  description: What was changed, in words.
  returned: always
  type: list
  elements: str
"""

ROOT = "root"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "endpoints": {"type": "list", "elements": "str", "required": True},
            "root_password": {"type": "str", "required": True, "no_log": True},
            "former_root_password": {"type": "str", "default": "", "no_log": True},
            "users": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "password": {"type": "str", "required": True, "no_log": True},
                    "prefixes": {"type": "list", "elements": "str", "required": True},
                },
            },
            "tls": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    given = module.params
    access = Access(lambda: EtcdClient(given["endpoints"], **given["tls"]), module.check_mode)
    try:
        access.ensure(given["root_password"], given["former_root_password"], given["users"])
    except EtcdUnreachable as error:
        module.fail_json(msg=f"no member of the etcd cluster answers: {error}")
    except EtcdRefused as error:
        module.fail_json(msg=f"etcd refuses: {error}", done=access.done)
    module.exit_json(changed=bool(access.done), done=access.done)


class Access:
    """Brings users and roles to what is wanted. Every step can be repeated, so a run that broke off is taken up."""

    def __init__(self, new_client, check_mode: bool) -> None:
        self._new_client = new_client
        self._client = new_client()
        self._check_mode = check_mode
        self.done: list[str] = []

    def ensure(self, root_password: str, former: str, users: list[dict]) -> None:
        enabled = self._log_in(root_password, former)
        known = set(self._client.call("auth/user/list").get("users", []))
        if not enabled:
            self._user(ROOT, root_password, known, enabled)
        if ROOT not in self._roles_of(ROOT, known):
            self._do("root gets the role root", "auth/user/grant", user=ROOT, role=ROOT)
        roles = set(self._client.call("auth/role/list").get("roles", []))
        for user in users:
            self._role(user["name"], user["prefixes"], roles)
            self._user(user["name"], user["password"], known, enabled)
            if user["name"] not in self._roles_of(user["name"], known):
                what = f"user {user['name']} gets its role"
                self._do(what, "auth/user/grant", user=user["name"], role=user["name"])
        if not enabled:
            self._do("authentication is turned on", "auth/enable")

    def _log_in(self, password: str, former: str) -> bool:
        """Whether authentication is on; then as root, with the new password."""
        try:
            self._client.log_in(ROOT, password)
            return True
        except EtcdRefused as error:
            if "not enabled" in str(error):
                return False
            if not former:
                raise EtcdRefused(
                    f"{error}: root's password is not the given one; while it is being replaced, give the former too"
                ) from error
        self._client.log_in(ROOT, former)
        self._do("root gets its new password", "auth/user/changepw", name=ROOT, password=password)
        if not self._check_mode:
            self._client.log_in(ROOT, password)
        return True

    def _user(self, name: str, password: str, known: set[str], enabled: bool) -> None:
        if name not in known:
            self._do(f"user {name} is made", "auth/user/add", name=name, password=password)
        elif not enabled or not self._fits(name, password):
            self._do(f"user {name} gets its password", "auth/user/changepw", name=name, password=password)

    def _fits(self, name: str, password: str) -> bool:
        try:
            self._new_client().log_in(name, password)
        except EtcdRefused:
            return False
        return True

    def _roles_of(self, name: str, known: set[str]) -> list[str]:
        if name not in known:
            return []
        return self._client.call("auth/user/get", name=name).get("roles", [])

    def _role(self, name: str, prefixes: list[str], roles: set[str]) -> None:
        found = set()
        if name in roles:
            answer = self._client.call("auth/role/get", role=name)
            rights = answer.get("perm", [])
            found = {(one.get("permType", "READ"), one.get("key", ""), one.get("range_end", "")) for one in rights}
        else:
            self._do(f"role {name} is made", "auth/role/add", name=name)
        wanted = {("READWRITE", encode(prefix), end_of_prefix(prefix)): prefix for prefix in prefixes}
        for kind, key, end in sorted(found - wanted.keys()):
            self._do(f"role {name} loses a right ({kind})", "auth/role/revoke", role=name, key=key, range_end=end)
        for right, prefix in wanted.items():
            if right not in found:
                permission = {"permType": right[0], "key": right[1], "range_end": right[2]}
                self._do(f"role {name} may read and write {prefix}", "auth/role/grant", name=name, perm=permission)

    def _do(self, what: str, method: str, **fields: object) -> None:
        if not self._check_mode:
            self._client.call(method, **fields)
        self.done.append(what)


if __name__ == "__main__":
    main()
