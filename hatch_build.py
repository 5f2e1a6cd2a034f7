# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the Ansible project into the package; a checkout that is installed as editable is used where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PROJECT = "mayfly/project"
_COLLECTION = f"{_PROJECT}/collections/ansible_collections/mayfly/workers"
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
        """Called before a wheel is built; ``version`` is standard or editable."""
        if version != "editable":
            parts = {str(Path(self.root, source)): target for source, target in _PARTS.items()}
            build_data["force_include"].update(parts)
