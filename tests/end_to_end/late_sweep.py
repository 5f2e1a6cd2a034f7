# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.end_to_end.late_sweep SETTING``: sweeps as if what is condemned had been so for long enough.

Prints what lies in the repository then, and what its restore points need, as JSON. No setting of the product can do
that: who restores or backs up meanwhile would find gone what he needs.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.clients import SessionClients
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.repositories import Opened, open_with
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Account
from mayfly_agent.job import Chosen
from mayfly_agent.progress import Progress
from mayfly_agent.repository import layout, repository
from mayfly_agent.repository.layout import ResourceName
from mayfly_agent.repository.trees import TreeReader
from mayfly_agent.sweep import Sweep


def main(setting: dict[str, Any]) -> dict[str, Any]:
    """{left, needed, deleted}: keys below the folders of resources, and how many objects were deleted."""
    clients = SessionClients("late-sweep")
    clients.use([Account.named("backup", id=setting["account"])])
    opened = open_with(clients, setting)
    deleted, left, needed = 0, set[str](), set[str]()
    for name in repository.list_resources(opened.store):
        # What was written anew goes in three steps: the old manifest, what it stood on, the lists that named that.
        for _ in range(3):
            time.sleep(1)  # a list is as old as the clock's second
            chosen = Chosen(name, opened.resource_key(name))
            sweep = Sweep(opened.store, chosen, "late", Progress(), grace=timedelta(0))
            sweep.run()
            deleted += sweep.swept.objects_deleted
        left |= {each.key for each in opened.store.list(f"{name.path}/", versions=True)}
        needed |= _needed(opened, name)
    return {"left": sorted(left), "needed": sorted(needed), "deleted": deleted}


def _needed(opened: Opened, name: ResourceName) -> set[str]:
    found = set()
    for key in repository.list_points(opened.store, name).values():
        found.add(key)
        manifest = repository.read_manifest(opened.store, key, opened.resource_key(name))
        for volume in manifest.volumes:
            tree = TreeReader(manifest.place(volume), opened.resource_key(name), volume.tree(), opened.store)
            for node in tree.walk(set()):
                found.add(layout.node_key(name, node.node.id))
                found |= {layout.pack_key(name, entry.location.pack) for entry in node.entries}
    return found


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
