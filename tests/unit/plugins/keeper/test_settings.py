# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings that come with every call: what is taken, and which setting an error names."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.settings import Account, Settings

ID = "111122223333"
ROLE = f"arn:aws:iam::{ID}:role/mayfly"


def test_nothing_said_takes_the_defaults() -> None:
    assert Settings.from_call({}) == Settings("default", "unknown", 86400, 600, {})


def test_all_that_was_said_is_taken() -> None:
    accounts = {
        "backup": {"id": ID, "role_arn": ROLE, "external_id": "secret", "worker_role_arn": f"{ROLE}-worker"},
        "production": {"id": "444455556666"},
    }
    call = {"deployment": "team-7", "operation": "ec2_backup", "deadline": 3600, "lease": 60, "accounts": accounts}
    assert Settings.from_call(call) == Settings(
        deployment="team-7",
        operation="ec2_backup",
        deadline=3600,
        lease=60,
        accounts={
            "backup": Account("backup", ID, ROLE, "secret", f"{ROLE}-worker"),
            "production": Account("production", "444455556666"),
        },
    )


@pytest.mark.parametrize("value", [600, "600", 600.0], ids=repr)
@pytest.mark.parametrize("name", ["lease", "deadline"])
def test_seconds_may_be_words(name: str, value: Any) -> None:
    assert getattr(Settings.from_call({name: value}), name) == 600


@pytest.mark.parametrize(("name", "value"), [("lease", 15), ("lease", 86400), ("deadline", 60), ("deadline", 604800)])
def test_the_shortest_and_the_longest_are_taken(name: str, value: int) -> None:
    assert getattr(Settings.from_call({name: value}), name) == value


@pytest.mark.parametrize("deployment", ["a", "A-1", "x" * 64, 7])
def test_a_good_deployment_is_taken(deployment: Any) -> None:
    assert Settings.from_call({"deployment": deployment}).deployment == str(deployment)


@pytest.mark.parametrize("accounts", [None, {}, ""], ids=repr)
def test_a_run_may_come_without_accounts(accounts: Any) -> None:
    assert Settings.from_call({"accounts": accounts}).accounts == {}


@pytest.mark.parametrize("blank", [None, ""], ids=repr)
@pytest.mark.parametrize("name", ["role_arn", "external_id", "worker_role_arn"])
def test_a_blank_counts_as_not_given(name: str, blank: Any) -> None:
    assert getattr(Account.from_setting("backup", {"id": ID, name: blank}), name) is None


def test_an_id_without_quotes_is_taken_when_it_is_whole() -> None:
    assert Account.from_setting("backup", {"id": int(ID)}).id == ID


def accounts(value: Any) -> dict[str, Any]:
    """A call whose backup account is that."""
    return {"accounts": {"backup": value}}


BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("an empty deployment", {"deployment": ""}, "BadDeployment", "mayfly_deployment is ''"),
    ("a deployment of 65 characters", {"deployment": "x" * 65}, "BadDeployment", "mayfly_deployment is 'xxx"),
    ("a deployment of two words", {"deployment": "team 7"}, "BadDeployment", "mayfly_deployment is 'team 7'"),
    ("a deployment with a slash", {"deployment": "a/b"}, "BadDeployment", "mayfly_deployment is 'a/b'"),
    ("a deployment with an umlaut", {"deployment": "für"}, "BadDeployment", "mayfly_deployment is 'für'"),
    ("no lease", {"lease": 0}, "BadSetting", "mayfly_lease is 0"),
    ("a lease that is too short", {"lease": 14}, "BadSetting", "mayfly_lease is 14, not a number of seconds from 15"),
    ("a lease that is too long", {"lease": 86401}, "BadSetting", "mayfly_lease is 86401"),
    ("a deadline that is too near", {"deadline": 59}, "BadSetting", "mayfly_deadline is 59"),
    ("a deadline that is too far", {"deadline": 604801}, "BadSetting", "mayfly_deadline is 604801"),
    ("a lease in the past", {"lease": -1}, "BadSetting", "mayfly_lease is -1"),
    ("a lease in minutes", {"lease": "10m"}, "BadSetting", "mayfly_lease is '10m'"),
    ("a blank lease", {"lease": ""}, "BadSetting", "mayfly_lease is ''"),
    ("a lease that is nothing", {"lease": None}, "BadSetting", "mayfly_lease is None"),
    ("a lease that is a list", {"lease": [1]}, "BadSetting", "mayfly_lease is [1]"),
    ("less than a second", {"deadline": 0.9}, "BadSetting", "mayfly_deadline is 0.9"),
    ("a deadline that is no number", {"deadline": "tomorrow"}, "BadSetting", "mayfly_deadline is 'tomorrow'"),
    ("a list of accounts", {"accounts": [ID]}, "BadAccounts", "mayfly_accounts is not a dictionary"),
    ("accounts as a word", {"accounts": ID}, "BadAccounts", "mayfly_accounts is not a dictionary"),
    ("an account as a word", accounts(ID), "BadAccounts", "mayfly_accounts.backup is not a dictionary"),
    ("an account that is nothing", accounts(None), "BadAccounts", "mayfly_accounts.backup is not a dictionary"),
    ("an unknown key", accounts({"id": ID, "role": ROLE}), "BadAccounts", "backup has the unknown key role"),
    ("no id", accounts({"role_arn": ROLE}), "BadAccounts", "mayfly_accounts.backup.id is ''"),
    (
        "an id of 11 digits",
        accounts({"id": "12345678901"}),
        "BadAccounts",
        "mayfly_accounts.backup.id is '12345678901'",
    ),
    ("an id of 13 digits", accounts({"id": f"{ID}4"}), "BadAccounts", f"mayfly_accounts.backup.id is '{ID}4'"),
    ("an id that lost its zero", accounts({"id": 12345678901}), "BadAccounts", "12 digits in quotes"),
    ("an id with dashes", accounts({"id": "1111-2222-3333"}), "BadAccounts", "mayfly_accounts.backup.id"),
    ("a name for an id", accounts({"id": "production"}), "BadAccounts", "mayfly_accounts.backup.id"),
]


@pytest.mark.parametrize(("call", "code", "named"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_value_is_refused_and_its_setting_named(call: dict[str, Any], code: str, named: str) -> None:
    with pytest.raises(KeeperError) as caught:
        Settings.from_call(call)
    assert caught.value.code == code
    assert named in caught.value.message
    manual = {"BadAccounts": "accounts.yml", "BadSetting": "workers.yml"}.get(code, "")
    assert manual in caught.value.remedy


def test_the_account_at_fault_is_named() -> None:
    with pytest.raises(KeeperError, match=r"mayfly_accounts\.production\.id"):
        Settings.from_call({"accounts": {"backup": {"id": ID}, "production": {"id": "x"}}})


def test_an_external_id_stands_in_no_message() -> None:
    with pytest.raises(KeeperError) as caught:
        Settings.from_call(accounts({"id": "x", "external_id": "a-shared-secret"}))
    assert "a-shared-secret" not in f"{caught.value} {caught.value.text}"
