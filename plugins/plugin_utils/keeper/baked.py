# SPDX-License-Identifier: GPL-3.0-or-later
"""Machine images that this deployment has baked: what is installed on them, and which one a worker gets.

An image counts for a setting when it was baked from what the setting names, and only with the very agent that would be
installed: the digest of its bundle stands in a tag. One that bears the tag of temporary things is still being made.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..permissions import WORKER_IMAGE
from ..placement.picture import Image
from ..rights import DEPLOYMENT, TEMPORARY
from . import aws
from .images import as_image, given

BASE = "mayfly:base-image"
BASE_NAME = "mayfly:base-name"
PACKAGES = "mayfly:packages"
_VALUE_CHARACTERS = 256  # EC2's limit for a tag
_PLAYBOOK = "the playbook worker_image bakes one"


#: How the reason for a baked image begins; its base follows, as OWNER/NAME.
FROM = "baked from"


@dataclass(frozen=True)
class Baked:
    """A baked image: ``digest`` is that of its agent's bundle, ``base`` the id of the image it was made from.

    ``base_name`` is OWNER/NAME of the base, which says the same in every Region; ``packages`` as :func:`packages_tag`.
    """

    image: Image
    digest: str
    base: str
    base_name: str
    snapshots: tuple[str, ...]
    packages: str = ""

    @property
    def id(self) -> str:
        """The image's id."""
        return self.image.id

    def is_from(self, setting: Mapping[str, Any]) -> bool:
        """Whether it was baked from what ``mayfly_worker_image`` names."""
        named = given(setting)
        if "id" in named:
            return self.base == str(named["id"])
        owner, _, name = self.base_name.partition("/")
        by_alias = not str(named.get("owner")).isdigit()  # as self or amazon
        return (by_alias or owner == str(named["owner"])) and _matches(name, str(named.get("name")))


def tags_of(base: Mapping[str, Any], digest: str, packages: str = "") -> dict[str, str]:
    """The tags of an image that is made from ``base`` (id, owner, name) with the agent of that digest."""
    of_packages = {PACKAGES: packages} if packages else {}
    return {WORKER_IMAGE: digest, BASE: str(base["id"]), BASE_NAME: f"{base['owner']}/{base['name']}", **of_packages}


def packages_tag(names: Sequence[str]) -> str:
    """What the tag says of ``mayfly_image_packages``: a digest, which tells all, and names for people, if any."""
    if not names:
        return ""
    shown = " ".join(re.sub("[^A-Za-z0-9._:+-]", "-", each.rpartition("/")[2]) for each in names)
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    return f"{digest} {shown}"[:_VALUE_CHARACTERS]


def find(ec2: Any, deployment: str) -> list[Baked]:
    """All that the deployment has baked in the client's account and Region, newest first; raises botocore's errors."""
    filters = [
        *aws.tag_filters({DEPLOYMENT: deployment}),
        {"Name": "tag-key", "Values": [WORKER_IMAGE]},
        {"Name": "state", "Values": ["available"]},
    ]
    found = [_baked(each) for each in aws.pages(ec2, "describe_images", "Images", Owners=["self"], Filters=filters)]
    finished = [each for each in found if each is not None]
    return sorted(finished, key=lambda each: (each.image.created, each.id), reverse=True)


def choose(
    found: Sequence[Baked], setting: Mapping[str, Any], architecture: str, digests: Collection[str]
) -> tuple[Baked | None, str]:
    """The newest of ``found`` (newest first) that a worker may have, None for none, and why."""
    fitting = [each for each in found if each.image.architecture == architecture and each.is_from(setting)]
    for each in fitting:
        if each.digest in digests:
            more = f" and {each.packages.partition(' ')[2]}" if each.packages else ""
            return each, f"{FROM} {each.base_name} ({each.base}) with this transfer agent{more}"
    if fitting:
        return None, f"configured live: {fitting[0].id}, baked from it, has another transfer agent; {_PLAYBOOK}"
    return None, f"configured live: this deployment has no image for {architecture} that was baked from it; {_PLAYBOOK}"


def _baked(entry: Mapping[str, Any]) -> Baked | None:
    """None for one that is still being made."""
    tags = {each["Key"]: each["Value"] for each in entry.get("Tags") or ()}
    if TEMPORARY in tags:
        return None
    disks = [each.get("Ebs") or {} for each in entry.get("BlockDeviceMappings") or ()]
    return Baked(
        image=as_image(entry),
        digest=tags.get(WORKER_IMAGE, ""),
        base=tags.get(BASE, ""),
        base_name=tags.get(BASE_NAME, ""),
        packages=tags.get(PACKAGES, ""),
        snapshots=tuple(each["SnapshotId"] for each in disks if each.get("SnapshotId")),
    )


def _matches(name: str, pattern: str) -> bool:
    """As EC2's filters match: * and ? alone have a meaning."""
    escaped = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(escaped, name) is not None
