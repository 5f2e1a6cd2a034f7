# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository without KMS: a passphrase and a recovery key open it, the key is rotated, and no secret is shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from .conftest import Site, restored

pytestmark = pytest.mark.timeout(600)
FIRST, SECOND = "correct horse battery staple", "another horse altogether"
RECOVERY_KEY = re.compile(r"\b(?:[A-Z2-7]{4}-){12}[A-Z2-7]{4}\b")


def keys_objects(site: Site, prefix: str) -> list[str]:
    """The objects below keys/, without the repository's id: NUMBER or NUMBER.DIGITS."""
    words = ("s3api", "list-objects-v2", "--bucket", site.seed["repository"]["bucket"], "--prefix", f"{prefix}/keys/")
    return sorted(each["Key"].partition(".")[2].partition(".")[0] for each in site.lab.aws(*words)["Contents"])


def forget_references(site: Site, entry: dict[str, Any]) -> None:
    """Delete the reference snapshots of another repository than that of all tests."""
    words = ("describe-snapshots", "--owner-ids", "self", "--filters")
    named = f"Name=tag:mayfly:reference,Values={entry['restore_point']}"
    for each in site.lab.aws("ec2", *words, named, profile="production")["Snapshots"]:
        site.lab.aws("ec2", "delete-snapshot", "--snapshot-id", each["SnapshotId"], profile="production")


def test_a_passphrase_is_changed_and_the_recovery_key_alone_restores(
    backed_up: Site, settings: Any, tmp_path: Path
) -> None:
    site, host, words = backed_up, backed_up.db, ("--limit", backed_up.db)
    place = {name: site.seed["repository"][name] for name in ("bucket", "region", "account")} | {"prefix": "words"}
    said: list[str] = []

    def play(name: str, *more: str, code: int = 0, inventory: str = "", **values: Any) -> str:
        opened = values.pop("opened", {"passphrase": FIRST})
        given = settings(mayfly_repository={**place, **opened}, **values)
        done = site.lab.playbook(name, "-vvv", *given, *more, inventory=inventory)
        assert done.returncode == code, done.stdout[-6000:] + done.stderr[-2000:]
        said.append(done.stdout + done.stderr)
        return said[-1]

    (recovery_key,) = RECOVERY_KEY.findall(play("repository_create", mayfly_new_recovery_key=True))
    for wrong, code in (
        ({"passphrase": "correct horse"}, "WrongPassphrase"),
        ({"recovery_key": "AAAQ-EAYE-AUDA-OCAJ-BIFQ-YDIO-B4IB-CEQT-CQKR-MFYY-DENB-WHA5-DYPQ"}, "WrongRecoveryKey"),
        ({}, "NoRepositoryKey"),
    ):
        assert code in play("ec2_backup", *words, code=2, opened=wrong)
    entry = site.lab.report("ec2_backup")["resources"][host]
    assert set(entry["stages"]) <= {"Checking"}
    assert "worker" not in entry or not entry["worker"]

    play("ec2_backup", *words)
    first = site.lab.report("ec2_backup")["resources"][host]["restore_point"]
    lost = play("repository_keys", code=2, mayfly_rotate_key=True, mayfly_new_passphrase=SECOND)
    assert "WrapMissing" in lost
    both = {"passphrase": FIRST, "recovery_key": recovery_key}
    play("repository_keys", opened=both, mayfly_rotate_key=True, mayfly_new_passphrase=SECOND)
    assert keys_objects(site, "words") == ["1", "1", "2"]
    assert "WrongPassphrase" in play("ec2_backup", *words, code=2)
    play("ec2_backup", *words, opened={"passphrase": SECOND})
    second = site.lab.report("ec2_backup")["resources"][host]
    assert second["parent"] == first
    assert {each["method"] for each in second["volumes"].values()} == {"changed"}

    inventory = tmp_path / "restore_points.yml"
    opened = {"recovery_key": recovery_key}
    source = {"repository": {**place, **opened}, "role_arn": site.seed["accounts"]["backup"]["role_arn"]}
    inventory.write_text(json.dumps({"plugin": "mayfly.workers.restore_points", **source}))
    play("volume_restore", *words, "-i", str(inventory), opened=opened)  # beside the lab's own, with its settings
    restored(site, host)
    shown = "".join(said)
    assert not [each for each in (FIRST, SECOND, "correct horse") if each in shown]
    assert shown.count(recovery_key) == 1
    assert site.temporary() == []
    forget_references(site, second)
