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

import boto3
from mayfly_agent.clients import CONFIG
from mayfly_agent.progress import Progress
from mayfly_agent.repository import keys, layout, repository
from mayfly_agent.repository.layout import ResourceName
from mayfly_agent.repository.trees import TreeReader
from mayfly_agent.repository_jobs import Chosen
from mayfly_agent.s3 import S3Objects
from mayfly_agent.sweep import Sweep


def main(setting: dict[str, Any]) -> dict[str, Any]:
    """{left, needed, deleted}: keys below the folders of resources, and how many objects were deleted."""
    store, master = _opened(setting)
    deleted, left, needed = 0, set[str](), set[str]()
    for name in repository.list_resources(store):
        # What was written anew goes in three steps: the old manifest, what it stood on, the lists that named that.
        for _ in range(3):
            time.sleep(1)  # a list is as old as the clock's second
            chosen = Chosen(name, keys.resource_key(master, name))
            sweep = Sweep(store, chosen, "late", Progress(), grace=timedelta(0))
            sweep.run()
            deleted += sweep.swept.objects_deleted
        left |= {each.key for each in store.list(f"{name.path}/", versions=True)}
        needed |= _needed(store, keys.resource_key(master, name), name)
    return {"left": sorted(left), "needed": sorted(needed), "deleted": deleted}


def _opened(setting: dict[str, Any]) -> tuple[S3Objects, bytes]:
    """The repository's objects and its key, with the lab's own rights."""
    client = boto3.client("s3", region_name=setting["region"], config=CONFIG)
    store = S3Objects(client, setting["bucket"], setting["prefix"], setting["account"])
    info = repository.open_info(store)
    kms = boto3.client("kms", region_name=setting["region"])

    def decrypt(sealed: bytes, about: dict[str, str]) -> bytes:
        answer = kms.decrypt(CiphertextBlob=sealed, EncryptionContext=about, KeyId=setting["kms_key_id"])
        return bytes(answer["Plaintext"])

    ((wrap,),) = repository.read_wraps(store, info).values()
    return store, keys.unwrap_with_kms(wrap, decrypt, info.id)


def _needed(store: S3Objects, resource_key: bytes, name: ResourceName) -> set[str]:
    found = set()
    for key in repository.list_points(store, name).values():
        found.add(key)
        manifest = repository.read_manifest(store, key, resource_key)
        for volume in manifest.volumes:
            for node in TreeReader(manifest.place(volume), resource_key, volume.tree(), store).walk(set()):
                found.add(layout.node_key(name, node.node.id))
                found |= {layout.pack_key(name, entry.location.pack) for entry in node.entries}
    return found


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
