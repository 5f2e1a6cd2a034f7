# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of worker networks, read by Ansible from a folder like those to copy, over an EC2 of moto's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from moto import mock_aws

BACKUP, PRODUCTION = "123456789012", "444455556666"  # the first is moto's own
REGION, OTHER_REGION = "eu-central-1", "us-east-1"
ACCOUNTS = {"backup": {"id": BACKUP}, "production": {"id": PRODUCTION, "role_arn": f"arn:aws:iam::{PRODUCTION}:role/x"}}
ONE = {"mayfly_networks": [{"account": BACKUP, "region": REGION}]}
PLUGIN = {"plugin": "mayfly.workers.worker_networks"}


@pytest.fixture(autouse=True)
def aws() -> Iterator[None]:
    with mock_aws():
        yield


@cache
def own_ec2(region: str) -> Any:
    """A client with the credentials of the environment, which are moto's own account's."""
    return boto3.client("ec2", region_name=region)


def ec2(account: str = BACKUP, region: str = REGION) -> Any:
    """A client of that account."""
    if account == BACKUP:
        return own_ec2(region)
    role = {"RoleArn": f"arn:aws:iam::{account}:role/x", "RoleSessionName": "test"}
    keys = boto3.client("sts", region_name=region).assume_role(**role)["Credentials"]
    given = {"aws_access_key_id": keys["AccessKeyId"], "aws_secret_access_key": keys["SecretAccessKey"]}
    return boto3.client("ec2", region_name=region, **given, aws_session_token=keys["SessionToken"])


class Network:
    """A VPC with a group and two subnets, one of them named "for workers"."""

    def __init__(self, client: Any, *, tagged: bool = False) -> None:
        self.client = client
        self.vpc: str = client.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        zones = [each["ZoneName"] for each in client.describe_availability_zones()["AvailabilityZones"][:2]]
        self.zones = zones
        self.subnets: list[str] = [
            client.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=zone)["Subnet"][
                "SubnetId"
            ]
            for number, zone in enumerate(zones)
        ]
        self.group: str = client.create_security_group(GroupName="workers", Description="x", VpcId=self.vpc)["GroupId"]
        client.create_tags(Resources=[self.subnets[0]], Tags=[{"Key": "Name", "Value": "for workers"}])
        if tagged:
            client.create_tags(
                Resources=[self.vpc, self.subnets[0], self.group], Tags=[{"Key": "mayfly", "Value": "yes"}]
            )


Read = Callable[..., InventoryManager]
Refused = Callable[..., str]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Writes group_vars/all and the inventory file, and has Ansible read that."""

    def read(shared: dict[str, Any], name: str = "worker_networks.yml", **options: Any) -> InventoryManager:
        (tmp_path / "group_vars/all").mkdir(parents=True, exist_ok=True)
        (tmp_path / "group_vars/all/mayfly.yml").write_text(yaml.safe_dump(shared))
        (tmp_path / name).write_text(yaml.safe_dump({**PLUGIN, **options}))
        return InventoryManager(DataLoader(), [str(tmp_path / name)])

    return read


def hosts(inventory: InventoryManager) -> dict[str, dict[str, Any]]:
    """Variables of ours by host, all of which are in the one group."""
    found = inventory.get_hosts("worker_networks")
    assert {each.name for each in found} == set(inventory.hosts)
    return {
        each.name: {name: value for name, value in each.vars.items() if name.startswith("mayfly_")} for each in found
    }


def settings(*networks: dict[str, Any], accounts: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"mayfly_networks": list(networks), "mayfly_accounts": accounts or ACCOUNTS}


def entry(network: Network, account: str = BACKUP, region: str = REGION, **more: Any) -> dict[str, Any]:
    return {"account": account, "region": region, "vpc_id": network.vpc, **more}


@pytest.fixture
def refused(read: Read, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Has Ansible read what is wrong; what it shows then, in one line."""

    def refused(shared: dict[str, Any], **options: Any) -> str:
        with pytest.raises(AnsibleError):
            read(shared, **options)
        return " ".join(capsys.readouterr().err.split())

    return refused


def test_each_subnet_is_a_host_with_its_own_network(read: Read) -> None:
    made = Network(ec2())
    found = hosts(read(settings(entry(made, security_group_ids=[made.group]))))
    named, plain = f"for-workers_{made.subnets[0]}", f"{made.vpc}_{made.subnets[1]}"
    narrowed = {**entry(made), "security_group_ids": [made.group]}
    place = {"account": BACKUP, "region": REGION, "kind": "subnet"}
    assert found == {
        named: {
            "mayfly_resource": {**place, "id": made.subnets[0], "name": "for workers"},
            "mayfly_networks": [{**narrowed, "subnet_ids": [made.subnets[0]]}],
        },
        plain: {
            "mayfly_resource": {**place, "id": made.subnets[1], "name": made.vpc},
            "mayfly_networks": [{**narrowed, "subnet_ids": [made.subnets[1]]}],
        },
    }


def test_each_account_is_looked_into_with_its_role(read: Read) -> None:
    ours, theirs = Network(ec2()), Network(ec2(PRODUCTION, OTHER_REGION))
    networks = [entry(ours, subnet_ids=ours.subnets[:1]), entry(theirs, PRODUCTION, OTHER_REGION)]
    found = hosts(read(settings(*networks)))
    places = {(each["mayfly_resource"]["account"], each["mayfly_resource"]["region"]) for each in found.values()}
    assert places == {(BACKUP, REGION), (PRODUCTION, OTHER_REGION)}
    assert {each["mayfly_resource"]["id"] for each in found.values()} == {ours.subnets[0], *theirs.subnets}


def test_a_tag_is_looked_for_in_every_account_and_region_that_is_named(read: Read) -> None:
    made = Network(ec2(PRODUCTION, OTHER_REGION), tagged=True)
    shared = settings({"tag": {"key": "mayfly", "value": "yes"}})
    (host,) = hosts(read(shared, regions=[REGION, OTHER_REGION])).values()
    assert host["mayfly_networks"] == [
        entry(made, PRODUCTION, OTHER_REGION, subnet_ids=[made.subnets[0]], security_group_ids=[made.group])
    ]


def test_settings_may_be_templates_over_one_another(read: Read) -> None:
    made = Network(ec2())
    shared = {
        "site": {"networks": [entry(made, subnet_ids=["{{ first }}"])], "accounts": ACCOUNTS},
        "first": made.subnets[0],
        "mayfly_networks": "{{ site.networks }}",
        "mayfly_accounts": "{{ site.accounts }}",
    }
    assert list(hosts(read(shared))) == [f"for-workers_{made.subnets[0]}"]


def test_what_the_file_says_comes_before_settings(read: Read) -> None:
    made = Network(ec2())
    wrong = settings({"account": BACKUP, "region": REGION, "vpc_id": "vpc-gone"}, accounts={"backup": {"id": "0" * 12}})
    own = {"networks": [entry(made, subnet_ids=["{{ chosen }}"])], "accounts": ACCOUNTS}
    found = hosts(read({**wrong, "chosen": made.subnets[1]}, **own, operations=["efs_index"]))
    assert list(found) == [f"{made.vpc}_{made.subnets[1]}"]
    assert found[f"{made.vpc}_{made.subnets[1]}"]["mayfly_check_operations"] == ["efs_index"]


def test_what_is_not_there_is_an_error_that_says_what_to_mend(refused: Refused) -> None:
    text = refused(settings(entry(Network(ec2()), subnet_ids=["subnet-gone"])))
    assert "subnet-gone of mayfly_networks is not in vpc-" in text
    assert "group_vars/all/networks.yml says what an entry of mayfly_networks holds." in text


@pytest.mark.parametrize(
    ("shared", "options", "said"),
    [
        ({}, {}, "mayfly_networks is empty"),
        ({"mayfly_networks": [], "mayfly_accounts": ACCOUNTS}, {}, "mayfly_networks is empty"),
        (ONE, {}, "Account 123456789012 is not in mayfly_accounts (known: none)"),
        (ONE, {"accounts": {"backup": {"id": "1"}}}, "mayfly_accounts.backup.id is '1'"),
        (ONE, {"networks": [{"vpcid": "vpc-1"}]}, "mayfly_networks[0].vpcid is unknown"),
        (ONE, {"operations": ["ec2_bakup"]}, "'ec2_bakup' is no operation"),
        ({"mayfly_networks": "{{ nothing_of_that_name }}"}, {}, "nothing_of_that_name"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_that_say_nothing_sensible_are_errors(
    refused: Refused, shared: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    assert said in refused(shared, **options)


def test_a_file_of_another_name_is_not_taken(read: Read) -> None:
    made = Network(ec2())
    with pytest.raises(AnsibleError):
        read(settings(entry(made)), name="networks.yml")
    assert hosts(read(settings(entry(made)), name="my_worker_networks.yaml"))


@pytest.mark.parametrize("folder", ["lab", "aws"])
def test_the_files_to_copy_are_meant_for_this_plugin(root: Path, folder: str) -> None:
    content = yaml.safe_load((root / "inventories" / folder / "worker_networks.yml").read_text())
    assert content == PLUGIN
