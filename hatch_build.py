# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the Ansible project into the package; a checkout that is installed as editable is used where it lies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PROJECT = "mayfly/project"
_COLLECTION = f"{_PROJECT}/collections/ansible_collections/mayfly/workers"
_BUNDLES = "roles/transfer_agent/files"
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

        Raises RuntimeError when the wheel would lack the transfer agent's bundles.
        """
        if version == "editable":
            return
        root = Path(self.root)
        missing = [name for name in _bundles(root) if not (root / _BUNDLES / name).is_file()]
        if missing:
            raise RuntimeError(
                f"The transfer agent is not built: {', '.join(missing)} cannot be found in {_BUNDLES}. "
                "Run `make agent` first."
            )
        build_data["force_include"].update({str(root / source): target for source, target in _PARTS.items()})


def _bundles(root: Path) -> list[str]:
    """What the agent's own module calls them."""
    sys.path.insert(0, str(root / "agent"))
    try:
        from mayfly_agent.bundle import ARCHITECTURES, PYTHONS, file_name
    finally:
        sys.path.pop(0)
    return [file_name(architecture, python) for architecture in ARCHITECTURES for python in PYTHONS]
