# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a repository, and look whether one can be used."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from ..context import Context
from ..errors import KeeperError
from ..repositories import ObjectNotFound, keys, open_repository, repository, store_of, wraps_for
from . import operation


@operation("repository.create")
def create(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{changed, repository: {id, created}}"""
    setting = arguments["repository"]
    with context.report.stage("Creating"):
        store = store_of(context.run.clients, setting)
        _refuse_default_retention(context, setting)
        if context.check:
            try:
                return {"changed": False, "repository": {"id": repository.open_info(store).id}}
            except ObjectNotFound:
                return {"changed": True, "repository": {"id": None}}
        info, changed = repository.create(store, lambda identity: wraps_for(context, setting, keys.new_key(), identity))
    return {"changed": changed, "repository": {"id": info.id, "created": info.created}}


@operation("repository.check")
def check(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{changed, repository: {id}}; raises what would stop a backup, before anything is launched."""
    opened = open_repository(context, arguments["repository"])
    if not context.check:
        context.run.once(f"writable {opened.info.id}", lambda: _writable(opened.store))
    return {"changed": False, "repository": {"id": opened.info.id}}


def _writable(store: Any) -> bool:
    repository.check_writable(store)
    return True


def _refuse_default_retention(context: Context, setting: dict[str, Any]) -> None:
    s3 = context.run.clients.client(str(setting["account"]), str(setting["region"]), "s3")
    place = {"Bucket": setting["bucket"], "ExpectedBucketOwner": str(setting["account"])}
    try:
        lock = s3.get_object_lock_configuration(**place)["ObjectLockConfiguration"]
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "ObjectLockConfigurationNotFoundError":
            return
        if code in ("NoSuchBucket", "404"):
            message = f"There is no bucket {setting['bucket']}."
            raise KeeperError("NoSuchBucket", message, "Make it first, or mend bucket of mayfly_repository.") from error
        raise
    if lock.get("Rule", {}).get("DefaultRetention"):
        message = f"The bucket {setting['bucket']} has a default retention, which would lock leases too."
        raise KeeperError("DefaultRetention", message, "Take the bucket's default retention away.")
