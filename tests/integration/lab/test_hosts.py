# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances are hosts, volumes are disks, snapshots hold what the disk held: seen through the AWS command line."""

from __future__ import annotations

import json
import time

import pytest

from tests.labs import Lab

from .machine import default_vpc, image, key_pair, open_group, running_instance, wait_for_ssh

pytestmark = pytest.mark.timeout(240)
PEER = "import socket, sys; socket.create_connection((sys.argv[1], 22), 3)"


def test_an_instance_boots_a_host_with_its_metadata(lab: Lab) -> None:
    options = "HttpTokens=required,HttpPutResponseHopLimit=1,HttpEndpoint=enabled"
    machine = running_instance(lab, "--metadata-options", options)
    machine.wait_for("running")
    assert machine.check("cat /proc/1/comm").strip() == "systemd"
    script = """
import urllib.request as u
def get(path, **headers):
    return u.urlopen(u.Request('http://169.254.169.254/' + path, headers=headers), timeout=5).read().decode()
token = u.urlopen(u.Request('http://169.254.169.254/latest/api/token', method='PUT',
    headers={'X-aws-ec2-metadata-token-ttl-seconds': '60'}), timeout=5).read().decode()
print(get('latest/meta-data/instance-id', **{'X-aws-ec2-metadata-token': token}))
try:
    get('latest/meta-data/instance-id')
except u.HTTPError as error:
    print(error.code)
"""
    assert machine.check(f'python3 -c "{script}"').split() == [machine.instance_id, "401"]
    assert "done" in machine.check("cloud-init status --wait; true")


@pytest.mark.parametrize(("behaviour", "state"), [("terminate", "terminated"), ("stop", "stopped")])
def test_power_off_inside_ends_it_as_its_shutdown_behaviour_says(lab: Lab, behaviour: str, state: str) -> None:
    machine = running_instance(lab, "--instance-initiated-shutdown-behavior", behaviour)
    machine.wait_for("running")
    machine.ssh("systemctl poweroff")
    machine.wait_for(state)
    found = lab.aws("ec2", "describe-instances", "--instance-ids", machine.instance_id)
    assert found["Reservations"][0]["Instances"][0]["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_stop_and_start_keep_the_disk_and_the_address(lab: Lab) -> None:
    machine = running_instance(lab)
    machine.check("echo kept > /var/kept; sync")
    lab.aws("ec2", "stop-instances", "--instance-ids", machine.instance_id)
    machine.wait_for("stopped")
    lab.aws("ec2", "start-instances", "--instance-ids", machine.instance_id)
    wait_for_ssh(machine)
    assert machine.check("cat /var/kept").strip() == "kept"


def test_terminate_passes_through_its_states_and_the_host_is_gone(lab: Lab) -> None:
    machine = running_instance(lab)
    machine.wait_for("running")
    answer = lab.aws("ec2", "terminate-instances", "--instance-ids", machine.instance_id)
    assert answer["TerminatingInstances"][0]["CurrentState"]["Name"] == "shutting-down"
    assert machine.instance_id not in lab.run("status").stdout or machine.state() == "shutting-down"
    machine.wait_for("terminated")
    assert machine.instance_id not in lab.run("status").stdout
    volumes = lab.aws(
        "ec2", "describe-volumes", "--filters", f"Name=attachment.instance-id,Values={machine.instance_id}"
    )
    assert volumes["Volumes"] == []


def test_a_host_that_does_not_power_off_is_gone_all_the_same(lab: Lab) -> None:
    machine = running_instance(lab)
    machine.wait_for("running")
    links = lab.exec("ip", "-br", "link").count("\n")
    slow = "-p ExecStop='/bin/sleep 600' -p TimeoutStopSec=600"
    machine.check(f"systemd-run {slow} -p DefaultDependencies=no -- sleep 600")
    lab.aws("ec2", "terminate-instances", "--instance-ids", machine.instance_id)
    machine.wait_for("terminated", 60)
    assert lab.exec("ip", "-br", "link").count("\n") == links - 1, "its network is left"
    assert machine.address not in lab.exec("ip", "route")


def test_one_client_token_is_one_instance(lab: Lab) -> None:
    words = ["ec2", "run-instances", "--image-id", image(lab), "--instance-type", "c6a.large", "--client-token", "once"]
    first = lab.aws(*words)["Instances"][0]["InstanceId"]
    second = lab.aws(*words)["Instances"][0]["InstanceId"]
    assert first == second
    words[words.index("c6a.large")] = "c5.large"
    done = lab.run("exec", "--", "aws", *words)
    assert "IdempotentParameterMismatch" in done.stderr
    lab.aws("ec2", "terminate-instances", "--instance-ids", first)


def test_security_groups_hold_from_outside_and_change_at_once(lab: Lab) -> None:
    closed = open_group(lab, default_vpc(lab), "192.0.2.0/24")
    machine = running_instance(lab, wait=False, group=closed)
    time.sleep(4)
    assert machine.ssh("true").returncode != 0
    words = ("--protocol", "tcp", "--port", "22", "--cidr", "10.255.0.10/32")
    lab.aws("ec2", "authorize-security-group-ingress", "--group-id", closed, *words)
    wait_for_ssh(machine)
    lab.aws("ec2", "revoke-security-group-ingress", "--group-id", closed, *words)
    assert machine.ssh("true").returncode != 0


def test_vpcs_reach_each_other_only_when_peered(lab: Lab) -> None:
    here = running_instance(lab)
    there = running_instance(lab, profile="production")
    group = lab.aws("ec2", "describe-instances", "--instance-ids", there.instance_id, profile="production")
    group = group["Reservations"][0]["Instances"][0]["SecurityGroups"][0]["GroupId"]
    words = ("--protocol", "tcp", "--port", "22", "--cidr", "10.0.0.0/8")
    lab.aws("ec2", "authorize-security-group-ingress", "--group-id", group, *words, profile="production")
    try_it = f'python3 -c "{PEER}" {there.address}'
    assert here.ssh(try_it).returncode != 0
    peering = lab.aws(
        "ec2",
        "create-vpc-peering-connection",
        "--vpc-id",
        default_vpc(lab),
        "--peer-vpc-id",
        default_vpc(lab, "production"),
        "--peer-owner-id",
        "444455556666",
    )["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    words = ("ec2", "accept-vpc-peering-connection", "--vpc-peering-connection-id", peering)
    lab.aws(*words, profile="production")
    assert here.ssh(try_it).returncode != 0, "without routes"
    for profile, other in (("backup", "production"), ("production", "backup")):
        add_route(lab, profile, default_vpc(lab, other), other, peering)
    assert here.ssh(try_it).returncode == 0


def test_address_ranges_never_clash(lab: Lab) -> None:
    ranges = [
        vpc["CidrBlock"]
        for profile in ("backup", "production")
        for region in ("us-east-1", "eu-central-1")
        for vpc in lab.aws("ec2", "describe-vpcs", profile=profile, region=region)["Vpcs"]
    ]
    assert len(ranges) == len(set(ranges)) == 4
    done = lab.run("exec", "--", "aws", "ec2", "create-vpc", "--cidr-block", ranges[1])
    assert "InvalidVpc.Range" in done.stderr


def test_a_volume_comes_and_goes_while_the_host_runs_and_a_snapshot_gives_it_back(lab: Lab) -> None:
    machine = running_instance(lab)
    machine.wait_for("running")
    zone = lab.aws("ec2", "describe-instances", "--instance-ids", machine.instance_id)
    zone = zone["Reservations"][0]["Instances"][0]["Placement"]["AvailabilityZone"]
    volume = lab.aws("ec2", "create-volume", "--size", "1", "--availability-zone", zone)["VolumeId"]
    attach(lab, machine.instance_id, volume, "/dev/sdf")
    machine.check("mkfs.ext4 -q /dev/xvdf && mount /dev/xvdf /mnt && echo precious > /mnt/file && sync -f /mnt")
    snapshot = lab.aws("ec2", "create-snapshot", "--volume-id", volume)["SnapshotId"]
    machine.check("echo changed > /mnt/file && sync -f /mnt")
    lab.exec("aws", "ec2", "wait", "snapshot-completed", "--snapshot-ids", snapshot)
    words = ("ec2", "create-volume", "--snapshot-id", snapshot, "--availability-zone", zone)
    copy = lab.aws(*words)["VolumeId"]
    attach(lab, machine.instance_id, copy, "/dev/sdg")
    machine.check("mkdir -p /copy && mount /dev/xvdg /copy")
    assert machine.check("cat /copy/file /mnt/file").split() == ["precious", "changed"]
    machine.check("umount /copy")
    lab.aws("ec2", "detach-volume", "--volume-id", copy)
    assert machine.ssh("test -e /dev/xvdg").returncode != 0


def test_a_snapshot_set_is_of_one_moment(lab: Lab) -> None:
    machine = running_instance(
        lab,
        "--block-device-mappings",
        json.dumps(
            [
                {"DeviceName": f"/dev/sd{letter}", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True}}
                for letter in "fg"
            ]
        ),
    )
    machine.wait_for("running")
    writer = "n=0; while :; do n=$((n+1)); for d in f g; do printf %08d $n | "
    writer += "dd of=/dev/xvd$d oflag=direct,sync bs=512 iflag=fullblock conv=notrunc,sync status=none; done; done"
    machine.check(f"nohup setsid sh -c '{writer}' >/dev/null 2>&1 &")
    time.sleep(1)
    made = lab.aws(
        "ec2",
        "create-snapshots",
        "--instance-specification",
        f"InstanceId={machine.instance_id},ExcludeBootVolume=true",
    )
    snapshots = [entry["SnapshotId"] for entry in made["Snapshots"]]
    lab.exec("aws", "ec2", "wait", "snapshot-completed", "--snapshot-ids", *snapshots)
    numbers = []
    for snapshot in snapshots:
        words = ("ec2", "create-volume", "--snapshot-id", snapshot, "--availability-zone", "us-east-1a")
        volume = lab.aws(*words)["VolumeId"]
        numbers.append(int(lab.exec("head", "-c", "8", f"{lab.state}/run/store/volumes/{volume}.img")))
    # the first disk is written before the second: at one moment it is level or one ahead
    assert numbers[0] > 0
    assert numbers[0] - numbers[1] in (0, 1)


def test_a_shared_snapshot_can_be_used_by_the_other_account(lab: Lab) -> None:
    volume = lab.aws("ec2", "create-volume", "--size", "1", "--availability-zone", "us-east-1a")["VolumeId"]
    snapshot = lab.aws("ec2", "create-snapshot", "--volume-id", volume)["SnapshotId"]
    lab.exec("aws", "ec2", "wait", "snapshot-completed", "--snapshot-ids", snapshot)
    words = [
        "aws",
        "--profile",
        "production",
        "ec2",
        "create-volume",
        "--availability-zone",
        "us-east-1a",
        "--snapshot-id",
        snapshot,
    ]
    assert "InvalidSnapshot.NotFound" in lab.run("exec", "--", *words).stderr
    lab.aws(
        "ec2",
        "modify-snapshot-attribute",
        "--snapshot-id",
        snapshot,
        "--attribute",
        "createVolumePermission",
        "--operation-type",
        "add",
        "--user-ids",
        "444455556666",
    )
    assert lab.run("exec", "--", *words).returncode == 0


@pytest.mark.timeout(300)
def test_twenty_hosts_at_once(lab: Lab) -> None:
    key_pair(lab)
    first = running_instance(lab, "--count", "20", wait=False)
    found = lab.aws("ec2", "describe-instances", "--filters", "Name=instance-state-name,Values=pending,running")
    machines = [
        type(first)(lab, entry["InstanceId"], entry["PrivateIpAddress"], first.key, "backup")
        for reservation in found["Reservations"]
        for entry in reservation["Instances"]
        if first.instance_id in [other["InstanceId"] for other in reservation["Instances"]]
    ]
    assert len(machines) == 20
    for machine in machines:
        wait_for_ssh(machine, 300)
    lab.aws("ec2", "terminate-instances", "--instance-ids", *(machine.instance_id for machine in machines))


def attach(lab: Lab, instance: str, volume: str, device: str) -> None:
    lab.exec("aws", "ec2", "wait", "volume-available", "--volume-ids", volume)
    lab.aws("ec2", "attach-volume", "--volume-id", volume, "--instance-id", instance, "--device", device)


def add_route(lab: Lab, profile: str, vpc: str, owner: str, peering: str) -> None:
    """Lead an account's default VPC to another account's VPC."""
    own = f"Name=vpc-id,Values={default_vpc(lab, profile)}"
    table = lab.aws("ec2", "describe-route-tables", "--filters", own, profile=profile)["RouteTables"][0]
    cidr = lab.aws("ec2", "describe-vpcs", "--vpc-ids", vpc, profile=owner)["Vpcs"][0]["CidrBlock"]
    words = ("--route-table-id", table["RouteTableId"], "--destination-cidr-block", cidr)
    lab.aws("ec2", "create-route", *words, "--vpc-peering-connection-id", peering, profile=profile)
