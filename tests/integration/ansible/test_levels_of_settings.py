# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's value wins wherever it is given: levels of variables in a checkout, and over an installed collection.

By Ansible's own order, as https://docs.ansible.com/ansible/latest/playbook_guide/playbooks_variables.html has it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.labs import ROOT
from tests.unit.playbooks.test_settings import MAPPING, ROLES, WITHOUT_DEFAULT, role_defaults

pytestmark = pytest.mark.timeout(300)
SECONDS = 120  # for one program
HOST, GROUP = "web", "ec2"
RESOURCE = {"account": "111122223333", "region": "eu-central-1", "kind": "ec2", "id": "i-1"}
COLLECTIONS = str(ROOT / "collections")
# From the lowest to the highest, each with a setting that it and all below it give, so that each has to win for one.
LEVELS = {
    "variables of AWX's inventory": "mayfly_worker_ssh_user",
    "variables of a group of AWX's": "mayfly_worker_market",
    "group_vars/all of the inventory": "mayfly_worker_ssh_port",
    "group_vars/all of the project": "mayfly_control_node_cidr",
    "group_vars of the inventory for a group": "mayfly_worker_account",
    "group_vars of the project for a group": "mayfly_worker_order",
    "variables of a host of AWX's": "mayfly_max_workers",
    "host_vars of the inventory": "mayfly_capacity_timeout",
    "extra variables": "mayfly_networks",
}
# Shows the role's variables: in check mode, there is nothing to terminate.
SHOW = """\
- name: Show what the role worker is told
  hosts: ec2
  gather_facts: false
  vars:
    mayfly_operation: ec2_backup
  tasks:
    - name: Have the role's defaults
      ansible.builtin.import_role:
        name: mayfly.workers.worker
        tasks_from: terminate
    - name: Show them
      ansible.builtin.debug:
        msg: "shown={{ shown | to_json | b64encode }}="
      vars:
        shown: {shown}
"""
ALL = {
    name: match[1]
    for role in ROLES
    for name, value in role_defaults(role).items()
    if (match := MAPPING.match(str(value)))
}


def run(folder: Path, *words: str, code: int = 0, **environment: str) -> str:
    """What ansible-playbook prints in a folder, over the inventory beside it."""
    own = {"ANSIBLE_NOCOLOR": "1", "HOME": str(folder.parent), "MAYFLY_RUNS_DIR": str(folder.parent / "runs")}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MAYFLY_"))}
    done = subprocess.run(
        ["ansible-playbook", "-i", str(folder.parent / "inventory"), "--check", *words],
        cwd=folder,
        env={**inherited, **own, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def shown(output: str) -> dict[str, Any]:
    """What SHOW has shown."""
    (found,) = re.findall(r"shown=([A-Za-z0-9+/=]+)=\"", output)
    value: dict[str, Any] = json.loads(base64.b64decode(found))
    return value


def show(*names: str) -> str:
    """SHOW for these variables."""
    return SHOW.replace("{shown}", json.dumps({name: f"{{{{ {name} }}}}" for name in names}))


def given_at(number: int) -> dict[str, str]:
    """The settings that a level gives, each with a value of its own."""
    return {name: f"level {number}" for each, name in enumerate(LEVELS.values()) if number <= each}


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout's playbooks with its group_vars, beside an inventory as AWX gives it: a program that prints it."""
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    shutil.copytree(ROOT / "group_vars", tmp_path / "project/group_vars")
    shutil.copytree(ROOT / "playbooks", tmp_path / "project/playbooks", symlinks=True)
    assert (tmp_path / "project/playbooks/group_vars").resolve() == tmp_path / "project/group_vars"
    return tmp_path / "project"


def write_inventory(folder: Path, everywhere: Any, group: Any, host: Any) -> None:
    listed = {
        "all": {"vars": everywhere, "children": [GROUP]},
        GROUP: {"hosts": [HOST], "vars": group},
        "_meta": {"hostvars": {HOST: host}},
    }
    program = folder / "hosts"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(listed)}\nEND\n")
    program.chmod(0o755)


def test_each_level_wins_over_those_below(project: Path) -> None:
    inventory, levels = project.parent / "inventory", list(LEVELS)
    given = {name: given_at(number) for number, name in enumerate(levels)}
    write_inventory(inventory, given[levels[0]], given[levels[1]], given["variables of a host of AWX's"])
    write(inventory / "group_vars/all/mayfly.yml", given["group_vars/all of the inventory"])
    write(project / "group_vars/all/own.yml", given["group_vars/all of the project"])
    write(inventory / f"group_vars/{GROUP}.yml", given["group_vars of the inventory for a group"])
    write(project / f"group_vars/{GROUP}.yml", given["group_vars of the project for a group"])
    write(inventory / f"host_vars/{HOST}.yml", given["host_vars of the inventory"])
    by_setting = {setting: name for name, setting in ALL.items()}
    (project / "playbooks/show.yml").write_text(show(*(by_setting[each] for each in LEVELS.values()), "worker_max"))
    extra = json.dumps(given["extra variables"])
    found = shown(run(project, "playbooks/show.yml", "-e", extra, ANSIBLE_COLLECTIONS_PATH=COLLECTIONS))
    assert {setting: found[by_setting[setting]] for setting in LEVELS.values()} == {
        setting: f"level {number}" for number, setting in enumerate(LEVELS.values())
    }


def test_the_project_itself_gives_nothing_and_blank_answers_count_as_not_given(project: Path) -> None:
    """What AWX gives is the lowest of all but the roles' defaults, so the project must not speak at all."""
    write_inventory(project.parent / "inventory", {}, {}, {"mayfly_resource": RESOURCE})
    files = [role / "defaults/main.yml" for role in ROLES]
    roles = "".join(f"    - ansible.builtin.include_vars: {path}\n" for path in files)
    names = [name for name, setting in ALL.items() if setting not in WITHOUT_DEFAULT]
    (project / "playbooks/show.yml").write_text(show(*names).replace("  tasks:\n", f"  tasks:\n{roles}") + PLACE)
    needed = {"mayfly_repository": {"region": "eu-central-1"}}
    blank = {**dict.fromkeys(ALL.values(), ""), **needed}
    plain, given = (
        run(project, "playbooks/show.yml", "-e", json.dumps(each), code=2, ANSIBLE_COLLECTIONS_PATH=COLLECTIONS)
        for each in (needed, blank)
    )
    assert shown(plain) == shown(given)
    assert shown(given)["worker_market"] == "on-demand"
    assert shown(given)["worker_capacity_timeout"] == 900
    # The specification of the role's arguments, and the module's own, have let it pass.
    for output in (plain, given):
        assert "There is no keeper to ask for placement.plan" in output, output[-2000:]


PLACE = """\
    - name: Place a worker, which there is no keeper for
      ansible.builtin.include_role:
        name: mayfly.workers.worker
        tasks_from: place
"""


def test_a_user_of_the_installed_collection_has_the_last_word(tmp_path: Path) -> None:
    """From an empty folder and with an inventory of their own; the keeper says which values it has heard."""
    built = ["ansible-galaxy", "collection", "build", str(ROOT), "--output-path", str(tmp_path)]
    subprocess.run(built, check=True, capture_output=True, timeout=SECONDS)
    (artefact,) = tmp_path.glob("mayfly-workers-*.tar.gz")
    installed = ["ansible-galaxy", "collection", "install", str(artefact), "--no-deps", "--offline"]
    there = ("-p", str(tmp_path / "collections"))
    subprocess.run([*installed, *there], check=True, capture_output=True, timeout=SECONDS, cwd=tmp_path)
    (tmp_path / "empty").mkdir()
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    # Refused in the order of the schema, the first three by name and value.
    names = ("mayfly_lease", "mayfly_deadline", "mayfly_hook_timeout")
    accounts = {"backup": {"id": "111122223333"}}
    write_inventory(inventory, dict.fromkeys(names, "from AWX"), {}, {"mayfly_resource": RESOURCE})
    repository = {"bucket": "b", "region": "eu-central-1", "account": "111122223333", "kms_key_id": "k"}
    own = {"mayfly_accounts": accounts, "mayfly_repository": repository}
    write(inventory / "group_vars/all.yml", {**own, names[1]: "from all", names[2]: "from all"})
    write(inventory / f"group_vars/{GROUP}.yml", {names[2]: "from the group"})
    environment = {
        "ANSIBLE_CALLBACKS_ENABLED": "mayfly.workers.guard",
        "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections"),
    }
    extra = ("-e", json.dumps({names[2]: "from the command line"}))
    for words, last in (((), "from the group"), (extra, "from the command line")):
        output = run(tmp_path / "empty", "mayfly.workers.ec2_backup", *words, code=2, **environment)
        for name, value in zip(names, ("from AWX", "from all", last), strict=True):
            assert f"{name} is '{value}', not a number of seconds" in output, output[-3000:]
