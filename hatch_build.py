# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the Ansible project into the package; a checkout that is installed as editable is used where it lies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PROJECT = "mayfly/project"
_COLLECTION = f"{_PROJECT}/collections/ansible_collections/mayfly/workers"
_BUNDLES = "roles/transfer_agent/files"
_BUNDLE_SECONDS = 600
_PARTS = {
    "ansible.cfg": f"{_PROJECT}/ansible.cfg",
    "inventories": f"{_PROJECT}/inventories",
    "plugins": f"{_COLLECTION}/plugins",
    "roles": f"{_COLLECTION}/roles",
    # playbooks/group_vars is a link: its files are followed
    "playbooks": f"{_COLLECTION}/playbooks",
    "meta": f"{_COLLECTION}/meta",
    "galaxy.yml": f"{_COLLECTION}/galaxy.yml",
    "agent/mayfly_agent": f"{_COLLECTION}/agent/mayfly_agent",
}


class CustomBuildHook(BuildHookInterface[Any]):
    """See the module."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel is built; ``version`` is standard or editable.

        Builds the transfer agent's bundles that are not there yet or were made of other sources; raises
        CalledProcessError when that fails.
        """
        if version == "editable":
            return
        root = Path(self.root)
        _build_agent(root)
        build_data["force_include"].update({str(root / source): target for source, target in _PARTS.items()})


def _build_agent(root: Path) -> None:
    sys.path.insert(0, str(root / "agent"))
    try:
        from mayfly_agent.bundle import ARCHITECTURES, PYTHONS, digest_in, file_name, sources_digest
    finally:
        sys.path.pop(0)
    paths = [str(root / "agent"), *filter(None, [os.environ.get("PYTHONPATH")])]  # pip has put its own there
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    wanted = sources_digest()
    for architecture in ARCHITECTURES:
        for python in PYTHONS:
            bundle = root / _BUNDLES / file_name(architecture, python)
            if digest_in(bundle) != wanted:
                bundle.parent.mkdir(exist_ok=True)
                words = ["--arch", architecture, "--python", python, "--output", str(bundle)]
                command = [sys.executable, "-m", "mayfly_agent.bundle", *words]
                subprocess.run(command, env=environment, check=True, timeout=_BUNDLE_SECONDS)
