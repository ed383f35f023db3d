#!/usr/bin/python
"""Kernel settings below /proc/sys and /sys: applied where the kernel allows it, reported where not."""

from __future__ import annotations

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: kernel_tunables
short_description: Sets kernel values now, and says which could not be set and why
description:
  - Writes below /proc/sys and /sys. It does not make them last; sysctl.d, tmpfiles.d and udev rules do.
options:
  sysctl:
    description: Values by sysctl name.
    type: dict
    default: {}
  files:
    description: Values by path; a file that shows its choices as C(a [b] c) is understood.
    type: dict
    default: {}
  container:
    description: In a container only C(net.*) is its own; the rest is the machine's, and is left alone.
    type: bool
    default: false
author:
  - The Millrace authors
"""

EXAMPLES = r"""
- name: Let Riak keep its memory
  kernel_tunables:
    sysctl:
      vm.swappiness: "0"
"""

RETURN = r"""
not_applied:
  description: One line for each value that is not in force, with the reason.
  returned: always
  type: list
  elements: str
applied:
  description: Names of the values that were changed.
  returned: always
  type: list
  elements: str
"""

SHARED = "it is the setting of the machine that runs this container: set it there"


def in_force(text: str) -> str:
    """The value in the words of the kernel: of `always [never]` the chosen one, blanks as one space."""
    words = text.split()
    chosen = [word[1:-1] for word in words if word.startswith("[") and word.endswith("]")]
    return chosen[0] if chosen else " ".join(words)


def own_in_container(name: str) -> bool:
    return name.startswith("net.")


def set_value(path: Path, wanted: str, check_mode: bool) -> tuple[bool, str]:
    """(changed, reason why the wanted value is not in force)."""
    wanted = " ".join(wanted.split())
    try:
        if in_force(path.read_text()) == wanted:
            return False, ""
        if check_mode:
            os.close(os.open(path, os.O_WRONLY))  # changes nothing, and is refused where the value could not be written
            return True, ""
        path.write_text(wanted)
        found = in_force(path.read_text())
    except FileNotFoundError:
        return False, "this kernel does not have it here"
    except OSError as error:
        return False, f"the kernel refuses it: {error.strerror}"
    if found != wanted:
        return False, f"the kernel took {found!r} instead"
    return True, ""


def shared_value(path: Path, wanted: str) -> tuple[bool, str]:
    """As set_value, of what is not this container's to set."""
    try:
        return False, "" if in_force(path.read_text()) == " ".join(wanted.split()) else SHARED
    except OSError:
        return False, SHARED


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "sysctl": {"type": "dict", "default": {}},
            "files": {"type": "dict", "default": {}},
            "container": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    container = module.params["container"]
    places = [
        (name, Path("/proc/sys", *name.split(".")), str(value), container and not own_in_container(name))
        for name, value in module.params["sysctl"].items()
    ]
    places += [(path, Path(path), str(value), container) for path, value in module.params["files"].items()]
    applied: list[str] = []
    not_applied: list[str] = []
    for name, path, wanted, shared in sorted(places):
        changed, reason = shared_value(path, wanted) if shared else set_value(path, wanted, module.check_mode)
        if changed:
            applied.append(name)
        if reason:
            not_applied.append(f"{name} = {wanted}: {reason}")
    module.exit_json(changed=bool(applied), applied=applied, not_applied=not_applied)


if __name__ == "__main__":
    main()
