# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input ends in one error that names the resource and the setting; no worker is launched."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from .conftest import Site, faulty

pytestmark = pytest.mark.timeout(300)

Hosts = Callable[..., list[str]]


@pytest.fixture
def hosts(backed_up: Site, tmp_path: Path) -> Hosts:
    """Writes an inventory of hosts with these resource ids; the words that hand it to ansible-playbook."""

    def write(region: str = "us-east-1", **ids: str) -> list[str]:
        account = backed_up.seed["accounts"]["production"]["id"]
        entries = {
            name: {
                "mayfly_resource": {"account": account, "region": region, "kind": "ec2", "id": identity, "name": name}
            }
            for name, identity in ids.items()
        }
        path = tmp_path / "hosts.yml"
        path.write_text(json.dumps({"ec2": {"hosts": entries}}))
        return ["-i", str(path)]

    return write


@pytest.fixture(autouse=True)
def nothing_launched(backed_up: Site) -> Iterator[None]:
    """No instance of any run was added, not even one that has ended since."""
    before = launched(backed_up)
    yield
    assert launched(backed_up) == before


def launched(site: Site) -> set[str]:
    """Ids of all workers, those that were terminated included."""
    found = site.lab.aws("ec2", "describe-instances", "--filters", "Name=tag-key,Values=mayfly:run")
    return {each["InstanceId"] for group in found["Reservations"] for each in group["Instances"]}


def refused(site: Site, name: str, *words: str, inventory: str = "") -> str:
    """What a playbook said that must fail, line breaks made spaces."""
    done = site.lab.playbook(name, *words, inventory=inventory)
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).split())


# group_vars of the lab's, and no host of ec2_backup
BASE = "inventories/lab/repositories.yml"


def test_an_instance_that_does_not_exist(backed_up: Site, hosts: Hosts) -> None:
    said = refused(backed_up, "ec2_backup", *hosts(ghost="i-0123456789abcdef0"), inventory=BASE)
    assert "ghost: account 444455556666 has no instance i-0123456789abcdef0 in us-east-1" in said
    assert "mayfly_resource" in said


def test_an_instance_without_volumes(backed_up: Site, hosts: Hosts) -> None:
    source = backed_up.seed["sources"]["web-1"]["id"]
    found = backed_up.lab.aws("ec2", "describe-instances", "--instance-ids", source, profile="production")
    like = found["Reservations"][0]["Instances"][0]
    words = ("--image-id", like["ImageId"], "--instance-type", "t3.micro", "--subnet-id", like["SubnetId"])
    made = backed_up.lab.aws("ec2", "run-instances", *words, profile="production")["Instances"][0]["InstanceId"]
    try:
        for words in (("wait", "instance-running"), ("stop-instances", "--force"), ("wait", "instance-stopped")):
            backed_up.lab.aws("ec2", *words, "--instance-ids", made, profile="production")
        volumes = backed_up.lab.aws(
            "ec2", "describe-volumes", "--filters", f"Name=attachment.instance-id,Values={made}", profile="production"
        )["Volumes"]
        for volume in volumes:
            backed_up.lab.aws("ec2", "detach-volume", "--volume-id", volume["VolumeId"], profile="production")
        said = refused(backed_up, "ec2_backup", *hosts(bare=made), inventory=BASE)
        assert f"bare: {made} has no EBS volumes to back up" in said
    finally:
        backed_up.lab.aws("ec2", "terminate-instances", "--instance-ids", made, profile="production")
        for volume in volumes:
            backed_up.lab.aws("ec2", "delete-volume", "--volume-id", volume["VolumeId"], profile="production")


def test_two_hosts_that_are_the_same_resource(backed_up: Site, hosts: Hosts) -> None:
    source = backed_up.seed["sources"]["web-1"]["id"]
    said = refused(backed_up, "ec2_backup", *hosts(one=source, two=source), inventory=BASE)
    assert f"one and two are the same resource {source} of account 444455556666" in said
    assert "one : ok" in said
    assert "two : ok" in said
    assert "changed=0" in said
    assert "changed=1" not in said


class TestRepository:
    def refused(self, site: Site, settings: Any, **values: str) -> str:
        repository = {**site.seed["repository"], **values}
        return refused(site, "ec2_backup", "--limit", site.web, *settings(mayfly_repository=repository))

    def test_missing(self, backed_up: Site, settings: Any) -> None:
        said = self.refused(backed_up, settings, prefix="nowhere")
        assert "There is no repository in mayfly-repository-111122223333/nowhere. Run the playbook" in said

    def test_bucket_missing(self, backed_up: Site, settings: Any) -> None:
        said = self.refused(backed_up, settings, bucket="no-such-bucket")
        assert "no-such-bucket" in said
        assert "Check bucket and region of mayfly_repository" in said

    def test_of_another_account(self, backed_up: Site, settings: Any) -> None:
        said = self.refused(backed_up, settings, account="444455556666")
        assert "does not belong to account 444455556666" in said
        assert "account of mayfly_repository" in said

    def test_not_writable(self, backed_up: Site, settings: Any) -> None:
        refusal = ("--service", "s3", "--call", "PutObject", "--code", "AccessDenied", "--status", "403")
        with faulty(backed_up, "error", *refusal):
            said = self.refused(backed_up, settings)
        assert "mayfly-repository-111122223333" in said
        assert "The role lacks rights" in said

    def test_of_another_format_version(self, backed_up: Site, settings: Any, tmp_path: Path) -> None:
        bucket = f"s3://{backed_up.seed['repository']['bucket']}"
        path = tmp_path / "repository.json"
        backed_up.lab.exec("aws", "s3", "cp", f"{bucket}/mayfly/repository.json", str(path))
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
        backed_up.lab.exec("aws", "s3", "cp", str(path), f"{bucket}/future/repository.json")
        said = self.refused(backed_up, settings, prefix="future")
        assert "The repository in mayfly-repository-111122223333/future has format 99" in said


def test_no_network_for_the_region(backed_up: Site, settings: Any) -> None:
    said = refused(backed_up, "ec2_backup", "--limit", backed_up.web, *settings(mayfly_networks=[]))
    assert "No subnet of account 111122223333 in us-east-1 can take a worker" in said
    assert "mayfly_networks" in said


def test_a_restore_point_that_is_missing(backed_up: Site, settings: Any) -> None:
    words = settings(mayfly_restore_point="20200101T000000Z-20200101T000000Z-abcdef")
    said = refused(backed_up, "volume_restore", "--limit", backed_up.web, *words)
    assert f"{backed_up.web} " in said
    assert "has no restore point 20200101T000000Z-20200101T000000Z-abcdef. It has 2" in said
    assert "mayfly_restore_point" in said


def test_a_restore_point_that_is_damaged(backed_up: Site, settings: Any, tmp_path: Path) -> None:
    point = backed_up.points(backed_up.web)[0]
    resource = backed_up.seed["sources"]["web-1"]["id"]
    repository = backed_up.seed["repository"]
    place = f"s3://{repository['bucket']}/{repository['prefix']}/444455556666/us-east-1/ec2/{resource}/points/{point}"
    sound, damaged = tmp_path / "sound", tmp_path / "damaged"
    backed_up.lab.exec("aws", "s3", "cp", place, str(sound))
    content = bytearray(sound.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    backed_up.lab.exec("aws", "s3", "cp", str(damaged), place)
    try:
        words = settings(mayfly_restore_point=point)
        said = refused(backed_up, "volume_restore", "--limit", backed_up.web, *words)
        assert point in said
        assert "damaged" in said
    finally:
        backed_up.lab.exec("aws", "s3", "cp", str(sound), place)


def test_an_availability_zone_that_does_not_exist(backed_up: Site, settings: Any) -> None:
    words = settings(mayfly_restore_availability_zone="us-east-1z")
    said = refused(backed_up, "volume_restore", "--limit", backed_up.web, *words)
    where = "account 444455556666: us-east-1 has no Availability Zone us-east-1z"
    assert f"{backed_up.web} cannot be restored to {where}" in said
    assert "Set mayfly_restore_availability_zone to one of us-east-1a" in said


@pytest.mark.parametrize("name", ["ec2_backup", "volume_restore"])
def test_no_resource_at_all(backed_up: Site, name: str) -> None:
    refused(backed_up, name, "--limit", "nobody")


def test_an_inventory_without_any_resource(backed_up: Site) -> None:
    assert "there is no resource to work on" in refused(backed_up, "ec2_backup", inventory=BASE)


def test_an_inventory_that_cannot_be_read(backed_up: Site, tmp_path: Path) -> None:
    path = tmp_path / "broken.aws_ec2.yml"
    path.write_text("plugin: amazon.aws.aws_ec2\nprofile: nobody\nregions: [us-east-1]\n")
    refused(backed_up, "ec2_backup", inventory=str(path))


def test_a_connection_that_is_not_the_workers(backed_up: Site) -> None:
    """Else the roles would run on the production machine."""
    said = refused(backed_up, "ec2_backup", "--limit", backed_up.web, "-e", "ansible_connection=ssh")
    assert f"{backed_up.web}" in said
    assert "mayfly.workers.worker" in said
    assert backed_up.temporary() == []


def test_a_run_without_a_keeper(backed_up: Site) -> None:
    lab = replace(backed_up.lab, environment={"ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.junit"})
    said = refused(replace(backed_up, lab=lab), "ec2_backup", "--limit", backed_up.web)
    assert "mayfly.workers.guard" in said
    assert backed_up.temporary() == []
