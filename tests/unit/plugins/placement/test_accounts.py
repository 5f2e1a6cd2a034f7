# SPDX-License-Identifier: GPL-3.0-or-later
"""Which account a worker runs in: the operation's rule, the user's word, and keys that no other account can use."""

from __future__ import annotations

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.operations import OPERATIONS
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.accounts import account_for
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.errors import PlacementError

EITHER = "backup, or production if asked"
BACKUP = "backup only"
PRODUCTION = "production only"
NETWORK = "the network's own"
# The location table of the operations.
RULES = {
    "ec2_backup": EITHER,
    "ec2_restore": EITHER,
    "volume_restore": EITHER,
    "file_recovery_from_snapshot": EITHER,
    "file_recovery_from_backup": BACKUP,
    "rds_backup": PRODUCTION,
    "rds_restore": PRODUCTION,
    "efs_index": PRODUCTION,
    "retention": BACKUP,
    "health_check": BACKUP,
    "archive": BACKUP,
    "repository_copy": BACKUP,
    "restore_test": BACKUP,
    "worker_check": NETWORK,
    "worker_image": NETWORK,
}
# By rule: what comes of nothing said, of backup and of production; None is a refusal.
OUTCOMES = {
    EITHER: ("backup", "backup", "production"),
    BACKUP: ("backup", "backup", None),
    PRODUCTION: ("production", None, "production"),
    # Whoever owns the network or the image is called its production account here, and nobody else is asked.
    NETWORK: ("production", "production", "production"),
}
CASES = [
    (operation, wanted, outcome)
    for operation, rule in RULES.items()
    for wanted, outcome in zip((None, "backup", "production"), OUTCOMES[rule], strict=True)
]


def test_the_table_has_every_operation() -> None:
    assert set(RULES) == set(OPERATIONS)


@pytest.mark.parametrize("differ", [True, False], ids=["two accounts", "one account"])
@pytest.mark.parametrize(("operation", "wanted", "outcome"), CASES)
def test_the_account_is(operation: str, wanted: str | None, outcome: str | None, differ: bool) -> None:
    if outcome is None:
        with pytest.raises(PlacementError) as caught:
            account_for(operation, wanted, differ)
        assert caught.value.code == "WrongWorkerAccount"
        assert operation in caught.value.message
        assert "mayfly_worker_account" in caught.value.remedy
    else:
        account, why = account_for(operation, wanted, differ)
        assert account == outcome
        assert why


# A volume that is encrypted with the key aws/ebs, which cannot be shared.
KEYS = [
    (None, True, "production"),
    ("production", True, "production"),
    ("backup", True, None),
    (None, False, "backup"),
    ("backup", False, "backup"),
    ("production", False, "production"),
]


@pytest.mark.parametrize(("wanted", "differ", "outcome"), KEYS)
def test_a_volume_with_awss_own_key_stays_in_its_account(wanted: str | None, differ: bool, outcome: str | None) -> None:
    if outcome is None:
        with pytest.raises(PlacementError) as caught:
            account_for("ec2_backup", wanted, differ, ["vol-1"])
        assert caught.value.code == "KeyNotShareable"
        assert "vol-1" in caught.value.message
    else:
        assert account_for("ec2_backup", wanted, differ, ["vol-1"])[0] == outcome


# Files that are put back, and not downloaded by the operator: what was asked for, a volume with AWS's own key.
PUT_BACK = [
    (None, (), "backup"),
    ("backup", (), "backup"),
    ("production", (), "WrongWorkerAccount"),
    (None, ("vol-1",), "KeyNotShareable"),
    ("production", ("vol-1",), "WrongWorkerAccount"),
]


@pytest.mark.parametrize(("wanted", "volumes", "outcome"), PUT_BACK)
def test_files_of_a_snapshot_are_put_back_from_the_backup_account_alone(
    wanted: str | None, volumes: tuple[str, ...], outcome: str
) -> None:
    name = "file_recovery_from_snapshot"
    if outcome == "backup":
        assert account_for(name, wanted, True, volumes, puts_back=True)[0] == outcome
        return
    assert account_for(name, wanted, True, volumes)[0] == "production"  # to the operator's own machine
    with pytest.raises(PlacementError) as caught:
        account_for(name, wanted, True, volumes, puts_back=True)
    assert caught.value.code == outcome
    assert "backup account only" in caught.value.message
    assert "operator's own machine" in caught.value.remedy


def test_another_operation_is_not_asked_where_files_go() -> None:
    assert account_for("volume_restore", "production", True, puts_back=True)[0] == "production"


def test_the_reason_names_the_volume() -> None:
    assert "vol-1, vol-2 is encrypted" in account_for("ec2_backup", None, True, ["vol-1", "vol-2"])[1]


@pytest.mark.parametrize("word", ["both", "", "BACKUP", "111122223333"])
def test_another_word_is_refused(word: str) -> None:
    with pytest.raises(PlacementError) as caught:
        account_for("ec2_backup", word, True)
    assert caught.value.code == "BadWorkerAccount"
    assert "accounts.yml" in caught.value.remedy
