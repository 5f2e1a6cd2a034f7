# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory: every subnet that workers may run in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible.vars.plugins import get_vars_from_inventory_sources
from ansible_collections.mayfly.workers.plugins.plugin_utils import worker_networks
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.clients import SessionClients
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.pictures import Pictures
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.translation import as_keeper_error
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.errors import PlacementError
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.checks import CheckOperations
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.model import SettingError, read
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Settings
from ansible_collections.mayfly.workers.plugins.plugin_utils.worker_networks import WorkerNetwork
from botocore.exceptions import BotoCoreError, ClientError

_GROUP = "worker_networks"

DOCUMENTATION = """
name: worker_networks
short_description: Subnets that workers may run in
version_added: 0.1.0
author: The mayfly project (@mayfly)
description:
  - The playbook C(worker_check) checks networks; each subnet that C(mayfly_networks) offers becomes a host of the group
    C(worker_networks), named after its Name tag (or its VPC) and its id.
  - C(mayfly_networks) of such a host is narrowed to its subnet, with the security groups that go with it.
  - Settings are taken from C(group_vars/all) beside this file, so that what is checked is what is used.
  - An entry that names what is not there, or cannot be looked up, is an error.
  - The file's name must end in C(worker_networks.yml) or C(worker_networks.yaml).
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [mayfly.workers.worker_networks]
  networks:
    description:
      - Networks, as C(mayfly_networks) says them; values may be templates over C(group_vars/all).
      - Without it, C(mayfly_networks) itself is taken.
    type: raw
  accounts:
    description:
      - Accounts and their roles by name, as C(mayfly_accounts) says them; values may be templates, as of O(networks).
      - Without it, C(mayfly_accounts) itself is taken.
      - Of an account without C(role_arn), the credentials of the environment must be its own.
    type: raw
  regions:
    description:
      - Regions of entries that name none.
      - Of an entry without account or Region, those places are passed over in which no VPC bears its tag.
    type: list
    elements: str
    default: []
  operations:
    description:
      - The operations to check these networks for; becomes C(mayfly_check_operations) of each host.
      - Without it, C(mayfly_check_operations) counts wherever it is set.
    type: list
    elements: str
    default: []
"""

EXAMPLES = """
# worker_networks.yml, with mayfly_networks and mayfly_accounts in group_vars/all beside it
---
plugin: mayfly.workers.worker_networks

# by itself
---
plugin: mayfly.workers.worker_networks
networks:
  - tag: {key: mayfly, value: workers}
accounts:
  backup:
    id: "111122223333"
    role_arn: arn:aws:iam::111122223333:role/mayfly
regions: [eu-central-1]
operations: [ec2_backup]
"""


class InventoryModule(BaseInventoryPlugin):
    """See DOCUMENTATION."""

    NAME = "mayfly.workers.worker_networks"

    def verify_file(self, path: str) -> bool:
        """Whether the file's name says that it is meant for this plugin."""
        return super().verify_file(path) and path.endswith(("worker_networks.yml", "worker_networks.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory; raises AnsibleParserError."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        shared = get_vars_from_inventory_sources(loader, [path], [inventory.groups["all"]], "all")
        self.templar.available_variables = shared
        try:
            found, operations = self._find(shared)
        except (KeeperError, PlacementError, SettingError, BotoCoreError, ClientError) as error:
            raise AnsibleParserError(f"{path}: {as_keeper_error(error).text}") from None  # it would be shown twice
        inventory.add_group(_GROUP)
        for each in found:
            inventory.add_host(each.host, group=_GROUP)
            inventory.set_variable(each.host, "mayfly_resource", each.resource)
            inventory.set_variable(each.host, "mayfly_networks", list(each.networks))
            if operations:
                inventory.set_variable(each.host, "mayfly_check_operations", list(operations))

    def _find(self, shared: Mapping[str, Any]) -> tuple[list[WorkerNetwork], tuple[str, ...]]:
        """The subnets, and the operations that this file names for them."""
        names = ("networks", "accounts")
        settings = Settings.from_call({name: self._setting(name, shared) for name in names})
        if not settings.networks:
            message = "There is no network to check: mayfly_networks is empty."
            raise KeeperError("NoNetworks", message, "Set it in group_vars/all beside the inventory file.")
        operations: tuple[str, ...] = ()
        if named := self._setting("operations", {}):
            operations = read(CheckOperations, "mayfly_check_operations", named)
        clients = SessionClients("mayfly-inventory")
        clients.use(settings.accounts.values())
        ids, regions = [each.id for each in settings.accounts.values()], self._setting("regions", {})
        pictures = Pictures(clients)
        return worker_networks.find(settings.networks, dict.fromkeys(ids), regions, pictures.picture), operations

    def _setting(self, option: str, shared: Mapping[str, Any]) -> Any:
        """An option, or else the setting of that name, with its templates filled in."""
        given = self.get_option(option)
        return self.templar.template(shared.get(f"mayfly_{option}") if given is None else given)
