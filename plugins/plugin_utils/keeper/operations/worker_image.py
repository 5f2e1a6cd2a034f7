# SPDX-License-Identifier: GPL-3.0-or-later
"""Machine images that have the transfer agent already: baked from a worker, copied, and old ones removed on request.

An image and its snapshots are temporary things like all others until they are whole: what a killed bake has left is
removed by the run's end or by the reaper. Then they lose that tag, and nothing but ``remove_old`` removes them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from ... import agent_bundles
from ...permissions import WORKER_IMAGE
from ...rights import DEPLOYMENT
from ...settings.model import read
from ...settings.packages import Packages
from ...settings.tags import OwnTags
from .. import aws, baked, things
from ..baked import Baked
from ..context import Context, tag_list
from ..errors import KeeperError
from ..things import Thing
from . import operation

_MAKE_SECONDS = 120.0
_REMOVE_SECONDS = 120.0
_TIMEOUT = "mayfly_image_timeout"
Place = tuple[str, str]


@dataclass(frozen=True)
class _There:
    """The deployment's images for one architecture in one place: the one that is wanted, and all others."""

    place: Place
    current: Baked | None
    old: tuple[Baked, ...]


@operation("worker_image.plan")
def plan(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{needed, images, missing, old}: whether one must be baked; {Region: image} of those that are there.

    ``missing`` are the Regions of copies that are not there, ``old`` is what else this deployment has baked for this
    architecture.
    """
    there = _all(context, arguments)
    old = [_told(each.place, image) for each in there for image in each.old]
    context.report.set(old_images=old)
    return {
        "needed": there[0].current is None,
        "images": {each.place[1]: each.current.id for each in there if each.current is not None},
        "missing": [each.place[1] for each in there[1:] if each.current is None],
        "old": old,
    }


@operation("worker_image.present")
def present(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{changed, images, old, removed}: bake what is not there from the host's worker, and copy it.

    ``old`` is left, ``removed`` was removed. Raises KeeperError when there is no worker to bake from, or an image is
    not available in time.
    """
    with context.report.stage("Imaging"):
        home, *copies = _all(context, arguments)
        digest = home.current.digest if home.current else str(arguments.get("digest") or "")
        words = _words(context, arguments, digest)
        made: dict[str, str] = {}
        if home.current is None:
            made[home.place[1]] = _bake(context, arguments, home.place, words)
        source = home.current.id if home.current else made[home.place[1]]
        missing = [each.place for each in copies if each.current is None]
        made |= _copy(context, arguments, (home.place[1], source), missing, words)
        there = [home, *copies]
        images = {each.place[1]: each.current.id for each in there if each.current is not None} | made
        old = [(each.place, image) for each in there for image in each.old]
        removed = _remove(context, old) if arguments.get("remove_old") else []
    left = [_told(place, image) for place, image in old if image.id not in removed]
    context.report.set(images=images, old_images=left)
    return {"changed": bool(made or removed), "images": images, "old": left, "removed": removed}


def _all(context: Context, arguments: Mapping[str, Any]) -> list[_There]:
    """What there is in the resource's own Region, and in those of the copies."""
    resource, base = arguments["resource"], arguments["base"]
    regions = dict.fromkeys([str(resource["region"]), *(arguments.get("copies") or ())])
    digests, packages = agent_bundles.digests(base["architecture"]), _packages(arguments)
    found = []
    for region in regions:
        place = (str(resource["account"]), region)
        ours = baked.find(context.ec2(*place), context.settings.deployment)
        ours = [each for each in ours if each.image.architecture == base["architecture"]]
        fitting = (each for each in ours if (each.base, each.packages) == (base["id"], packages))
        current = next((each for each in fitting if each.digest in digests), None)
        found.append(_There(place, current, tuple(each for each in ours if each is not current)))
    return found


def _packages(arguments: Mapping[str, Any]) -> str:
    """What the tag of an image with these packages says; raises SettingError."""
    wanted: tuple[str, ...] = read(Packages, "mayfly_image_packages", arguments.get("packages") or [])
    return baked.packages_tag(wanted)


def _bake(context: Context, arguments: Mapping[str, Any], place: Place, words: Mapping[str, Any]) -> str:
    """The id of a new image of the host's worker, once it is available and the user's."""
    worker = context.run.workers.get(context.host)
    if worker is None or not arguments.get("digest"):
        message = f"{context.host} has no worker with the transfer agent installed, so there is nothing to bake."
        raise KeeperError("NothingToBake", message, "Start the playbook worker_image again, from its beginning.")

    def ask(ec2: Any) -> Any:
        # Nothing works on the worker any more, and what was written is on its disk: it need not be off.
        return ec2.create_image(InstanceId=worker.instance_id, NoReboot=True, **words)

    image = _make(context, place, str(words["Name"]), ask)
    _await(context, arguments, {place: image})
    return image


def _copy(
    context: Context,
    arguments: Mapping[str, Any],
    source: tuple[str, str],
    places: list[Place],
    words: Mapping[str, Any],
) -> dict[str, str]:
    """{Region: image} of new copies of ``source`` (Region, image), made at once in all places."""

    def ask(ec2: Any) -> Any:
        return ec2.copy_image(SourceRegion=source[0], SourceImageId=source[1], Encrypted=True, **words)

    made = {place: _make(context, place, str(words["Name"]), ask) for place in places}
    _await(context, arguments, made)
    return {place[1]: image for place, image in made.items()}


def _words(context: Context, arguments: Mapping[str, Any], digest: str) -> dict[str, Any]:
    """Name, description and tags of the image and its snapshots. The name is this run's alone, as a client token is."""
    base = arguments["base"]
    user: dict[str, str] = read(OwnTags, "mayfly_worker_tags", arguments.get("tags"))
    architecture, deployment = base["architecture"], context.settings.deployment
    mine = hashlib.sha256(f"{context.run.id} {context.host}".encode()).hexdigest()[:16]
    of_image = baked.tags_of(base, digest, _packages(arguments))
    tags = context.tags(user={"Name": f"mayfly worker {architecture}", **user}) | of_image
    return {
        "Name": f"mayfly-worker-{deployment}-{architecture}-{mine}",
        "Description": f"Worker of mayfly, deployment {deployment}, from {base['name']}"[:255],
        "TagSpecifications": [{"ResourceType": kind, "Tags": tag_list(tags)} for kind in ("image", "snapshot")],
    }


def _make(context: Context, place: Place, name: str, ask: Callable[[Any], Any]) -> str:
    """The id of what ``ask`` makes. It takes no client token: after a lost answer, what it made has the name."""
    ec2 = context.making(*place)

    def attempt() -> str:
        context.run.check_open()
        try:
            return str(ask(ec2)["ImageId"])
        except ClientError as error:
            if aws.code_of(error) != "InvalidAMIName.Duplicate":
                raise
            found = ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [name]}])["Images"]
            if not found:
                raise
            return str(found[0]["ImageId"])

    image = aws.retrying(attempt, seconds=_MAKE_SECONDS, again=aws.is_passing, pause=context.run.pause)
    context.run.temporaries.add(*place, image, "image")
    _note_snapshots(context, place, image)
    return image


def _note_snapshots(context: Context, place: Place, image: str) -> list[str]:
    """The snapshots of an image as far as AWS tells them: the run's, with all that it does for them."""
    ec2 = context.ec2(*place)
    described = aws.of_young(lambda: ec2.describe_images(ImageIds=[image]))["Images"]
    disks = [disk.get("Ebs") or {} for each in described for disk in each.get("BlockDeviceMappings") or ()]
    found = [str(disk["SnapshotId"]) for disk in disks if disk.get("SnapshotId")]
    for each in found:
        context.run.temporaries.add(*place, each, "snapshot")
    return found


def _await(context: Context, arguments: Mapping[str, Any], made: Mapping[Place, str]) -> None:
    """Wait until each image is available; from then on it is the user's."""
    for place, image in made.items():
        timeout = float(arguments["timeout"])
        context.run.watching.wait(context.host, place, "image", [image], timeout, setting=_TIMEOUT)
        context.run.check_open()  # nobody waits for the image of a run that ends
        context.run.temporaries.hand_over(context.ec2(*place), [image, *_note_snapshots(context, place, image)])


def _remove(context: Context, old: list[tuple[Place, Baked]]) -> list[str]:
    """The ids of images that are gone, with their snapshots; nothing of another deployment is touched."""
    doomed: list[Thing] = []
    for place, image in old:
        tags = {DEPLOYMENT: context.settings.deployment, WORKER_IMAGE: image.digest}
        marked = {each.id for each in things.find(context.ec2(*place), place, tags, ["snapshot"])}
        doomed.append(Thing("image", image.id, *place))
        doomed += [Thing("snapshot", each, *place) for each in image.snapshots if each in marked]
    results = things.remove_all(context.run.clients, doomed, time.monotonic() + _REMOVE_SECONDS)
    for error in results.values():
        if error is not None:
            context.report.warning(error)
    return [thing.id for thing, error in results.items() if error is None and thing.kind == "image"]


def _told(place: Place, image: Baked) -> dict[str, str]:
    return {
        "account": place[0],
        "region": place[1],
        "id": image.id,
        "created": image.image.created,
        "base": image.base_name,
    }
