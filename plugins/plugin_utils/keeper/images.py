# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine image of workers, resolved once a run and recorded."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from ..placement.picture import Image
from .errors import KeeperError

# Debian's own account (https://wiki.debian.org/Cloud/AmazonEC2Image/Bookworm).
DEFAULT = {"owner": "136693071363", "name": "debian-12-a*"}
_SEE = "Set mayfly_worker_image to {id} or {owner, name}; group_vars/all/workers.yml explains it."


def resolve(ec2: Any, setting: Mapping[str, Any] | None, architecture: str | None = None) -> Image:
    """The image that the setting names; of several, the newest. For ``architecture`` if given.

    Raises KeeperError when the setting is wrong or nothing fits it, botocore's errors otherwise.
    """
    setting = given(setting)
    filters = [{"Name": "state", "Values": ["available"]}]
    arguments: dict[str, Any] = {"Filters": filters}
    if set(setting) == {"id"}:
        filters.append({"Name": "image-id", "Values": [str(setting["id"])]})
    elif set(setting) == {"owner", "name"}:
        arguments["Owners"] = [str(setting["owner"])]
        filters.append({"Name": "name", "Values": [str(setting["name"])]})
    else:
        raise KeeperError("BadImage", f"mayfly_worker_image has the keys {', '.join(sorted(setting))}.", _SEE)
    if architecture is not None:
        filters.append({"Name": "architecture", "Values": [architecture]})
    found = [each for each in ec2.describe_images(**arguments)["Images"] if each.get("RootDeviceType") == "ebs"]
    if not found:
        wanted = ", ".join(f"{key} {value}" for key, value in sorted(setting.items()))
        raise KeeperError("NoImage", f"No machine image has {wanted}, {architecture or 'any architecture'}.", _SEE)
    return as_image(max(found, key=lambda each: (each["CreationDate"], each["ImageId"])))


def given(setting: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The setting without what is blank, which counts as not given; the default for nothing."""
    return {key: value for key, value in (setting or {}).items() if value} or DEFAULT


def as_image(entry: Mapping[str, Any]) -> Image:
    """An image as AWS describes it."""
    return Image(
        id=entry["ImageId"],
        name=entry.get("Name", ""),
        owner=entry.get("OwnerId", ""),
        architecture=entry["Architecture"],
        root_device_name=entry["RootDeviceName"],
        created=entry["CreationDate"],
    )


class Images:
    """The images of a run: each setting is resolved once for an account, a Region and an architecture."""

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], Image] = {}
        self._locks: dict[tuple[Any, ...], threading.Lock] = defaultdict(threading.Lock)

    def by_architecture(
        self, ec2: Any, place: tuple[str, str], setting: Mapping[str, Any], wanted: Collection[str]
    ) -> dict[str, Image]:
        """The setting's image for each architecture that it has one for; ``place`` is account and Region of ``ec2``.

        Raises as :func:`resolve` when there is none for any of them.
        """
        if setting.get("id"):
            image = self._resolve(ec2, place, setting, None)
            return {image.architecture: image}
        found: dict[str, Image] = {}
        missing: KeeperError | None = None
        for architecture in sorted(wanted):
            try:
                found[architecture] = self._resolve(ec2, place, setting, architecture)
            except KeeperError as error:
                if error.code != "NoImage":
                    raise
                missing = error
        if missing is not None and not found:
            raise missing
        return found

    def _resolve(self, ec2: Any, place: tuple[str, str], setting: Mapping[str, Any], architecture: str | None) -> Image:
        key = (*place, tuple(sorted(setting.items())), architecture)
        with self._locks[key]:
            if key not in self._found:
                self._found[key] = resolve(ec2, setting, architecture)
            return self._found[key]
