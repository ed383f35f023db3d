#!/usr/bin/python
"""A user of Riak CS by its e-mail address, which is unique: found, or made by the admin API."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
from email.utils import formatdate

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: riak_cs_user
short_description: Make sure that a user of Riak CS exists
description:
  - A user that is known by its key is only asked for. Otherwise it is made, and one that has the e-mail address already
    is looked up, so a lost file of credentials makes no second user.
options:
  endpoint: {description: Address and port of the admin API., type: str, required: true}
  admin_access_key: {description: Key of the admin., type: str, required: true}
  admin_secret_key: {description: Secret of the admin., type: str, required: true}
  name: {description: Name of the user., type: str, required: true}
  email: {description: E-mail address of the user., type: str, required: true}
  access_key: {description: Key that the user is thought to have., type: str, default: ""}
  deadline: {description: Seconds for one request., type: int, default: 120}
author: [Millrace]
"""

EXAMPLES = r"""
- name: A user for the gateways
  riak_cs_user:
    endpoint: 10.0.0.1:8000
    admin_access_key: KEY
    admin_secret_key: SECRET
    name: millrace
    email: millrace@riak-cs.invalid
"""

RETURN = r"""
access_key: {description: Key of the user., type: str, returned: success}
secret_key: {description: Secret of the user., type: str, returned: success}
"""

KIND = "application/json"


class Unexpected(Exception):
    """The admin API said something else; carries the words for the operator."""


class AdminApi:
    def __init__(self, params):
        self.endpoint, self.deadline = params["endpoint"], params["deadline"]
        self.key, self.secret = params["admin_access_key"], params["admin_secret_key"]

    def request(self, method, path, document=None):
        """(status, body) of one signed request."""
        date, kind = formatdate(usegmt=True), KIND if document else ""
        text = f"{method}\n\n{kind}\n{date}\n{path}"
        signature = base64.b64encode(hmac.new(self.secret.encode(), text.encode(), hashlib.sha1).digest()).decode()
        headers = {"Date": date, "Accept": KIND, "Authorization": f"AWS {self.key}:{signature}"}
        if document:
            headers["Content-Type"] = kind
        connection = http.client.HTTPConnection(self.endpoint, timeout=self.deadline)
        try:
            connection.request(method, path, json.dumps(document) if document else None, headers)
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise Unexpected(f"the admin API at {self.endpoint} did not answer {method} {path}: {error}") from error
        finally:
            connection.close()


def users_in(listing):
    """The users of a listing, which is multipart/mixed with a JSON list in each part, or `""` in an empty one."""
    for line in listing.splitlines():
        if line.startswith("["):
            yield from json.loads(line)


def find_or_make(api, params):
    """(changed, user)."""
    if params["access_key"]:
        status, body = api.request("GET", f"/riak-cs/user/{params['access_key']}")
        if status == 200:
            return False, json.loads(body)
        if "InvalidAccessKeyId" not in body:
            raise Unexpected(f"the admin API refused to tell of {params['name']}: HTTP {status} {body[:200]}")
    status, body = api.request("POST", "/riak-cs/user", {"name": params["name"], "email": params["email"]})
    if status == 201:
        return True, json.loads(body)
    if "InvalidAccessKeyId" in body:
        raise Unexpected(
            f"Riak CS at {api.endpoint} does not know the admin's key: it is that of another cluster, or of one that "
            "was removed with its data. Remove riak_cs_credentials_file, so that the admin is found or made anew"
        )
    if status != 409:
        raise Unexpected(f"the admin API made no user {params['name']}: HTTP {status} {body[:200]}")
    status, body = api.request("GET", "/riak-cs/users")
    if status != 200:
        raise Unexpected(f"the admin API listed no users: HTTP {status} {body[:200]}")
    for user in users_in(body):
        if user["email"] == params["email"]:
            return False, user
    raise Unexpected(f"a user {params['email']} exists and does not: the listing does not show it")


def main():
    module = AnsibleModule(
        argument_spec={
            "endpoint": {"type": "str", "required": True},
            "admin_access_key": {"type": "str", "required": True, "no_log": False},
            "admin_secret_key": {"type": "str", "required": True, "no_log": True},
            "name": {"type": "str", "required": True},
            "email": {"type": "str", "required": True},
            "access_key": {"type": "str", "default": "", "no_log": False},
            "deadline": {"type": "int", "default": 120},
        },
        supports_check_mode=False,
    )
    try:
        changed, user = find_or_make(AdminApi(module.params), module.params)
    except Unexpected as unexpected:
        module.fail_json(msg=str(unexpected))
    module.exit_json(changed=changed, access_key=user["key_id"], secret_key=user["key_secret"])


if __name__ == "__main__":
    main()
