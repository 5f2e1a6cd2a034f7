# SPDX-License-Identifier: GPL-3.0-or-later
"""Private networks for tests, and what a host in one reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.integration.lab.calls import Calls
from tests.integration.lab.machine import Machine
from tests.integration.lab.things import reachable

HTTPS = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}
# Which of the named endpoints answer, by a connection of their own.
_TRY = """
import socket, sys
def answers(name):
    try:
        socket.create_connection((name, 443), 2).close()
    except OSError:
        return False
    return True
print(*(name.split(".")[0] for name in sys.argv[1:] if answers(name)))
"""


@dataclass
class Network:
    """A VPC with one private subnet, its route table and the group of its hosts, in us-east-1."""

    calls: Calls
    cidr: str
    vpc: str = ""
    subnet: str = ""
    table: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        ec2 = self._ec2
        self.vpc = ec2("create_vpc", CidrBlock=self.cidr)["Vpc"]["VpcId"]
        ec2("modify_vpc_attribute", VpcId=self.vpc, EnableDnsHostnames={"Value": True})
        block = self.cidr.replace(".0.0/16", ".1.0/24")
        made = ec2("create_subnet", VpcId=self.vpc, CidrBlock=block, AvailabilityZone="us-east-1a")
        self.subnet = made["Subnet"]["SubnetId"]
        self.table = ec2("create_route_table", VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        ec2("associate_route_table", RouteTableId=self.table, SubnetId=self.subnet)
        self.group = self.new_group("hosts")
        ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.255.0.10/32"}]}
        ec2("authorize_security_group_ingress", GroupId=self.group, IpPermissions=[ssh])

    def _ec2(self, call: str, **arguments: Any) -> Any:
        return self.calls("ec2", call, **arguments)

    def new_group(self, name: str) -> str:
        return str(self._ec2("create_security_group", GroupName=name, Description=name, VpcId=self.vpc)["GroupId"])

    def add_interface(self, service: str, group: str) -> str:
        """An interface endpoint with private DNS; its id."""
        words = {"VpcEndpointType": "Interface", "SubnetIds": [self.subnet], "SecurityGroupIds": [group]}
        return self._add(service, **words)

    def add_gateway(self, service: str) -> str:
        """A gateway endpoint for the subnet; its id."""
        return self._add(service, VpcEndpointType="Gateway", RouteTableIds=[self.table])

    def _add(self, service: str, **words: Any) -> str:
        name = f"com.amazonaws.us-east-1.{service}"
        made = self._ec2("create_vpc_endpoint", VpcId=self.vpc, ServiceName=name, **words)
        return str(made["VpcEndpoint"]["VpcEndpointId"])

    def launch(self) -> Machine:
        """A host that the test's key opens."""
        return reachable(self.calls, SubnetId=self.subnet, SecurityGroupIds=[self.group])


def reached(machine: Machine, *services: str, region: str = "us-east-1") -> set[str]:
    """Those of the services that the host can connect to."""
    names = " ".join(f"{service}.{region}.amazonaws.com" for service in services)
    return set(machine.check(f"cat > /tmp/try.py <<'END'\n{_TRY}\nEND\npython3 /tmp/try.py {names}").split())
