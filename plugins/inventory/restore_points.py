# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory: every resource that has restore points in a repository."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.clients import SessionClients
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.repositories import (
    AgentError,
    Opened,
    ResourceName,
    open_with,
    repository,
)
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Account
from botocore.exceptions import BotoCoreError, ClientError

_READERS = 16  # manifests read at once

DOCUMENTATION = """
name: restore_points
short_description: Resources that have restore points in a repository
version_added: 0.1.0
author: The mayfly project (@mayfly)
description:
  - What was lost is in no live inventory, so resources to restore come from the repository.
  - Each resource becomes a host, named after its name and its id, in the group of its kind, as C(ec2).
  - A repository that cannot be read, or that holds nothing, is an error.
  - The file's name must end in C(restore_points.yml) or C(restore_points.yaml).
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [mayfly.workers.restore_points]
  repository:
    description:
      - The repository, as C(mayfly_repository) says it; values may be templates.
      - Its keys are C(bucket), C(prefix), C(region), C(account), C(kms_key_id), C(passphrase) and
        C(recovery_key).
    type: dict
    required: true
  role_arn:
    description:
      - Role to assume in the account that owns the repository.
      - Without it, the credentials of the environment must be that account's own.
    type: str
  external_id:
    description: External id that the role's trust policy asks for.
    type: str
"""

EXAMPLES = """
# restore_points.yml
plugin: mayfly.workers.restore_points
repository:
  bucket: example-backups
  prefix: mayfly
  region: eu-central-1
  account: "111122223333"
role_arn: arn:aws:iam::111122223333:role/mayfly
"""


class InventoryModule(BaseInventoryPlugin):
    """See DOCUMENTATION."""

    NAME = "mayfly.workers.restore_points"

    def verify_file(self, path: str) -> bool:
        """Whether the file's name says that it is meant for this plugin."""
        return super().verify_file(path) and path.endswith(("restore_points.yml", "restore_points.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory; raises AnsibleParserError."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            found = self._find(self._templated(self.get_option("repository")))
        except (AgentError, KeeperError, BotoCoreError, ClientError) as error:
            raise AnsibleParserError(f"{path}: the repository cannot be read: {error}") from error
        if not found:
            raise AnsibleParserError(f"{path}: the repository holds no restore point.")
        for resource, points in found:
            inventory.add_group(resource["kind"])
            host = resource.get("host") or f"{resource['name']}_{resource['id']}"
            inventory.add_host(host, group=resource["kind"])
            named = {name: value for name, value in resource.items() if name != "host"}
            inventory.set_variable(host, "mayfly_resource", named)
            inventory.set_variable(host, "mayfly_restore_points", points)

    def _find(self, setting: dict[str, Any]) -> list[tuple[dict[str, str], list[str]]]:
        clients = SessionClients("mayfly-inventory")
        roles = {name: self.get_option(name) for name in ("role_arn", "external_id")}
        clients.use([Account.named("backup", id=setting.get("account"), **roles)])
        opened = open_with(clients, setting)
        names = repository.list_resources(opened.store)
        with ThreadPoolExecutor(_READERS) as pool:
            found = list(pool.map(lambda name: self._resource(opened, name), names))
        return [each for each in found if each[1]]

    def _resource(self, opened: Opened, name: ResourceName) -> tuple[dict[str, str], list[str]]:
        """The resource as its newest readable manifest names it, and the ids of its restore points, newest first."""
        points = repository.list_points(opened.store, name)
        ids = sorted(points, reverse=True)
        for identity in ids:
            try:
                manifest = repository.read_manifest(opened.store, points[identity], opened.resource_key(name))
            except AgentError as error:
                # A damaged restore point must not hide the others, of this resource or of any other.
                self.display.warning(f"{name.path}: restore point {identity} cannot be read: {error}")
                continue
            return dict(manifest.resource), ids
        plain = {"account": name.account, "region": name.region, "kind": name.kind, "id": name.id, "name": name.id}
        return plain, ids

    def _templated(self, value: Any) -> Any:
        return self.templar.template(value)
