#!/usr/bin/python
"""Riak's bucket types, made and activated by `riak admin bucket-type`, judged by what it prints: failures exit 0."""

from __future__ import annotations

import json
import re
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: riak_bucket_type
short_description: Create, update and activate a bucket type of Riak KV
description:
  - Runs C(riak admin bucket-type) on the host and judges every command by its words, since failures exit 0.
  - Changes nothing when the type is active and has the properties. Properties that are not named are left alone.
options:
  command: {description: The admin command with its fixed arguments., type: list, elements: str, required: true}
  name: {description: The bucket type., type: str, required: true}
  properties: {description: What it must have., type: dict, default: {}}
  attempts: {description: How often a command that may pass later is tried., type: int, default: 1}
  delay: {description: Seconds between two attempts., type: int, default: 5}
  deadline: {description: Seconds after which one command is ended., type: int, default: 60}
author: [Millrace]
"""

EXAMPLES = r"""
- name: A type with siblings
  riak_bucket_type:
    command: [riak, admin]
    name: millrace
    properties:
      allow_mult: true
"""

RETURN = r"""
said: {description: The words of the last command that changed something., type: str, returned: when changed}
"""

FIXED = ("datatype", "consistent", "write_once")
"""Properties that can only be given at creation."""


def read_status(words, name):
    """(state, properties as words) of `bucket-type status`; the state is active, inactive, missing or unknown."""
    if f"{name} is not an existing bucket type" in words:
        return "missing", {}
    rows = dict(re.findall(r"^([a-z_]+): (.*)$", words, re.MULTILINE))
    # The words of one that was created and not activated: "<name> has been created and may be activated".
    if re.search(rf"^{re.escape(name)} is active\s*$", words, re.MULTILINE):
        return "active", rows
    if re.search(rf"^{re.escape(name)} (is not active|has been created)", words, re.MULTILINE):
        return "inactive", rows
    return "unknown", rows


def differing(wanted, shown):
    """Names of properties that are not as they should be. Binaries are shown as text, <<"text">> or 'text'."""
    found = []
    for name, value in wanted.items():
        as_words = str(value).lower() if isinstance(value, bool) else str(value)
        if re.sub(r"""^(<<"|'|")|(">>|'|")$""", "", shown.get(name, "").strip()) != as_words:
            found.append(name)
    return sorted(found)


class Types:
    def __init__(self, module):
        self.module = module
        self.command = [*module.params["command"], "bucket-type"]

    def say(self, *arguments):
        try:
            run = subprocess.run(
                [*self.command, *arguments],
                check=False,
                timeout=self.module.params["deadline"],
                cwd="/",  # another user than root may not be where root is
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except subprocess.TimeoutExpired:
            return "no answer within {} s".format(self.module.params["deadline"])
        except OSError as error:
            self.module.fail_json(msg="{} cannot be run: {}".format(" ".join(self.command), error))
        return run.stdout.decode("utf-8", "replace")

    def insist(self, ok, *arguments):
        """Repeats a command until its words have `ok` in them; returns them, or fails with them."""
        words = ""
        for attempt in range(self.module.params["attempts"]):
            if attempt:
                time.sleep(self.module.params["delay"])
            words = self.say(*arguments)
            if ok in words:
                return words
            if words.startswith(("Error ", "Cannot ")):  # the request itself is wrong
                break
        self.module.fail_json(
            msg="`{} {}` was refused: {}".format(" ".join(self.command), " ".join(arguments), words.strip()), said=words
        )
        return ""

    def status(self, name):
        for attempt in range(self.module.params["attempts"]):
            if attempt:
                time.sleep(self.module.params["delay"])
            words = self.say("status", name)
            state, shown = read_status(words, name)
            if state != "unknown":
                return state, shown
        self.module.fail_json(msg=f"The bucket type {name} cannot be looked at: {words.strip()}", said=words)
        return "unknown", {}


def main():
    module = AnsibleModule(
        argument_spec={
            "command": {"type": "list", "elements": "str", "required": True},
            "name": {"type": "str", "required": True},
            "properties": {"type": "dict", "default": {}},
            "attempts": {"type": "int", "default": 1},
            "delay": {"type": "int", "default": 5},
            "deadline": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    types = Types(module)
    name, wanted = module.params["name"], module.params["properties"]
    state, shown = types.status(name)
    wrong = differing(wanted, shown)
    if state == "active" and not wrong:
        module.exit_json(changed=False)
    if state == "active" and set(wrong) & set(FIXED):
        module.fail_json(
            msg="The bucket type {} is active, and {} cannot be changed then: take another name.".format(
                name, ", ".join(sorted(set(wrong) & set(FIXED)))
            )
        )
    if module.check_mode:
        module.exit_json(changed=True, said="")
    # Without spaces: older wrappers of the command split their arguments at them.
    text = json.dumps({"props": wanted}, sort_keys=True, separators=(",", ":"))
    if state == "active":
        module.exit_json(changed=True, said=types.insist(f"{name} updated", "update", name, text))
    if state == "missing" or wrong:
        types.insist(f"{name} created", "create", name, text)
    module.exit_json(changed=True, said=types.insist(f"{name} has been activated", "activate", name))


if __name__ == "__main__":
    main()
