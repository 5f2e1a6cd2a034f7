# SPDX-License-Identifier: GPL-3.0-or-later
"""Which image a worker gets: one that was baked from what the setting names, with the agent that would be installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils import agent_bundles
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import baked
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.baked import Baked, choose, find
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.images import DEFAULT, as_image

from tests.unit.plugins.keeper.fakes import Ec2, tags

DEBIAN = f"{DEFAULT['owner']}/debian-12-amd64-20261101-0001"


def described(number: int = 1, *, created: str = "2026-11-02T00:00:00.000Z", **more: str) -> dict[str, Any]:
    """A baked image as AWS describes it; ``more`` are tags."""
    ours = {
        "mayfly__deployment": "default",
        "mayfly__worker-image": "d1",
        "mayfly__base-image": "ami-base",
        "mayfly__base-name": DEBIAN,
    }
    return {
        "ImageId": f"ami-{number}",
        "Name": f"mayfly-worker-{number}",
        "OwnerId": "111122223333",
        "Architecture": "x86_64",
        "RootDeviceName": "/dev/xvda",
        "CreationDate": created,
        "BlockDeviceMappings": [{"Ebs": {"SnapshotId": f"snap-{number}"}}, {"VirtualName": "ephemeral0"}],
        "Tags": tags(**{**ours, **more}),
    }


def image(number: int = 1, *, digest: str = "d1", base: str = "ami-base", base_name: str = DEBIAN) -> Baked:
    """A baked image."""
    return Baked(as_image(described(number)), digest, base, base_name, (f"snap-{number}",))


FROM = [
    ("nothing", {}, True),
    ("blanks", {"id": "", "owner": None}, True),
    ("its owner and name", {"owner": DEFAULT["owner"], "name": "debian-12-a*"}, True),
    ("an owner without quotes", {"owner": int(DEFAULT["owner"]), "name": "debian-12-a*"}, True),
    ("an owner's alias", {"owner": "self", "name": "debian-??-amd64-*"}, True),
    ("another owner", {"owner": "999999999999", "name": "debian-12-a*"}, False),
    ("another name", {"owner": DEFAULT["owner"], "name": "debian-13-*"}, False),
    ("a name without a wildcard", {"owner": DEFAULT["owner"], "name": "debian-12"}, False),
    ("a dot, which stands for itself", {"owner": DEFAULT["owner"], "name": "debian.12*"}, False),
    ("its id", {"id": "ami-base"}, True),
    ("another id", {"id": "ami-other"}, False),
    ("its own id, which is taken as it is", {"id": "ami-1"}, False),
]


@pytest.mark.parametrize(("setting", "fits"), [row[1:] for row in FROM], ids=[row[0] for row in FROM])
def test_an_image_counts_for_what_it_was_baked_from(setting: dict[str, Any], fits: bool) -> None:
    assert image().is_from(setting) == fits
    assert (choose([image()], setting, "x86_64", {"d1"})[0] is not None) == fits


def test_the_newest_with_this_agent_is_chosen_and_the_reason_told() -> None:
    chosen, why = choose([image(4, digest="d2"), image(3), image(2)], {}, "x86_64", {"d1", "d9"})
    assert chosen is not None
    assert chosen.id == "ami-3"
    assert all(part in why for part in (DEBIAN, "ami-base", "with this transfer agent"))


@pytest.mark.parametrize(
    ("found", "digests", "said"),
    [
        ([], {"d1"}, "no image for x86_64"),
        ([image(digest="d2"), image(2, digest="")], {"d1"}, "ami-1, baked from it, has another transfer agent"),
        ([image(digest="")], {"d1"}, "another transfer agent"),
        ([image()], set(), "another transfer agent"),
    ],
    ids=["none", "an older agent's", "without a digest", "no bundles"],
)
def test_else_the_worker_is_configured_live(found: list[Baked], digests: set[str], said: str) -> None:
    chosen, why = choose(found, {}, "x86_64", digests)
    assert chosen is None
    assert why.startswith("configured live: ")
    assert said in why
    assert "worker_image" in why


def test_an_image_for_another_architecture_is_none() -> None:
    assert choose([image()], {}, "arm64", {"d1"})[0] is None


def test_what_is_still_being_made_or_of_others_is_not_found() -> None:
    listed = [
        described(1, created="2026-11-01T00:00:00.000Z"),
        described(2, mayfly__temporary="true"),
        described(3, created="2026-11-03T00:00:00.000Z"),
        described(4, mayfly__deployment="other"),
    ]
    ec2 = Ec2(things={"describe_images": listed})
    # What the fake does not filter by: AWS is asked for available ones that bear the tag.
    asked = [{"Name": "tag-key", "Values": ["mayfly:worker-image"]}, {"Name": "state", "Values": ["available"]}]
    for each in listed:
        each["Tags"] += tags(**{"tag-key": "mayfly:worker-image", "state": "available"})
    found = find(ec2, "default")
    assert [each.id for each in found] == ["ami-3", "ami-1"]
    assert found[0].snapshots == ("snap-3",)
    ((_, words),) = ec2.asked
    assert words["Owners"] == ["self"]
    assert words["Filters"][1:] == asked


def test_tags_say_what_it_was_baked_from() -> None:
    made = baked.tags_of({"id": "ami-7", "owner": "9", "name": "a/b"}, "d7")
    entry = described(1, **{name.replace(":", "__"): value for name, value in made.items()})
    entry["Tags"] += tags(**{"tag-key": "mayfly:worker-image", "state": "available"})
    (found,) = find(Ec2(things={"describe_images": [entry]}), "default")
    assert (found.digest, found.base, found.base_name) == ("d7", "ami-7", "9/a/b")


def test_packages_are_told_in_a_tag_that_differs_for_each_list() -> None:
    names = ["postgresql-client", "https://example.com/a/amazon-ssm-agent.deb"]
    tag = baked.packages_tag(names)
    assert tag.partition(" ")[2] == "postgresql-client amazon-ssm-agent.deb"
    lists = [names, names[::-1], names[:1], [names[0], "https://example.com/b/amazon-ssm-agent.deb"]]
    assert len({baked.packages_tag(each) for each in lists}) == 4
    assert baked.packages_tag([]) == ""
    assert len(baked.packages_tag(names * 32)) == 256
    made = baked.tags_of({"id": "ami-7", "owner": "9", "name": "a"}, "d7", tag)
    entry = described(1, **{name.replace(":", "__"): value for name, value in made.items()})
    entry["Tags"] += tags(**{"tag-key": "mayfly:worker-image", "state": "available"})
    (found,) = find(Ec2(things={"describe_images": [entry]}), "default")
    assert found.packages == tag
    assert (
        "with this transfer agent and postgresql-client amazon-ssm-agent.deb"
        in choose([found], {"id": "ami-7"}, "x86_64", {"d7"})[1]
    )


def test_the_digests_of_an_architecture_are_those_of_its_bundles(tmp_path: Path) -> None:
    for name in ("x86_64-python3.11", "x86_64-python3.12", "aarch64-python3.11"):
        (tmp_path / f"mayfly-agent-{name}.tar.gz").write_text(name)
    (tmp_path / "mayfly-agent-x86_64-python3.13.new").write_text("unfinished")
    both, one = agent_bundles.digests("x86_64", tmp_path), agent_bundles.digests("arm64", tmp_path)
    assert (len(both), len(one), both & one) == (2, 1, set())
    assert agent_bundles.digests("i386", tmp_path) == frozenset()
