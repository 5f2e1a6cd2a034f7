# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole instances: their root file systems are volumes, so what was restored boots and serves what it served before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from .conftest import Site, faulty

pytestmark = pytest.mark.timeout(600)
FAR = "eu-central-1"
CONTROL_NODE = "10.255.0.10/32"
PORT = "8080"
# A site on the root volume with a folder on a data volume: udev is not there, so the service itself mounts that.
USER_DATA = f"""#!/bin/sh
mkdir -p /srv/site/data
head -c 3000000 /dev/urandom | sha256sum >/srv/site/root
cat >/etc/systemd/system/site.service <<'unit'
[Service]
ExecStartPre=/bin/sh -c 'until [ -b /dev/xvdf ]; do sleep 0.2; done; mount /dev/xvdf /srv/site/data'
ExecStart=/usr/bin/python3 -m http.server {PORT} --directory /srv/site
[Install]
WantedBy=multi-user.target
unit
until [ -b /dev/xvdf ]; do sleep 0.2; done
mkfs.ext4 -q /dev/xvdf; mount /dev/xvdf /srv/site/data
head -c 3000000 /dev/urandom | sha256sum >/srv/site/data/kept; sync; umount /srv/site/data
systemctl enable site.service
sync; systemctl start site.service
"""


@dataclass(frozen=True)
class Source:
    """An instance that serves its own files: its host name, id, address, and what it served when it was backed up."""

    host: str
    id: str
    address: str
    served: str


def aws(site: Site, *words: str, region: str = "us-east-1") -> Any:
    return site.lab.aws("ec2", *words, profile="production", region=region)


def described(site: Site, identity: str, region: str = "us-east-1") -> dict[str, Any]:
    found = aws(site, "describe-instances", "--instance-ids", identity, region=region)
    one: dict[str, Any] = found["Reservations"][0]["Instances"][0]
    return one


def disks(instance: dict[str, Any]) -> dict[str, str]:
    return {each["DeviceName"]: each["Ebs"]["VolumeId"] for each in instance["BlockDeviceMappings"]}


def what_stays(instance: dict[str, Any]) -> list[Any]:
    """What an instance keeps that gets other volumes."""
    interfaces = [(each["NetworkInterfaceId"], each["MacAddress"]) for each in instance["NetworkInterfaces"]]
    return [instance[part] for part in ("PrivateIpAddress", "SecurityGroups", "Tags", "InstanceType")] + interfaces


def served(site: Site, address: str, seconds: float = 30) -> str:
    """What is served from both volumes, once it is."""
    ends = time.monotonic() + seconds
    url = f"http://{address}:{PORT}/{{root,data/kept}}"
    while (done := site.lab.run("exec", "--", "curl", "-sSf", "--max-time", "5", url)).returncode != 0:
        assert time.monotonic() < ends, done.stderr
        time.sleep(0.5)
    return done.stdout


def group(site: Site, vpc: str, region: str = "us-east-1") -> str:
    """A group that lets the control node in."""
    words = ("create-security-group", "--group-name", "site", "--description", "site", "--vpc-id", vpc)
    made: str = aws(site, *words, region=region)["GroupId"]
    rule = ("--protocol", "tcp", "--port", PORT, "--cidr", CONTROL_NODE)
    aws(site, "authorize-security-group-ingress", "--group-id", made, *rule, region=region)
    return made


@pytest.fixture(scope="module")
def sources(site: Site) -> Iterator[tuple[Source, Source]]:
    """Two instances, backed up once."""
    done = site.lab.playbook("repository_create")
    assert done.returncode == 0, done.stdout[-3000:]
    network = next(
        each for each in site.seed["networks"] if each["account"] == site.seed["accounts"]["production"]["id"]
    )
    image = described(site, site.seed["sources"]["web-1"]["id"])["ImageId"]
    words = ["--image-id", image, "--instance-type", "t3.small", "--subnet-id", network["subnet_ids"][0]]
    words += ["--security-group-ids", group(site, network["vpc_id"]), "--user-data", USER_DATA]
    disk = "DeviceName=/dev/sdf,Ebs={VolumeSize=1,VolumeType=gp3,DeleteOnTermination=true}"
    words += ["--metadata-options", "HttpTokens=required", "--block-device-mappings", disk]
    made = {}
    for name in ("site-1", "site-2"):
        tags = f"ResourceType=instance,Tags=[{{Key=Name,Value={name}}},{{Key=backup,Value=daily}}]"
        made[name] = aws(site, "run-instances", *words, "--tag-specifications", tags)["Instances"][0]
    found = []
    for name, each in made.items():
        identity, address = each["InstanceId"], each["PrivateIpAddress"]
        found.append(Source(f"{name}_{identity}", identity, address, served(site, address)))
    done = site.lab.playbook("ec2_backup", "--limit", ",".join(each.host for each in found))
    assert done.returncode == 0, done.stdout[-6000:]
    yield found[0], found[1]
    aws(site, "terminate-instances", "--instance-ids", *(each.id for each in found))


def restored(site: Site, host: str) -> dict[str, Any]:
    """The report of a restore of a host."""
    entry: dict[str, Any] = site.lab.report("ec2_restore")["resources"][host]
    return entry


def test_an_instance_has_its_own_volumes_again_or_the_restored_ones(
    site: Site, sources: tuple[Source, Source], settings: Any
) -> None:
    """With its id and addresses in both cases; what has failed once is tried again."""
    source = sources[0]
    before = described(site, source.id)
    words = settings(mayfly_restore_location="original", mayfly_restore_boot_timeout=30)
    capacity = ("--service", "ec2", "--call", "StartInstances", "--code", "InsufficientInstanceCapacity")
    changing = site.lab.run("exec", "--host", source.id, "--", "sh", "-c", "echo other >/srv/site/root; sync")
    assert changing.returncode == 0, changing.stderr
    changed = served(site, source.address)
    assert changed != source.served
    with faulty(site, "error", *capacity, "--status", "500", "--times", "2"):
        done = site.lab.playbook("ec2_restore", "--limit", source.host, *words)
    assert done.returncode != 0
    assert served(site, source.address) == changed
    assert disks(described(site, source.id)) == disks(before)
    assert site.temporary() == []

    done = site.lab.playbook("ec2_restore", "--limit", source.host, *words)
    assert done.returncode == 0, done.stdout[-6000:]
    assert served(site, source.address) == source.served
    after = described(site, source.id)
    assert what_stays(after) == what_stays(before)
    new = restored(site, source.host)["restored_volumes"]
    assert disks(after) == {device: new[old] for device, old in disks(before).items()}
    volumes = aws(site, "describe-volumes", "--volume-ids", *new, *new.values())["Volumes"]
    tags = {each["VolumeId"]: {tag["Key"]: tag["Value"] for tag in each.get("Tags", ())} for each in volumes}
    assert {tags[old]["mayfly:replaced"] for old in new} == {f"{source.id} {device}" for device in disks(before)}
    assert not [key for each in new.values() for key in tags[each] if key.startswith("mayfly:")]
    assert all(each["Ebs"]["DeleteOnTermination"] for each in after["BlockDeviceMappings"])
    assert site.temporary() == []


def test_a_volume_is_attached_beside_the_one_that_it_was(
    site: Site, sources: tuple[Source, Source], settings: Any
) -> None:
    """The instance runs on."""
    source = sources[1]
    words = settings(mayfly_restore_attachment="attach", mayfly_restore_volumes=["/dev/sdf"])
    done = site.lab.playbook("volume_restore", "--limit", source.host, *words)
    assert done.returncode == 0, done.stdout[-6000:]
    entry = site.lab.report("volume_restore")["resources"][source.host]
    [new] = entry["restored_volumes"].values()
    assert disks(described(site, source.id))["/dev/sdg"] == new
    reading = "mount -o ro /dev/xvdg /mnt && cat /mnt/kept; umount /mnt"
    read = site.lab.run("exec", "--host", source.id, "--", "sh", "-c", reading)
    assert read.stdout == source.served.splitlines(keepends=True)[1]
    assert served(site, source.address) == source.served
    assert site.temporary() == []


def test_instances_that_are_gone_serve_again_in_a_new_vpc_and_in_another_region(
    site: Site, sources: tuple[Source, Source], settings: Any
) -> None:
    """Both in one run, each in a place of its own."""
    here, there = sources
    aws(site, "terminate-instances", "--instance-ids", here.id, there.id)
    aws(site, "wait", "instance-terminated", "--instance-ids", here.id, there.id)
    block = "10.41.7.0/24"
    vpc = aws(site, "create-vpc", "--cidr-block", block)["Vpc"]["VpcId"]
    place = ("--vpc-id", vpc, "--cidr-block", block, "--availability-zone", "us-east-1b")
    subnet = aws(site, "create-subnet", *place)["Subnet"]["SubnetId"]
    [far] = aws(site, "describe-vpcs", "--filters", "Name=is-default,Values=true", region=FAR)["Vpcs"]
    inside = ("--filters", f"Name=vpc-id,Values={far['VpcId']}", f"Name=availability-zone,Values={FAR}a")
    far_subnet = aws(site, "describe-subnets", *inside, region=FAR)["Subnets"]

    def by_host(one: str, other: str) -> str:
        return f"{{{{ '{one}' if inventory_hostname == '{here.host}' else '{other}' }}}}"

    groups = (group(site, vpc), group(site, far["VpcId"], FAR))
    words = settings(
        mayfly_restore_region=by_host("us-east-1", FAR),
        mayfly_restore_subnet_id=by_host(subnet, far_subnet[0]["SubnetId"]),
        mayfly_restore_security_group_ids=[by_host(*groups)],
        mayfly_restore_image={"owner": "136693071363", "name": "debian-12-a*"},
        mayfly_restore_instance_type=by_host("", "t3.medium"),
        mayfly_restore_name=by_host("", "elsewhere"),
        mayfly_restore_volume_types={"/dev/sdf": "gp2"},
        mayfly_restore_tags={"restored": "yes"},
        mayfly_restore_keep_address=True,
    )
    limit = ("--limit", f"{here.host},{there.host}")
    done = site.lab.playbook("ec2_restore", "--check", *limit, *words)
    assert done.returncode == 0, done.stdout[-6000:]
    assert "it gets another one" in done.stdout
    done = site.lab.playbook("ec2_restore", *limit, *words)
    assert done.returncode == 0, done.stdout[-6000:]
    for source, region, kind, name in (
        (here, "us-east-1", "t3.small", "site-1"),
        (there, FAR, "t3.medium", "elsewhere"),
    ):
        entry = restored(site, source.host)
        found = described(site, entry["restored_instance"], region)
        assert served(site, found["PrivateIpAddress"]) == source.served
        assert disks(found) == dict(
            zip(("/dev/xvda", "/dev/sdf"), _by_size(site, entry["restored_volumes"], region), strict=True)
        )
        assert {tag["Key"]: tag["Value"] for tag in found["Tags"]} == {
            "Name": name,
            "backup": "daily",
            "restored": "yes",
        }
        assert found["InstanceType"] == kind
        assert [each["GroupId"] for each in found["SecurityGroups"]] == [groups[source is there]]
        assert all(each["Ebs"]["DeleteOnTermination"] for each in found["BlockDeviceMappings"])
        assert site.temporary(region) == []
        digests = site.lab.digests(*entry["restored_volumes"].values())
        assert len(digests) == 2
        aws(site, "terminate-instances", "--instance-ids", entry["restored_instance"], region=region)
    assert described(site, restored(site, here.host)["restored_instance"])["VpcId"] == vpc


def _by_size(site: Site, volumes: dict[str, str], region: str) -> list[str]:
    """New volumes, the largest first; the data volume has the type that was asked for."""
    found = aws(site, "describe-volumes", "--volume-ids", *volumes.values(), region=region)["Volumes"]
    found.sort(key=lambda each: -each["Size"])
    assert found[-1]["VolumeType"] == "gp2"
    return [each["VolumeId"] for each in found]
