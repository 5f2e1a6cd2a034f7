# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine image of workers, resolved once a run and recorded."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .errors import KeeperError

# Debian's own account (https://wiki.debian.org/Cloud/AmazonEC2Image/Bookworm).
DEFAULT = {"owner": "136693071363", "name": "debian-12-a*"}
_SEE = "Set mayfly_worker_image to {id} or {owner, name}; group_vars/all/workers.yml explains it."


@dataclass(frozen=True)
class Image:
    """A machine image; ``created`` is AWS's own time of its creation."""

    id: str
    name: str
    owner: str
    architecture: str
    root_device_name: str
    created: str

    def as_dict(self) -> dict[str, str]:
        """The form for results and reports."""
        return asdict(self)


def resolve(ec2: Any, setting: Mapping[str, Any] | None, architecture: str | None = None) -> Image:
    """The image that the setting names; of several, the newest. For ``architecture`` if given.

    Raises KeeperError when the setting is wrong or nothing fits it, botocore's errors otherwise.
    """
    setting = {key: value for key, value in (setting or {}).items() if value} or DEFAULT  # a blank counts as not given
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
    newest = max(found, key=lambda each: (each["CreationDate"], each["ImageId"]))
    return Image(
        id=newest["ImageId"],
        name=newest.get("Name", ""),
        owner=newest.get("OwnerId", ""),
        architecture=newest["Architecture"],
        root_device_name=newest["RootDeviceName"],
        created=newest["CreationDate"],
    )


class Images:
    """The images of a run: each setting is resolved once for an account, a Region and an architecture."""

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], Image] = {}
        self._locks: dict[tuple[Any, ...], threading.Lock] = defaultdict(threading.Lock)

    def resolve(
        self, ec2: Any, place: tuple[str, str], setting: Mapping[str, Any] | None, architecture: str | None = None
    ) -> Image:
        """As :func:`resolve`, asked once; ``place`` is the account and the Region of ``ec2``."""
        key = (*place, tuple(sorted((setting or {}).items())), architecture)
        with self._locks[key]:
            if key not in self._found:
                self._found[key] = resolve(ec2, setting, architecture)
            return self._found[key]
