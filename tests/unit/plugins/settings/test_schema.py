# SPDX-License-Identifier: GPL-3.0-or-later
"""The one schema of all settings: what is taken, each bound from both sides, and which key an error names."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.model import SettingError
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.names import FILES
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Account, Settings
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

ID = "111122223333"
ROLE = f"arn:aws:iam::{ID}:role/mayfly"
PORTS = [{"host": "db", "port": 5432 + number} for number in range(33)]
KEY = Ed25519PrivateKey.generate()
PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
LOCKED = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a-secret")).decode()
PUBLIC = KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
BASTION = {"host": "b.example.com", "user": "jump", "private_key": PRIVATE, "host_key": PUBLIC, "cidr": "10.1.2.3/32"}
REPOSITORY = {"bucket": "backups", "region": "eu-central-1", "account": ID}


def refused(**call: Any) -> SettingError:
    """The error for these settings."""
    with pytest.raises(SettingError) as caught:
        Settings.from_call(call)
    return caught.value


def test_nothing_said_takes_the_defaults() -> None:
    it = Settings.from_call({})
    assert (it.deployment, it.operation, it.deadline, it.lease) == ("default", "unknown", 86400, 600)
    assert (it.accounts, it.networks, it.repository, it.worker_account) == ({}, (), None, None)


@pytest.mark.parametrize("blank", ["", None, [], {}], ids=repr)
@pytest.mark.parametrize("name", FILES)
def test_a_blank_answer_of_a_survey_counts_as_not_given(name: str, blank: Any) -> None:
    assert Settings.from_call({name: blank}) == Settings.from_call({})


def test_accounts_are_known_by_their_names() -> None:
    backup = {"id": ID, "role_arn": ROLE, "external_id": "secret", "worker_role_arn": f"{ROLE}-worker"}
    it = Settings.from_call({"accounts": {"backup": backup, "production": {"id": "444455556666"}}})
    assert it.accounts == {
        "backup": Account.named("backup", **backup),
        "production": Account.named("production", id="444455556666"),
    }
    assert [(name, each.name) for name, each in it.accounts.items()] == [("backup",) * 2, ("production",) * 2]
    assert all(Account.named(**each.as_dict()) == each for each in it.accounts.values())


def test_an_id_without_quotes_is_taken_when_it_is_whole() -> None:
    assert Account.named("backup", id=int(ID)).id == ID


# By setting: the least and the most that is taken.
BOUNDS = {
    "lease": (15, 86400),
    "deadline": (60, 604800),
    "capacity_timeout": (1, 86400),
    "hook_timeout": (1, 86400),
    "snapshot_timeout": (60, 604800),
    "restore_timeout": (60, 604800),
    "restore_boot_timeout": (10, 86400),
    "transfer_retry_timeout": (10, 900),
    "transfer_stall_timeout": (60, 86400),
    "transfer_concurrency": (1, 64),
    "archive_wait": (0, 604800),
    "reap_grace": (300, 604800),
    "worker_ssh_port": (1, 65535),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_number_has_bounds(name: str) -> None:
    least, most = BOUNDS[name]
    for value in (least, most, str(most), float(most)):
        assert getattr(Settings.from_call({name: value}), name) == int(value)
    for value in (least - 1, most + 1, "10m", "tomorrow", [1], 60.9):
        error = refused(**{name: value})
        assert error.message.startswith(f"mayfly_{name} is {value!r}, not a ")
        assert error.remedy == f"group_vars/all/{FILES[name]}.yml explains mayfly_{name}."


GOOD: dict[str, list[Any]] = {
    "deployment": ["a", "A-1", "x" * 64, 7],
    "worker_account": ["backup", "production"],
    "worker_market": ["spot", "on-demand"],
    "worker_order": ["preference", "price"],
    "worker_connection": ["direct", "session_manager"],
    "bastion": [
        BASTION,
        {**BASTION, "port": "2222", "security_group_ids": ["sg-1"]},
        {**BASTION, "host": "fd00::7", "cidr": "fd00::7/128"},
        {**BASTION, "private_key": PEM},
        {**BASTION, "private_key": PRIVATE.strip()},
        {**BASTION, "host_key": f"{PUBLIC} root@bastion"},
    ],
    "agent_memory_max": ["1%", "75%", "100%", "2G", "500M", 1073741824, "infinity"],
    "worker_ssh_user": ["mayfly", "_a-1", "x" * 32],
    "hooks": [{"before": "true"}, {"before": "a", "after": "b"}, {"before": ""}],
    "worker_image": [{"id": "ami-1"}, {"owner": 136693071363, "name": "debian-12-a*"}, {"id": "ami-1", "owner": ""}],
    "repository": [REPOSITORY, {**REPOSITORY, "passphrase": "x"}, {**REPOSITORY, "prefix": "a/b", "kms_key_id": "k"}],
    "reap_regions": [["eu-central-1"]],
    "restore_point": ["latest", "2026-11-24T01:30:00Z"],
    "networks": [[{"account": ID, "region": "eu-central-1"}], [{"tag": {"key": "mayfly"}}]],
    "max_workers": [0, 1, "20"],
    "retention_daily": [0, 7, "7", 36500],
    "retention_time_zone": ["UTC", "Europe/Berlin"],
    "retention_live_share": [1, 60, 90],
    "archive_action": ["archive", "return"],
    "archive_point": ["latest", "2026-11-24T01:30:00Z"],
    "archive_resources": [[], ["i-1", "i-2"]],
    "archive_storage_class": ["GLACIER", "DEEP_ARCHIVE"],
    "archive_tier": ["expedited", "standard", "bulk"],
    "archive_days": [1, "7", 365],
    "archive_sets_absent": [[], ["20261124T013000Z-a.0123abcd"]],
    "archive_remove_unfinished": [True, "yes", False],
    "health_check_mode": ["quick", "sample", "full"],
    "health_check_percent": [0.001, 5, "2.5", 100],
    "image_packages": [[], ["gdisk", "libstdc++6", "postgresql-client=15+248"], ["https://example.com/a/b.deb"]],
    "check_operations": [["ec2_backup"], ["rds_backup", "efs_index"]],
    "check_ports": [[{"host": "10.0.0.1", "port": 2049}], [{"host": "a", "port": "443"}], PORTS[:32]],
}
BAD: dict[str, list[Any]] = {
    "deployment": ["x" * 65, "team 7", "a/b", "für", "a\n"],
    "accounts": [[ID], ID, {"backup": ID}, {"backup": {"id": "x"}}, {"backup": {"role_arn": ROLE}}],
    "worker_account": ["both", "BACKUP", ID],
    "worker_market": ["Spot", "reserved"],
    "worker_order": ["cheapest", "Price"],
    "worker_connection": ["ssh", "Bastion", "bastion"],
    "bastion": [
        "b.example.com",
        {**BASTION, "host": "-oProxyCommand=x"},
        {**BASTION, "host": "a b"},
        {**BASTION, "user": "-x"},
        {**BASTION, "port": 0},
        {**BASTION, "private_key": "~/.ssh/id_ed25519"},
        {**BASTION, "private_key": LOCKED},
        {**BASTION, "host_key": "b.example.com ssh-ed25519 AAAA"},
        {**BASTION, "host_key": "AAAA"},
        {**BASTION, "cidr": "10.1.2.3"},
        {**BASTION, "cidr": "0.0.0.0/0"},
        {**BASTION, "cidr": "sg-1"},
        {key: value for key, value in BASTION.items() if key != "cidr"},
    ],
    "agent_memory_max": ["0%", "101%", "much", "75 %", "-1G"],
    "worker_ssh_user": ["root;reboot", "Ops", "x" * 33, "1a", "a\n"],
    "hooks": ["true", {"during": "x"}, {"before": ["a"]}],
    "worker_image": ["ami-1", {"id": "a", "name": "b"}, {"owner": "1"}, {"name": "x"}, {"ami": "x"}],
    "repository": ["backups", {"bucket": "b"}, {**REPOSITORY, "acount": ID}, {**REPOSITORY, "account": "ours"}],
    "reap_regions": ["eu-central-1", [""], [1]],
    "networks": [{"account": ID}, "vpc-1", [{"region": "x"}]],
    "max_workers": [-1, "many"],
    "retention_count": [-1, "all", 100_001],
    "retention_time_zone": ["Berlin", "../UTC", "Europe", "/etc/localtime"],
    "retention_live_share": [91, 0],
    "archive_action": ["restore"],
    "archive_resources": ["i-1", [1]],
    "archive_storage_class": ["glacier", "STANDARD"],
    "archive_tier": ["Standard", "fast"],
    "archive_days": [0, 366],
    "archive_sets_absent": ["a", [1]],
    "archive_remove_unfinished": ["often", 2],
    "health_check_mode": ["all", True],
    "health_check_percent": [0, -1, 101, "5%"],
    "instance_types": [["c5.large"], {"smal": ["c5.large"]}, {"eu-central-1": {"small": "c5.large"}}],
    "worker_tags": [["a"], {"aws:x": "1"}],
    "restore_tags": [["a"], {"mayfly:x": "1"}],
    "restore_account": ["ours", "1111"],
    "image_packages": ["gdisk", ["-y"], ["a b"], ["http://example.com/b.deb"], ["/tmp/b.deb"], ["x"] * 65],
    "check_operations": ["ec2_backup", ["ec2_bakup"], ["worker_check"], [""], [7], {"a": 1}],
    "check_ports": ["10.0.0.1:1", [{"host": "a"}], [{"host": "a", "port": 0}], [{"host": "", "port": 1}], PORTS],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_a_good_value_is_taken(name: str, value: Any) -> None:
    assert getattr(Settings.from_call({name: value}), name) is not None


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_value_is_refused_with_its_setting_and_its_file(name: str, value: Any) -> None:
    error = refused(**{name: value})
    assert error.message.startswith(f"mayfly_{name}")
    assert error.remedy == f"group_vars/all/{FILES[name]}.yml explains mayfly_{name}."


SENTENCES = [
    (
        {"accounts": {"backup": {"id": 12345678901}}},
        "mayfly_accounts.backup.id is '12345678901', not an account id of 12 digits in quotes.",
    ),
    ({"accounts": {"backup": {"role_arn": ROLE}}}, "mayfly_accounts.backup.id is missing: an account id of 12 digits"),
    ({"accounts": {"backup": {"id": ID, "role": ROLE}}}, "mayfly_accounts.backup.role is unknown; known there are "),
    ({"lease": 14}, "mayfly_lease is 14, not a number of seconds from 15 to 86400."),
    ({"networks": [{"account": ID, "region": "x", "vpc_id": 1}]}, "mayfly_networks[0].vpc_id is 1, not a VPC's id."),
    ({"worker_image": {"owner": "1"}}, "mayfly_worker_image: it is either {id} or {owner, name}."),
    ({"lease": 1, "deadline": 1}, "from 15 to 86400. mayfly_deadline is 1, not a number of seconds from 60"),
]


@pytest.mark.parametrize(("call", "sentence"), SENTENCES)
def test_an_error_says_key_value_and_what_is_allowed(call: dict[str, Any], sentence: str) -> None:
    assert sentence in refused(**call).message


def test_operations_to_check_are_named_once() -> None:
    named = Settings.from_call({"check_operations": ["efs_index", "ec2_backup", "efs_index"]})
    assert named.check_operations == ("efs_index", "ec2_backup")
    assert Settings.from_call({}).check_operations == ("ec2_backup", "volume_restore")


def test_the_account_at_fault_is_named() -> None:
    assert "mayfly_accounts.prod.id" in refused(accounts={"backup": {"id": ID}, "prod": {"id": "x"}}).message


@pytest.mark.parametrize(
    "call",
    [
        {"accounts": {"backup": {"id": "x", "external_id": "a-secret"}}},
        {"accounts": {"backup": {"id": ID, "external_id": ["a-secret"]}}},
        {"repository": {**REPOSITORY, "passphrase": ["a-secret"]}},
        {"repository": {**REPOSITORY, "passphrase": "a-secret", "bucket": ""}},
        {"bastion": {**BASTION, "private_key": "a-secret"}},
        {"bastion": {**BASTION, "private_key": PRIVATE.replace("==", "a-secret==")[:-40] + "a-secret"}},
    ],
)
def test_a_secret_stands_in_no_message(call: dict[str, Any]) -> None:
    error = refused(**call)
    assert "a-secret" not in f"{error} {error.message} {error.remedy} {error.__cause__} {error.__context__}"


def test_a_bastion_must_be_said_where_it_is_wanted() -> None:
    assert "mayfly_bastion is needed too" in refused(worker_connection="bastion").message
    it = Settings.from_call({"worker_connection": "bastion", "bastion": {**BASTION, "security_group_ids": ["sg-1"]}})
    assert it.bastion is not None
    assert it.bastion.peers == ("10.1.2.3/32", "sg-1")
    assert it.bastion.private_key == PRIVATE
    wrong = refused(worker_connection="bastion", bastion={**BASTION, "port": 0}).message
    assert wrong == "mayfly_bastion.port is 0, not a TCP port."


def test_a_name_for_an_account_is_no_key() -> None:
    assert "name is unknown" in refused(accounts={"backup": {"id": ID, "name": "x"}}).message
