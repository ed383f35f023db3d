"""Which hops upgrade.yml takes: the version map, asked by the roles' own tasks on what dpkg says is installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOPS = [
    ("riak", "ii  3.2.2-1", "3.2.3", "taken"),
    ("riak", "hi  1:3.0.16-OTP22", "3.2.3", "taken"),
    ("riak", "ii  2.9.10-1", "3.2.3", "refused"),
    ("riak", "ii  3.2.3-1", "3.2.2", "refused"),
    ("riak", "un  <none>", "3.2.3", "taken"),
    ("riak", "iF  3.0.16-1", "3.2.3", "taken"),  # dpkg broke off: the next run finishes it
    ("riak", "ii  3.2.3-1", "4.0.0", "refused"),
    ("riak_cs", "ii  3.1.0-1", "3.2.4", "taken"),
    ("riak_cs", "ii  3.0.1-1", "3.2.4", "refused"),
    ("riak_cs", "ii  2.1.2-1", "3.0.1", "taken"),
    ("riak_cs", "ii  3.2.4-1", "3.2.4", "taken"),
]
PLAY = """\
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ansible_facts: {os_family: Debian}
  tasks:
    - ansible.builtin.include_tasks: hop.yml
      loop: "{{ hops }}"
      loop_control: {loop_var: hop}
    - ansible.builtin.copy: {content: "{{ outcomes | to_json }}", dest: "{{ outcome_file }}", mode: "0600"}
"""
HOP = """\
- block:
    - ansible.builtin.include_role: {name: "{{ hop[0] }}", tasks_from: upgrade_check}
      vars: {riak_version: "{{ hop[2] }}", riak_cs_version: "{{ hop[2] }}"}
    - ansible.builtin.set_fact: {outcomes: "{{ outcomes | default([]) + ['taken'] }}"}
  rescue:
    - ansible.builtin.assert: {that: "'Nothing was changed.' in ansible_failed_result.msg"}
    - ansible.builtin.set_fact: {outcomes: "{{ outcomes | default([]) + ['refused'] }}"}
  environment: {STATE: "{{ hop[1] }}"}
"""


def test_only_hops_of_the_version_map_are_taken(tmp_path: Path) -> None:
    for name, text in (("dpkg-query", '#!/bin/sh\necho "$STATE"\n'), ("play.yml", PLAY), ("hop.yml", HOP)):
        (tmp_path / name).write_text(text)
    (tmp_path / "dpkg-query").chmod(0o755)
    values = {
        "hops": HOPS,
        "outcome_file": str(tmp_path / "outcomes.json"),
        "ansible_python_interpreter": sys.executable,
    }
    ansible = Path(sys.executable).with_name("ansible-playbook")
    run = subprocess.run(
        [ansible, "-i", "localhost,", tmp_path / "play.yml", "-e", json.dumps(values)],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads((tmp_path / "outcomes.json").read_text()) == [hop[3] for hop in HOPS]
