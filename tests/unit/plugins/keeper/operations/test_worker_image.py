# SPDX-License-Identifier: GPL-3.0-or-later
"""An image is the run's until it is available, and the user's from then on; nothing of others is removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils import agent_bundles
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context, Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.operations import worker_image
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.model import SettingError
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Settings

from tests.unit.plugins.keeper.fakes import ACCOUNT, REGION, UNREACHABLE, Clients, refused, worker

HOST = "image"
COPY = "eu-west-1"
BASE = {"id": "ami-base", "owner": "9", "name": "debian", "architecture": "x86_64"}
RESOURCE = {"account": ACCOUNT, "region": REGION, "kind": "worker-image", "id": "x86_64"}
OURS = {"mayfly:deployment": "default", "mayfly:worker-image": "d1", "mayfly:base-image": "ami-base"}
pytestmark = pytest.mark.usefixtures("quick")


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


class Cloud:
    """Images and their snapshots in one Region. ``lost`` answers are never heard, though all is done."""

    def __init__(self, state: str = "available", lost: int = 0) -> None:
        self.images: dict[str, dict[str, Any]] = {}
        self.snapshots: dict[str, dict[str, str]] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.state, self.lost = state, lost

    def add(self, number: int, tags: dict[str, str], snapshot_tags: dict[str, str] | None = None) -> None:
        """An image that is there already."""
        self.snapshots[f"snap-{number}"] = dict(tags if snapshot_tags is None else snapshot_tags)
        self.images[f"ami-{number}"] = {
            "ImageId": f"ami-{number}",
            "Name": f"old-{number}",
            "Architecture": "x86_64",
            "RootDeviceName": "/dev/xvda",
            "CreationDate": f"2026-11-{number:02}T00:00:00.000Z",
            "State": "available",
            "BlockDeviceMappings": [{"Ebs": {"SnapshotId": f"snap-{number}"}}],
            "Tags": tag_list(tags),
        }

    def tags(self, name: str) -> dict[str, str]:
        if name in self.snapshots:
            return self.snapshots[name]
        return {each["Key"]: each["Value"] for each in self.images[name]["Tags"]}

    def create_image(self, **words: Any) -> dict[str, Any]:
        self.asked.append(("create_image", words))
        if any(each["Name"] == words["Name"] for each in self.images.values()):
            raise refused("InvalidAMIName.Duplicate")
        kinds = {each["ResourceType"]: each["Tags"] for each in words["TagSpecifications"]}
        number = 20 + len(self.images)
        self.add(number, {}, {each["Key"]: each["Value"] for each in kinds["snapshot"]})
        self.images[f"ami-{number}"] |= {"Name": words["Name"], "Tags": kinds["image"], "State": self.state}
        self.lost -= 1
        if self.lost >= 0:
            raise UNREACHABLE
        return {"ImageId": f"ami-{number}"}

    def copy_image(self, **words: Any) -> dict[str, Any]:
        assert words["Encrypted"]
        return self.create_image(**words)

    def describe_images(self, ImageIds: Any = (), Filters: Any = (), **_owners: Any) -> dict[str, Any]:
        def fits(entry: dict[str, Any]) -> bool:
            tags = {each["Key"]: each["Value"] for each in entry["Tags"]}
            known = {"name": entry["Name"], "state": entry["State"], "image-id": entry["ImageId"]}
            known |= {f"tag:{key}": value for key, value in tags.items()}
            return all(
                (set(tags) if each["Name"] == "tag-key" else {known.get(each["Name"])}) & set(each["Values"])
                for each in Filters
            )

        return {
            "Images": [each for name, each in self.images.items() if (name in ImageIds or not ImageIds) and fits(each)]
        }

    def get_paginator(self, call: str) -> Any:
        cloud = self

        class Paginator:
            def paginate(self, **words: Any) -> list[dict[str, Any]]:
                if call == "describe_images":
                    return [cloud.describe_images(**words)]
                wanted = {each["Name"].removeprefix("tag:"): each["Values"][0] for each in words["Filters"]}
                found = [name for name, tags in cloud.snapshots.items() if wanted.items() <= tags.items()]
                return [{"Snapshots": [{"SnapshotId": name, "State": "completed"} for name in found]}]

        return Paginator()

    def delete_tags(self, Resources: list[str], Tags: list[dict[str, str]]) -> None:
        gone = {each["Key"] for each in Tags}
        for name in Resources:
            kept = {key: value for key, value in self.tags(name).items() if key not in gone}
            if name in self.snapshots:
                self.snapshots[name] = kept
            else:
                self.images[name]["Tags"] = tag_list(kept)

    def deregister_image(self, ImageId: str) -> None:
        del self.images[ImageId]

    def delete_snapshot(self, SnapshotId: str) -> None:
        used = [name for each in self.images.values() for name in str(each["BlockDeviceMappings"]).split("'")]
        assert SnapshotId not in used, "its image goes first"
        del self.snapshots[SnapshotId]


class Baking:
    """A run with a worker that an image can be baked from."""

    def __init__(self, folder: Path, home: Cloud, copy: Cloud | None = None, *, has_worker: bool = True) -> None:
        self.home, self.copy = home, copy or Cloud()
        self.run = Run("the-run", folder, folder, Report(folder, "the-run"))
        clients = Clients()
        clients.made = {(ACCOUNT, REGION): home, (ACCOUNT, COPY): self.copy}
        self.run.clients = clients  # type: ignore[assignment]
        self.run.watching._client = clients.client
        self.run.watching._pause = lambda _seconds: None
        if has_worker:
            self.run.workers.get = lambda _host: worker(HOST)  # type: ignore[method-assign]
        self.context = Context(self.run, HOST, False, Settings.from_call({}), RESOURCE)

    def ask(self, operation: str = "present", **changes: Any) -> dict[str, Any]:
        arguments: dict[str, Any] = {"resource": RESOURCE, "base": BASE, "digest": "d1", "timeout": 0}
        result: dict[str, Any] = getattr(worker_image, operation)(self.context, {**arguments, **changes})
        return result

    def temporary(self) -> list[str]:
        return [each.id for each in self.run.temporaries.all()]


@pytest.fixture(autouse=True)
def agents(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agents of now."""
    monkeypatch.setattr(agent_bundles, "digests", lambda _architecture: frozenset({"d1", "d0"}))


def test_an_image_is_the_users_when_it_is_available(tmp_path: Path) -> None:
    baking = Baking(tmp_path, Cloud())
    result = baking.ask(tags={"Owner": "team"})
    assert result == {"changed": True, "images": {REGION: "ami-20"}, "old": [], "removed": []}
    (call, words) = baking.home.asked[0]
    assert (call, words["InstanceId"], words["NoReboot"]) == ("create_image", "i-worker", True)
    born = {
        each["ResourceType"]: {tag["Key"]: tag["Value"] for tag in each["Tags"]} for each in words["TagSpecifications"]
    }
    assert born["image"] == born["snapshot"]
    assert born["image"]["mayfly:temporary"] == "true"
    assert born["image"]["Owner"] == "team"
    assert OURS.items() <= born["image"].items()
    for name in ("ami-20", "snap-20"):
        assert {"mayfly:temporary", "mayfly:lease-ends"}.isdisjoint(baking.home.tags(name))
        assert OURS.items() <= baking.home.tags(name).items()
    assert baking.temporary() == []
    assert baking.run.temporaries.places() == [(ACCOUNT, REGION)]


def test_it_is_baked_once(tmp_path: Path) -> None:
    home = Cloud()
    first = Baking(tmp_path, home).ask()
    again = Baking(tmp_path, home, has_worker=False)
    assert again.ask("plan") == {"needed": False, "images": first["images"], "missing": [], "old": []}
    assert again.ask() == {"changed": False, "images": first["images"], "old": [], "removed": []}


def test_other_packages_ask_for_a_new_one(tmp_path: Path) -> None:
    home, packages = Cloud(), ["postgresql-client"]
    first = Baking(tmp_path, home).ask(packages=packages)
    assert home.tags("ami-20")["mayfly:packages"].endswith(" postgresql-client")
    again = Baking(tmp_path, home, has_worker=False)
    assert again.ask("plan", packages=packages)["images"] == first["images"]
    assert again.ask("plan")["needed"]
    assert again.ask("plan", packages=[*packages, "gdisk"])["needed"]
    with pytest.raises(SettingError, match="mayfly_image_packages"):
        again.ask("plan", packages=["--option"])


@pytest.mark.parametrize("change", ["mayfly:worker-image", "mayfly:base-image"])
def test_another_agent_or_base_image_asks_for_a_new_one(tmp_path: Path, change: str) -> None:
    home = Cloud()
    home.add(1, {**OURS, change: "another"})
    baking = Baking(tmp_path, home)
    planned = baking.ask("plan")
    assert planned["needed"]
    assert [each["id"] for each in planned["old"]] == ["ami-1"]
    result = baking.ask()
    assert result["images"] == {REGION: "ami-21"}
    assert [each["id"] for each in result["old"]] == ["ami-1"]
    assert set(home.images) == {"ami-1", "ami-21"}


@pytest.mark.parametrize("lost", [1, 2])
def test_after_a_lost_answer_it_is_found_by_its_name(tmp_path: Path, lost: int) -> None:
    baking = Baking(tmp_path, Cloud(lost=lost))
    assert baking.ask()["images"] == {REGION: "ami-20"}
    assert len(baking.home.images) == 1


@pytest.mark.parametrize(("state", "code"), [("pending", "ImageTimeout"), ("failed", "ImageFailed")])
def test_one_that_does_not_become_available_stays_the_runs(tmp_path: Path, state: str, code: str) -> None:
    baking = Baking(tmp_path, Cloud(state))
    with pytest.raises(KeeperError) as caught:
        baking.ask()
    assert caught.value.code == code
    assert sorted(baking.temporary()) == ["ami-20", "snap-20"]
    assert baking.home.tags("ami-20")["mayfly:temporary"] == "true"
    assert baking.ask("plan")["needed"]


def test_copies_are_made_where_they_are_missing(tmp_path: Path) -> None:
    home, copy = Cloud(), Cloud()
    home.add(1, {**OURS, "mayfly:worker-image": "d0"})
    baking = Baking(tmp_path, home, copy, has_worker=False)
    assert baking.ask("plan", copies=[COPY, REGION])["missing"] == [COPY]
    assert baking.ask(copies=[COPY, REGION], digest="")["images"] == {REGION: "ami-1", COPY: "ami-20"}
    ((_, words),) = copy.asked
    assert (words["SourceRegion"], words["SourceImageId"]) == (REGION, "ami-1")
    assert copy.tags("ami-20")["mayfly:worker-image"] == "d0"  # what is on it, not what would be installed
    assert home.asked == []
    assert not baking.ask(copies=[COPY])["changed"]


def test_old_ones_go_when_that_is_asked_and_nothing_of_others(tmp_path: Path) -> None:
    home = Cloud()
    home.add(1, {**OURS, "mayfly:worker-image": "old"})
    home.add(2, {**OURS, "mayfly:worker-image": "old"}, snapshot_tags={})
    home.add(3, {**OURS, "mayfly:deployment": "other"})
    home.add(4, {"Name": "own"})
    home.add(5, {**OURS, "mayfly:temporary": "true"})  # of a bake that goes on
    home.add(6, OURS)
    baking = Baking(tmp_path, home)
    assert sorted(each["id"] for each in baking.ask()["old"]) == ["ami-1", "ami-2"]
    result = baking.ask(remove_old=True)
    assert result == {"changed": True, "images": {REGION: "ami-6"}, "old": [], "removed": ["ami-2", "ami-1"]}
    assert set(home.images) == {"ami-3", "ami-4", "ami-5", "ami-6"}
    assert set(home.snapshots) == {"snap-2", "snap-3", "snap-4", "snap-5", "snap-6"}


def test_without_a_worker_nothing_is_baked(tmp_path: Path) -> None:
    for baking, digest in ((Baking(tmp_path, Cloud(), has_worker=False), "d1"), (Baking(tmp_path, Cloud()), "")):
        with pytest.raises(KeeperError) as caught:
            baking.ask(digest=digest)
        assert caught.value.code == "NothingToBake"
        assert baking.home.asked == []
