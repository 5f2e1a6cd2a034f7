# SPDX-License-Identifier: GPL-3.0-or-later
"""The temporary security group: SSH from the control node alone, HTTPS out, made once, and never lost."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.groups import TemporaryGroups, isolated
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.errors import PlacementError
from botocore.exceptions import ClientError

from tests.unit.plugins.keeper.fakes import UNREACHABLE, Ec2, Script, refused

TAGS = {"mayfly:run": "the-run", "mayfly:temporary": "true"}
NODE = "10.1.2.3/32"
pytestmark = pytest.mark.usefixtures("quick")


class Account:
    """An account without the group, unless its answers say otherwise, and the one run that wants it."""

    def __init__(self, **answers: Any) -> None:
        numbers = iter(range(1, 100))

        def new(**_arguments: Any) -> dict[str, str]:
            time.sleep(0.02)  # as long as others may come in between
            return {"GroupId": f"sg-{next(numbers)}"}

        self.ec2 = Ec2(**{"create_security_group": new, **answers})
        self.groups = TemporaryGroups("the-run")
        self.made: list[str] = []

    def ensure(
        self,
        vpc: str = "vpc-1",
        port: int = 22,
        cidr: str | None = NODE,
        *ports_out: int,
        name_servers: tuple[str, ...] = (),
    ) -> str:
        return self.groups.ensure(
            self.ec2,
            vpc,
            port=port,
            cidr=cidr,
            tags=TAGS,
            made=self.made.append,
            ports_out=ports_out,
            name_servers=name_servers,
        )

    def asked(self, call: str) -> list[dict[str, Any]]:
        return [arguments for name, arguments in self.ec2.asked if name == call]


def test_lets_nothing_in_where_ssh_comes_from_nowhere() -> None:
    account = Account()
    assert account.ensure(cidr=None) == "sg-1"
    assert account.asked("authorize_security_group_ingress") == []
    assert len(account.asked("authorize_security_group_egress")) == 1
    assert account.ensure() == "sg-2"


def test_lets_out_the_ports_that_are_to_be_reached() -> None:
    account = Account()
    assert account.ensure() == account.ensure("vpc-1", 22, NODE, 443) == "sg-1"
    assert account.ensure("vpc-1", 22, NODE, 9000, 2049) == account.ensure("vpc-1", 22, NODE, 2049, 9000) == "sg-2"
    rules = [each["IpPermissions"][0]["ToPort"] for each in account.asked("authorize_security_group_egress")]
    assert rules == [443, 443, 2049, 9000]


def test_lets_dns_out_to_name_servers_of_ones_own() -> None:
    account = Account()
    assert account.ensure() == "sg-1"
    assert account.ensure(name_servers=("10.0.0.53", "fd00::53")) == "sg-2"
    assert account.ensure(name_servers=("fd00::53", "10.0.0.53")) == "sg-2"
    rules = [each["IpPermissions"][0] for each in account.asked("authorize_security_group_egress")]
    assert [(each["IpProtocol"], each["FromPort"], each["ToPort"]) for each in rules] == [
        ("tcp", 443, 443),
        ("tcp", 443, 443),
        *[("udp", 53, 53), ("tcp", 53, 53)] * 2,
    ]
    assert [each.get("IpRanges") or each["Ipv6Ranges"] for each in rules[2:]] == [
        *[[{"CidrIp": "10.0.0.53/32"}]] * 2,
        *[[{"CidrIpv6": "fd00::53/128"}]] * 2,
    ]


def test_lets_ssh_in_from_the_control_node_and_https_out() -> None:
    account = Account()
    assert account.ensure(port=2222) == "sg-1"
    assert [name for name, _ in account.ec2.asked] == [
        "create_security_group",
        "authorize_security_group_ingress",
        "authorize_security_group_egress",
        "revoke_security_group_egress",
        "revoke_security_group_egress",
    ]
    [let_in] = account.asked("authorize_security_group_ingress")
    assert let_in["GroupId"] == "sg-1"
    [rule] = let_in["IpPermissions"]
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 2222, 2222)
    assert [each["CidrIp"] for each in rule["IpRanges"]] == [NODE]
    [out] = account.asked("authorize_security_group_egress")[0]["IpPermissions"]
    assert (out["IpProtocol"], out["FromPort"], out["ToPort"]) == ("tcp", 443, 443)
    everything = [each["IpPermissions"] for each in account.asked("revoke_security_group_egress")]
    assert [(rule["IpProtocol"], "IpRanges" in rule, "Ipv6Ranges" in rule) for [rule] in everything] == [
        ("-1", True, False),
        ("-1", False, True),
    ]


def test_is_told_from_others_by_its_tags_from_the_first_moment() -> None:
    account = Account()
    account.ensure()
    [request] = account.asked("create_security_group")
    [given] = request["TagSpecifications"]
    assert given["ResourceType"] == "security-group"
    assert {each["Key"]: each["Value"] for each in given["Tags"]} == {"Name": request["GroupName"], **TAGS}
    assert request["GroupName"].startswith("mayfly-the-run-")
    assert request["VpcId"] == "vpc-1"


def test_an_address_of_version_6_is_one() -> None:
    account = Account()
    account.ensure(cidr="fd00::7/128")
    [rule] = account.asked("authorize_security_group_ingress")[0]["IpPermissions"]
    assert [each["CidrIpv6"] for each in rule["Ipv6Ranges"]] == ["fd00::7/128"]
    assert "IpRanges" not in rule


def test_is_one_for_each_network_port_and_control_node() -> None:
    account = Account()
    wanted = [("vpc-1", 22, NODE), ("vpc-2", 22, NODE), ("vpc-1", 2222, NODE), ("vpc-1", 22, "10.1.2.4/32")]
    found = [account.ensure(*each) for each in wanted]
    assert found == account.made == ["sg-1", "sg-2", "sg-3", "sg-4"]
    assert [account.ensure(*each) for each in wanted] == found
    names = {each["GroupName"] for each in account.asked("create_security_group")}
    assert len(names) == len(account.asked("create_security_group")) == len(wanted)


def test_many_hosts_at_once_share_one() -> None:
    account, together = Account(), threading.Barrier(8)

    def ensure(_number: int) -> str:
        together.wait(10)
        return account.ensure()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ensure, range(8))) == {"sg-1"}
    assert account.made == ["sg-1"]


@pytest.mark.parametrize("cidr", ["", "0.0.0.0/0", "::/0", "the control node"])
def test_is_not_opened_to_what_is_no_control_node(cidr: str) -> None:
    account = Account()
    with pytest.raises(PlacementError) as caught:
        account.ensure(cidr=cidr)
    assert caught.value.remedy
    assert account.ec2.asked == []


class TestWhoseAnswerWasLost:
    def test_is_found_by_its_name(self) -> None:
        found = Script({"SecurityGroups": []}, {"SecurityGroups": [{"GroupId": "sg-lost"}]})
        account = Account(
            create_security_group=Script(refused("InvalidGroup.Duplicate")), describe_security_groups=found
        )
        assert account.ensure() == "sg-lost"
        assert account.made == ["sg-lost"]
        filters = {each["Name"]: each["Values"] for each in account.asked("describe_security_groups")[0]["Filters"]}
        name = account.asked("create_security_group")[0]["GroupName"]
        assert filters == {"vpc-id": ["vpc-1"], "group-name": [name]}

    def test_and_that_aws_does_not_show_is_told(self) -> None:
        account = Account(
            create_security_group=Script(refused("InvalidGroup.Duplicate")),
            describe_security_groups=Script({"SecurityGroups": []}),
        )
        with pytest.raises(KeeperError) as caught:
            account.ensure()
        assert caught.value.code == "GroupUnknown"
        assert account.made == []

    @pytest.mark.parametrize(
        "done",
        [
            {"authorize_security_group_ingress": Script(refused("InvalidPermission.Duplicate"))},
            {"authorize_security_group_egress": Script(refused("InvalidPermission.Duplicate"))},
            {"revoke_security_group_egress": Script(refused("InvalidPermission.NotFound"))},
            {"authorize_security_group_ingress": Script(refused("InvalidGroup.NotFound"), {})},
            {"authorize_security_group_ingress": Script(UNREACHABLE, refused("InvalidPermission.Duplicate"))},
        ],
        ids=["let in already", "let out already", "closed already", "too young", "no answer, but done"],
    )
    def test_has_rules_that_may_be_there_already(self, done: dict[str, Script]) -> None:
        assert Account(**done).ensure() == "sg-1"


@pytest.mark.parametrize("call", ["create_security_group", "authorize_security_group_ingress"])
def test_what_aws_refuses_is_raised(call: str) -> None:
    account = Account(**{call: Script(refused("UnauthorizedOperation", 403))})
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        account.ensure()


def test_a_group_that_could_not_be_opened_is_known_for_its_removal_and_opened_by_the_next() -> None:
    refusals = Script(refused("UnauthorizedOperation", 403), {})
    created = Script({"GroupId": "sg-1"}, refused("InvalidGroup.Duplicate"))
    account = Account(
        create_security_group=created,
        authorize_security_group_ingress=refusals,
        describe_security_groups=Script({"SecurityGroups": [{"GroupId": "sg-1"}]}),
    )
    with pytest.raises(ClientError):
        account.ensure()
    assert account.made == ["sg-1"]
    assert account.ensure() == "sg-1"
    assert len(account.asked("authorize_security_group_ingress")) == 2


def test_an_isolated_group_lets_nothing_in_and_nothing_out() -> None:
    account = Account()
    assert isolated(account.ec2, "vpc-1", "the-run", TAGS) == "sg-1"
    closed = [each["IpPermissions"][0] for each in account.asked("revoke_security_group_egress")]
    assert [each["IpProtocol"] for each in closed] == ["-1", "-1"]
    assert not [name for name, _ in account.ec2.asked if name.startswith("authorize")]
