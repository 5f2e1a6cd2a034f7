# SPDX-License-Identifier: GPL-3.0-or-later
"""Spot Instances, quotas and prices: what a launch is told, and how an interruption is seen."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.integration.lab.calls import Calls
from tests.integration.lab.machine import wait_for_ssh
from tests.integration.lab.things import (
    Command,
    image,
    instance,
    launch,
    listed,
    reachable,
    refused,
    terminate,
    wait_for,
)

pytest_plugins = ["tests.integration.lab.faulty"]
pytestmark = pytest.mark.timeout(120)
ON_DEMAND, SPOT = "L-1216C47A", "L-34B43A08"
_ACTION = """
import sys, urllib.error, urllib.request as u
def get(path, method="GET", **headers):
    request = u.Request("http://169.254.169.254/latest/" + path, method=method, headers=headers)
    return u.urlopen(request, timeout=5).read().decode()
token = get("api/token", "PUT", **{"X-aws-ec2-metadata-token-ttl-seconds": "60"})
try:
    print(get("meta-data/spot/instance-action", **{"X-aws-ec2-metadata-token": token}))
except urllib.error.HTTPError as error:
    print(error.code)
"""


def market(**options: Any) -> dict[str, Any]:
    return {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": options}}


def request_of(calls: Calls, identity: str) -> dict[str, Any]:
    wanted = [{"Name": "instance-id", "Values": [identity]}]
    (found,) = calls("ec2", "describe_spot_instance_requests", Filters=wanted)["SpotInstanceRequests"]
    one: dict[str, Any] = found
    return one


def test_a_spot_instance_and_its_request(calls: Calls) -> None:
    tags = [{"ResourceType": "spot-instances-request", "Tags": [{"Key": "run", "Value": "one"}]}]
    made = launch(calls, TagSpecifications=tags, **market(SpotInstanceType="one-time", MaxPrice="0.2"))
    identity = made["InstanceId"]
    assert made["InstanceLifecycle"] == "spot"
    found = request_of(calls, identity)
    assert found["SpotInstanceRequestId"] == made["SpotInstanceRequestId"]
    assert (found["State"], found["Status"]["Code"], found["Type"]) == ("active", "fulfilled", "one-time")
    assert found["Tags"] == [{"Key": "run", "Value": "one"}]
    wanted = [{"Name": "instance-lifecycle", "Values": ["spot"]}]
    groups = calls("ec2", "describe_instances", Filters=wanted)["Reservations"]
    assert identity in [each["InstanceId"] for group in groups for each in group["Instances"]]
    with refused("UnsupportedOperation", 400):
        calls("ec2", "stop_instances", InstanceIds=[identity])
    ids = [found["SpotInstanceRequestId"]]
    calls("ec2", "cancel_spot_instance_requests", SpotInstanceRequestIds=ids)
    found = request_of(calls, identity)
    assert (found["State"], found["Status"]["Code"]) == ("cancelled", "request-canceled-and-instance-running")
    terminate(calls, identity)
    assert request_of(calls, identity)["Status"]["Code"] == "instance-terminated-by-user"


def test_options_that_are_refused(calls: Calls) -> None:
    with refused("SpotMaxPriceTooLow", 400):
        launch(calls, **market(MaxPrice="0.001"))
    with refused("UnsupportedOperation", 400):
        launch(calls, **market(SpotInstanceType="persistent"))
    with refused("InvalidParameterCombination", 400):
        launch(calls, **market(InstanceInterruptionBehavior="stop"))


def test_an_interruption_is_told_and_then_done(calls: Calls, command: Command) -> None:
    machine = reachable(calls, **market())
    wait_for_ssh(machine)
    wait_for(calls, machine.instance_id, "running")
    machine.check(f"cat > /tmp/action.py <<'END'\n{_ACTION}\nEND")
    assert machine.check("python3 /tmp/action.py").strip() == "404"
    began = datetime.now(UTC)
    command("spot", "interrupt", machine.instance_id, "--notice", "12")
    action = json.loads(machine.check("python3 /tmp/action.py"))
    ends = datetime.fromisoformat(action.pop("time"))
    assert action == {"action": "terminate"}
    assert 10 <= (ends - began).total_seconds() <= 20
    assert instance(calls, machine.instance_id)["State"]["Name"] == "running"
    assert request_of(calls, machine.instance_id)["Status"]["Code"] == "marked-for-termination"
    found = wait_for(calls, machine.instance_id, "terminated")
    assert datetime.now(UTC) >= ends
    assert found["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    request = request_of(calls, machine.instance_id)
    assert (request["State"], request["Status"]["Code"]) == ("closed", "instance-terminated-no-capacity")
    assert machine.instance_id not in command("status")


def test_only_a_spot_instance_that_lives_is_interrupted(calls: Calls) -> None:
    identity = launch(calls)["InstanceId"]
    for named, words in ((identity, "is not a Spot Instance"), ("i-0123456789abcdef0", "there is no instance")):
        done = calls.lab.run("spot", "interrupt", named)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    terminate(calls, identity)


def test_an_interrupted_one_that_is_terminated_before_keeps_its_reason(calls: Calls, command: Command) -> None:
    identity = launch(calls, **market())["InstanceId"]
    command("spot", "interrupt", identity, "--notice", "2")
    terminate(calls, identity)
    found = wait_for(calls, identity, "terminated")
    time.sleep(2.5)
    found = instance(calls, identity)
    assert (found["State"]["Name"], found["StateReason"]["Code"]) == ("terminated", "Client.UserInitiatedShutdown")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("capacity", "--market", "spot"), "InsufficientInstanceCapacity"),
        (("vcpu-limit", "--market", "spot"), "MaxSpotInstanceCountExceeded"),
        (("spot-price",), "SpotMaxPriceTooLow"),
    ],
)
def test_faults_of_the_spot_market_alone(
    calls: Calls, fault: Command, command: Command, words: tuple[str, ...], code: str
) -> None:
    counted = fault(*words, "--times", "1")
    made = [launch(calls)["InstanceId"]]
    assert listed(command, counted).endswith("1 left")
    with refused(code):
        launch(calls, **market())
    made.append(launch(calls, **market())["InstanceId"])
    terminate(calls, *made)


@pytest.fixture
def quota(command: Command) -> Iterator[Command]:
    """`lab quota WORDS`; the usual values come back after the test."""
    yield lambda *words: command("quota", *words)
    for code in (ON_DEMAND, SPOT):
        command("quota", code, "256")


@pytest.mark.parametrize(
    ("code", "more", "error"),
    [(ON_DEMAND, {}, "VcpuLimitExceeded"), (SPOT, market(), "MaxSpotInstanceCountExceeded")],
)
def test_a_launch_beyond_a_quota(calls: Calls, quota: Command, code: str, more: dict[str, Any], error: str) -> None:
    words = {"ServiceCode": "ec2", "QuotaCode": code}
    assert calls("service-quotas", "get_service_quota", **words)["Quota"]["Value"] == 256
    used = sum(
        2
        for group in calls("ec2", "describe_instances")["Reservations"]
        for each in group["Instances"]
        if each["State"]["Name"] in ("pending", "running") and ("InstanceLifecycle" in each) == bool(more)
    )
    quota(code, str(used + 4), "--region", "us-east-1")
    assert calls("service-quotas", "get_service_quota", **words)["Quota"]["Value"] == used + 4
    assert calls("service-quotas", "get_service_quota", region="eu-central-1", **words)["Quota"]["Value"] == 256
    made = [launch(calls, **more)["InstanceId"]]  # of 2 vCPUs
    with refused(error, 400):
        calls("ec2", "run_instances", ImageId=image(calls), InstanceType="c6a.xlarge", MinCount=1, MaxCount=1, **more)
    made.append(launch(calls, **more)["InstanceId"])
    with refused(error, 400):
        launch(calls, **more)
    terminate(calls, *made)


def test_quotas_are_listed(calls: Calls) -> None:
    found = calls("service-quotas", "list_service_quotas", ServiceCode="ec2")["Quotas"]
    assert {each["QuotaCode"]: each["Value"] for each in found} == {ON_DEMAND: 256, SPOT: 256}
    with refused("NoSuchResourceException", 400):
        calls("service-quotas", "get_service_quota", ServiceCode="ec2", QuotaCode="L-0")


def test_prices(calls: Calls) -> None:
    words = {"InstanceTypes": ["c6a.large"], "ProductDescriptions": ["Linux/UNIX"]}
    history = calls("ec2", "describe_spot_price_history", **words, AvailabilityZone="us-east-1a")["SpotPriceHistory"]
    (entry,) = history
    fields = {"instanceType": "c6a.large", "regionCode": "us-east-1", "operatingSystem": "Linux", "tenancy": "Shared"}
    asked = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in fields.items()]
    (product,) = calls("pricing", "get_products", ServiceCode="AmazonEC2", Filters=asked)["PriceList"]
    (offer,) = json.loads(product)["terms"]["OnDemand"].values()
    (price,) = offer["priceDimensions"].values()
    assert price["unit"] == "Hrs"
    assert 0 < float(entry["SpotPrice"]) < float(price["pricePerUnit"]["USD"]) == 0.0765


def test_types_tell_their_vcpus(calls: Calls) -> None:
    (found,) = calls("ec2", "describe_instance_types", InstanceTypes=["c6a.large"])["InstanceTypes"]
    assert found["VCpuInfo"]["DefaultVCpus"] == 2
