# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore: a restore point into new snapshots of the target's account and Region."""

from __future__ import annotations

from typing import Any

from ..context import Context
from ..policies import write_policy
from ..repositories import ResourceName, open_repository, repository
from .part import Part, Session, data_fields, partition, repository_session


def build(context: Context, arguments: dict[str, Any]) -> Part:
    """See jobs.BUILD; from now on, the run looks after snapshots that are made in the target's place."""
    fields = data_fields(context, arguments)
    target = arguments["target"]
    place = (str(target["account"]), str(target["region"]))
    context.run.check_open()
    context.run.temporaries.watch(*place)
    context.state.restore_place = place
    return Part(
        fields={
            **fields,
            "restore_point": arguments["restore_point"],
            "volumes": list(target.get("volumes") or ()),
            "attempt": 1 if context.state.lost is None else 2,
            "target": {
                "region": target["region"],
                "tags": context.tags(),
                "encryption": _encryption(context, arguments, place),
            },
        },
        repository=repository_session(context, arguments, write=False),
        source=Session(place[0], write_policy(partition(context, place[0]), place[1], context.run.id)),
    )


def _encryption(context: Context, arguments: dict[str, Any], place: tuple[str, str]) -> dict[str, str]:
    """{volume: KMS key} of the volumes that were encrypted; an empty key is the account's default one.

    The recorded key serves where it is: in its own account and Region.
    """
    opened = open_repository(context, arguments["repository"])
    name = ResourceName.from_dict(arguments["resource"])
    key = repository.list_points(opened.store, name)[arguments["restore_point"]]
    manifest = repository.read_manifest(opened.store, key, opened.resource_key(name))
    named = arguments["target"].get("kms_key_id") or ""
    at_home = place == (name.account, name.region)
    return {
        volume.volume_id: named or (volume.attributes.get("kms_key_id") or "" if at_home else "")
        for volume in manifest.volumes
        if volume.attributes.get("encrypted") or named
    }
