# SPDX-License-Identifier: GPL-3.0-or-later
"""References: those before go when the new ones are kept, and not before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context, Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.operations import find
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Settings
from botocore.exceptions import ClientError

from tests.unit.plugins.keeper.fakes import ACCOUNT, HOST, REGION, Clients, Ec2, refused, tags

RESOURCE = {"account": ACCOUNT, "region": REGION, "kind": "ec2", "id": "i-1"}
OURS = {"mayfly__deployment": "default", "mayfly__resource": "i-1", "mayfly__repository": "of-this-id"}
SNAPSHOTS = [
    {"SnapshotId": name, "Tags": tags(**{**OURS, **more})}
    for name, more in (
        ("snap-old-1", {"mayfly__reference": "before"}),
        ("snap-old-2", {"mayfly__reference": "long before"}),
        ("snap-new-1", {"mayfly__reference": "now"}),  # tagged by a call whose answer was lost
        ("snap-other", {"mayfly__reference": "before", "mayfly__repository": "another"}),
        ("snap-of-others", {"mayfly__reference": "before", "mayfly__resource": "i-2"}),
        ("snap-of-a-run", {}),
    )
]


SHARED = [
    {"SnapshotId": name, "Tags": tags(**{**OURS, "mayfly__shared-with": "444455556666", "mayfly__shared-by": by})}
    for name, by in (("snap-new-2", "the-run"), ("snap-of-another-run", "another-run"))
]


def release(folder: Path, keep: str, *, shared: bool = False, **scripts: Any) -> Ec2:
    """What is asked of EC2 for the end of a set of two."""
    ec2 = Ec2(things={"describe_snapshots": SNAPSHOTS + SHARED}, **scripts)
    run = Run("the-run", folder, folder, Report(folder, "the-run"))
    run.clients = Clients(lambda: ec2)  # type: ignore[assignment]
    context = Context(run, HOST, False, Settings.from_call({}), RESOURCE)
    context.state.repository = "of-this-id"
    context.state.shared = shared
    context.state.snapshots = {"vol-1": "snap-new-1", "vol-2": "snap-new-2"}
    context.state.status = {"result": {"manifest_sha256": "of-the-manifest"}}
    operation = find("snapshot_set.release")
    assert operation is not None
    try:
        operation(context, {"resource": RESOURCE, "keep": keep})
    except ClientError:
        assert context.state.snapshots, "the run's end has to know of them"
    return ec2


def test_a_backup_that_was_committed_keeps_its_set_and_all_before_go_last(tmp_path: Path) -> None:
    ec2 = release(tmp_path, "now")
    calls = [name for name, _ in ec2.asked if not name.startswith("describe")]
    assert calls == ["create_tags", "delete_tags", "delete_snapshot", "delete_snapshot"]
    assert sorted(ec2.ids("delete_snapshot")) == ["snap-old-1", "snap-old-2"]
    (made,) = (arguments for name, arguments in ec2.asked if name == "create_tags")
    assert made["Resources"] == ["snap-new-1", "snap-new-2"]
    assert {each["Key"]: each["Value"] for each in made["Tags"]} == {
        "mayfly:reference": "now",
        "mayfly:repository": "of-this-id",
        "mayfly:manifest": "of-the-manifest",
    }


def test_a_backup_that_failed_deletes_its_own_set_and_keeps_the_reference(tmp_path: Path) -> None:
    ec2 = release(tmp_path, "")
    assert sorted(ec2.ids("delete_snapshot")) == ["snap-new-1", "snap-new-2"]


@pytest.mark.parametrize("call", ["describe_snapshots", "create_tags", "delete_tags"])
def test_a_set_that_cannot_be_kept_takes_no_reference_with_it(tmp_path: Path, call: str) -> None:
    ec2 = release(tmp_path, "now", **{call: refused("UnauthorizedOperation")})
    assert ec2.ids("delete_snapshot") == []


@pytest.mark.parametrize("keep", ["now", ""])
def test_what_was_shared_is_taken_back_first(tmp_path: Path, keep: str) -> None:
    ec2 = release(tmp_path, keep, shared=True)
    calls = [(name, arguments) for name, arguments in ec2.asked if not name.startswith("describe")]
    assert calls[0] == (
        "modify_snapshot_attribute",
        {"SnapshotId": "snap-new-2", "CreateVolumePermission": {"Remove": [{"UserId": "444455556666"}]}},
    )
    assert (calls[1][0], calls[1][1]["Resources"]) == ("delete_tags", ["snap-new-2"])
    assert ec2.ids("modify_snapshot_attribute") == ["snap-new-2"]


def test_a_set_that_stays_shared_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(KeeperError, match="not taken back") as caught:
        release(tmp_path, "now", shared=True, modify_snapshot_attribute=refused("UnauthorizedOperation"))
    assert caught.value.code == "DeletionFailed"
