# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host in a private subnet reaches: endpoints, route tables and groups decide, and their end cuts it off."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

import pytest

from tests.integration.lab.calls import Calls
from tests.integration.lab.machine import Machine, wait_for_ssh
from tests.integration.lab.networks import HTTPS, Network, reached
from tests.integration.lab.things import reachable, refused, terminate

pytest_plugins = ["tests.integration.lab.faulty"]
pytestmark = pytest.mark.timeout(180)
CIDR = "10.60.0.0/16"
SERVICES = ("ec2", "ebs", "sts", "kms", "s3", "ssm")
# Asks twice over one connection; the second time when it is told to.
_TWICE = """
import http.client, os, sys, time
connection = http.client.HTTPSConnection(sys.argv[1], timeout=5)
connection.connect()
connection.auto_open = 0
def ask():
    connection.request("GET", "/")
    return bool(connection.getresponse().read())
open("/tmp/twice.out", "w").write(f"{ask()}\\n")
while not os.path.exists("/tmp/twice.go"):
    time.sleep(0.1)
try:
    again = ask()
except OSError as error:
    again = type(error).__name__
open("/tmp/twice.out", "a").write(f"{again}\\n")
"""


@pytest.fixture(scope="module")
def network(calls: Calls) -> Network:
    return Network(calls, CIDR)


@pytest.fixture(scope="module")
def ends(calls: Calls, network: Network) -> str:
    """A group that lets HTTPS in from the network."""
    group = network.new_group("ends")
    permission = {**HTTPS, "IpRanges": [{"CidrIp": CIDR}]}
    calls("ec2", "authorize_security_group_ingress", GroupId=group, IpPermissions=[permission])
    return group


@pytest.fixture(scope="module")
def endpoints(network: Network, ends: str) -> dict[str, str]:
    """Endpoints for every service but SSM, by service."""
    made = {service: network.add_interface(service, ends) for service in ("ec2", "ebs", "sts", "kms")}
    return {**made, "s3": network.add_gateway("s3")}


@pytest.fixture(scope="module")
def worker(calls: Calls, network: Network, endpoints: dict[str, str]) -> Iterator[Machine]:
    machine = network.launch()
    wait_for_ssh(machine)
    yield machine
    terminate(calls, machine.instance_id)


def test_a_host_reaches_what_there_are_endpoints_for(worker: Machine) -> None:
    assert reached(worker, *SERVICES) == {*SERVICES} - {"ssm"}
    assert reached(worker, *SERVICES, region="eu-central-1") == set()


def test_a_group_of_endpoints_counts(calls: Calls, network: Network, ends: str, worker: Machine) -> None:
    permission = {**HTTPS, "IpRanges": [{"CidrIp": CIDR}]}
    calls("ec2", "revoke_security_group_ingress", GroupId=ends, IpPermissions=[permission])
    assert reached(worker, *SERVICES) == {"s3"}
    by_group = {**HTTPS, "UserIdGroupPairs": [{"GroupId": network.group}]}
    calls("ec2", "authorize_security_group_ingress", GroupId=ends, IpPermissions=[by_group])
    assert reached(worker, *SERVICES) == {*SERVICES} - {"ssm"}
    calls("ec2", "authorize_security_group_ingress", GroupId=ends, IpPermissions=[permission])


def test_the_hosts_own_rules_count(calls: Calls, network: Network, worker: Machine) -> None:
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    named = [{"Name": "prefix-list-name", "Values": ["com.amazonaws.us-east-1.s3"]}]
    s3 = calls("ec2", "describe_managed_prefix_lists", Filters=named)["PrefixLists"][0]["PrefixListId"]
    calls("ec2", "revoke_security_group_egress", GroupId=network.group, IpPermissions=[everything])
    try:
        for rule, expected in (
            ({**HTTPS, "PrefixListIds": [{"PrefixListId": s3}]}, {"s3"}),
            ({**HTTPS, "IpRanges": [{"CidrIp": CIDR}]}, {"ec2", "ebs", "sts", "kms"}),
            ({"IpProtocol": "50", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}, set()),
        ):
            calls("ec2", "authorize_security_group_egress", GroupId=network.group, IpPermissions=[rule])
            assert reached(worker, *SERVICES) == expected, rule
            calls("ec2", "revoke_security_group_egress", GroupId=network.group, IpPermissions=[rule])
    finally:
        calls("ec2", "authorize_security_group_egress", GroupId=network.group, IpPermissions=[everything])


def test_private_names_end_with_the_vpcs_attribute(calls: Calls, network: Network, worker: Machine) -> None:
    calls("ec2", "modify_vpc_attribute", VpcId=network.vpc, EnableDnsHostnames={"Value": False})
    assert reached(worker, *SERVICES) == {"s3"}
    calls("ec2", "modify_vpc_attribute", VpcId=network.vpc, EnableDnsHostnames={"Value": True})
    calls("ec2", "modify_vpc_attribute", VpcId=network.vpc, EnableDnsSupport={"Value": False})
    assert reached(worker, "s3") == set()
    calls("ec2", "modify_vpc_attribute", VpcId=network.vpc, EnableDnsSupport={"Value": True})
    assert reached(worker, *SERVICES) == {*SERVICES} - {"ssm"}


def test_an_endpoints_interface_lies_in_its_subnet(calls: Calls, endpoints: dict[str, str]) -> None:
    found = calls("ec2", "describe_vpc_endpoints", VpcEndpointIds=[endpoints["ec2"]])["VpcEndpoints"][0]
    ids = found["NetworkInterfaceIds"]
    (interface,) = calls("ec2", "describe_network_interfaces", NetworkInterfaceIds=ids)["NetworkInterfaces"]
    assert interface["PrivateIpAddress"].startswith("10.60.1.")
    assert interface["SubnetId"] == found["SubnetIds"][0]
    assert [each["GroupId"] for each in interface["Groups"]] == [each["GroupId"] for each in found["Groups"]]


def test_endpoints_that_ec2_refuses(calls: Calls, network: Network, ends: str, endpoints: dict[str, str]) -> None:
    with refused("InvalidParameter", 400):
        network.add_interface("ec2", ends)
    with refused("InvalidParameter", 400):
        network.add_gateway("ec2")
    vpc = calls("ec2", "create_vpc", CidrBlock="10.61.0.0/16")["Vpc"]["VpcId"]
    with refused("InvalidParameter", 400):
        words = {"VpcEndpointType": "Interface", "ServiceName": "com.amazonaws.us-east-1.ec2"}
        calls("ec2", "create_vpc_endpoint", VpcId=vpc, **words)


def test_the_end_of_an_endpoint_cuts_connections_that_stand(
    calls: Calls, network: Network, ends: str, endpoints: dict[str, str], worker: Machine
) -> None:
    worker.check(f"cat > /tmp/twice.py <<'END'\n{_TWICE}\nEND")
    for service, kept in (("kms", False), ("sts", True)):
        worker.check("rm -f /tmp/twice.*[!y]")
        worker.check(
            f"setsid python3 /tmp/twice.py {service}.us-east-1.amazonaws.com >/tmp/twice.err 2>&1 </dev/null &"
        )
        assert said(worker, 1) == ["True"]
        calls("ec2", "delete_vpc_endpoints", VpcEndpointIds=[endpoints["kms"]])
        worker.check("touch /tmp/twice.go")
        assert said(worker, 2) == ["True", "True" if kept else "TimeoutError"]
    assert reached(worker, "kms", "sts") == {"sts"}


def said(machine: Machine, lines: int) -> list[str]:
    """What the script that asks twice has written, once it is so many lines."""
    ends = time.monotonic() + 20
    while len(found := machine.ssh("cat /tmp/twice.out").stdout.split()) < lines:
        assert time.monotonic() < ends, machine.ssh("cat /tmp/twice.err").stdout
        time.sleep(0.3)
    return found


@pytest.mark.parametrize(("way_out", "more"), [("nat", {"ssm"}), ("endpoints", set())])
def test_networks_that_are_seeded(calls: Calls, way_out: str, more: set[str]) -> None:
    cidr = {"nat": "10.62.0.0/16", "endpoints": "10.63.0.0/16"}[way_out]
    other = "nat" if way_out == "endpoints" else "endpoints"
    code = "import boto3, json, sys; from mayfly_lab.seed.network import ensure_network as ensure; "
    code += "ec2 = boto3.client('ec2', 'us-east-1'); print(json.dumps(ensure(ec2, *sys.argv[1:])))"
    made = calls.lab.exec(sys.executable, "-c", code, cidr, way_out)
    assert calls.lab.exec(sys.executable, "-c", code, cidr, way_out) == made, "a second time it changes nothing"
    again = calls.lab.run("exec", "--", sys.executable, "-c", code, cidr, other)
    assert (again.returncode, "lab down" in again.stderr) == (1, True)
    network = json.loads(made)
    subnets = calls("ec2", "describe_subnets", SubnetIds=network["subnet_ids"])["Subnets"]
    named = [{tag["Key"]: tag["Value"] for tag in subnet["Tags"]}["Name"] for subnet in subnets]
    assert named == [f"mayfly-lab-private-{subnet['AvailabilityZone']}" for subnet in subnets]
    place = {"SubnetId": network["subnet_ids"][0], "SecurityGroupIds": network["security_group_ids"]}
    machine = reachable(calls, **place)
    wait_for_ssh(machine)
    assert reached(machine, *SERVICES) == {"ec2", "ebs", "sts", "kms", "s3"} | more
    assert reached(machine, "s3", region="eu-central-1") == ({"s3"} if more else set())
    terminate(calls, machine.instance_id)
