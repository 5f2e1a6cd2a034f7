# SPDX-License-Identifier: GPL-3.0-or-later
"""Which image placement gives to a worker, and which to one that an image is baked from."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils import agent_bundles
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import baked
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.images import as_image
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.picture import Image

from tests.unit.plugins.keeper.operations.test_placement import Planning
from tests.unit.plugins.keeper.pictures.test_baked import described, image
from tests.unit.plugins.placement.world import ACCOUNT, ALL_OFFERED, IMAGES, REGION, At, interfaces, offer, picture, vpc

SETTING = {"image": {"id": "ami-base"}}
SITE = {"account": ACCOUNT, "region": REGION}
NET = vpc("vpc-1", At("subnet-1", out="nowhere"), endpoints=interfaces())
WITH_ARM = picture(NET, types=(*ALL_OFFERED, offer("c6g.large", architecture="arm64")))
ISOLATED = picture(vpc("vpc-1", At("subnet-1", out="nowhere")))


class Named:
    """What the setting names: an image for each of its architectures."""

    def __init__(self, *architectures: str) -> None:
        self.has = {each: IMAGES[each] for each in architectures}

    def by_architecture(self, _ec2: Any, _place: Any, _setting: Any, wanted: Collection[str]) -> dict[str, Image]:
        found = {each: known for each, known in self.has.items() if each in wanted}
        if not found:
            raise KeeperError("NoImage", "none")
        return found


@pytest.fixture
def planning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planning:
    """A place for workers; ``baked.find`` and the agents' digests are what ``there`` says."""
    made = Planning(tmp_path, WITH_ARM)
    made.run.images = Named("x86_64", "arm64")  # type: ignore[assignment]
    there(monkeypatch, image(), digests={"d1"})
    return made


def there(monkeypatch: pytest.MonkeyPatch, *found: baked.Baked, digests: Collection[str]) -> None:
    """What this deployment has baked, and the agents that there are."""
    monkeypatch.setattr(baked, "find", lambda *_about: list(found))
    monkeypatch.setattr(agent_bundles, "digests", lambda _architecture: frozenset(digests))


def chosen(result: dict[str, Any]) -> tuple[str, str]:
    """The image of all candidates, and why."""
    (name,) = {each["image_id"] for each in result["candidates"]}
    assert result["image"]["id"] == name
    (why,) = [each["reason"] for each in result["reasons"] if each["subject"] == f"image {name}"]
    return name, why


def test_a_baked_one_is_preferred(planning: Planning) -> None:
    name, why = chosen(planning.plan("ec2_backup", **SETTING))
    assert name == "ami-1"
    assert "with this transfer agent" in why
    assert planning.run.report.resource("private_subnet-1").as_dict()["image"]["id"] == "ami-1"


def test_with_another_agent_it_is_not(planning: Planning, monkeypatch: pytest.MonkeyPatch) -> None:
    there(monkeypatch, image(), digests={"d2"})
    name, why = chosen(planning.plan("ec2_backup", **SETTING))
    assert name == "ami-x86_64"
    assert why.startswith("configured live: ami-1")


def test_a_baked_one_does_without_its_base(planning: Planning) -> None:
    planning.run.images = Named()  # type: ignore[assignment]
    assert chosen(planning.plan("ec2_backup", **SETTING))[0] == "ami-1"


def test_without_any_the_want_of_a_base_is_told(planning: Planning, monkeypatch: pytest.MonkeyPatch) -> None:
    planning.run.images = Named()  # type: ignore[assignment]
    there(monkeypatch, digests={"d1"})
    with pytest.raises(KeeperError, match="none"):
        planning.plan("ec2_backup", **SETTING)


def test_an_architecture_without_a_baked_one_keeps_that_of_the_setting(planning: Planning) -> None:
    types = {"instance_types": {"small": ["c6g.large", "c6a.large"]}}
    candidates = planning.plan("ec2_backup", **SETTING, **types)["candidates"]
    assert {each["architecture"]: each["image_id"] for each in candidates} == {"arm64": "ami-arm64", "x86_64": "ami-1"}


class TestForOneThatIsToBeBaked:
    def test_the_base_is_taken_and_no_service_is_needed(self, tmp_path: Path, planning: Planning) -> None:
        isolated = Planning(tmp_path, ISOLATED)
        isolated.run.images = planning.run.images
        site = {**SITE, "architecture": "x86_64"}
        result = isolated.plan("worker_image", site=site, **SETTING)
        assert chosen(result)[0] == "ami-x86_64"
        assert result["services"] == []

    def test_types_of_another_architecture_are_left_out(self, planning: Planning) -> None:
        site = {**SITE, "architecture": "arm64"}
        types = {"instance_types": {"small": ["c6a.large", "c6g.large"]}}
        result = planning.plan("worker_image", site=site, **SETTING, **types)
        assert {each["instance_type"] for each in result["candidates"]} == {"c6g.large"}

    def test_an_image_of_another_architecture_is_refused(self, planning: Planning) -> None:
        planning.run.images = OfOne()  # type: ignore[assignment]
        with pytest.raises(KeeperError) as caught:
            planning.plan("worker_image", site={**SITE, "architecture": "arm64"}, **SETTING)
        assert caught.value.code == "BadImage"
        assert "arm64" in caught.value.message


class OfOne:
    """An image by its id, which has the architecture that it has."""

    def by_architecture(self, *_about: Any) -> dict[str, Image]:
        return {"x86_64": as_image(described())}
