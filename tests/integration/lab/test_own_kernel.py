# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts with a kernel of their own: as instances, and for what the machine's kernel cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from mayfly_lab.own_kernel.image import AMI_NAME, AMI_OWNER
from mayfly_lab.seed import sources

from tests.integration.lab import things
from tests.integration.lab.calls import Calls
from tests.integration.lab.machine import Machine, key_pair, wait_for_ssh
from tests.labs import Lab

pytest_plugins = ["tests.integration.lab.faulty"]
pytestmark = pytest.mark.timeout(600)
_BOOT_SECONDS = 240.0  # ten on a machine that does nothing else
_BOOTHOOK = """#cloud-boothook
#!/bin/sh
id admin >/dev/null 2>&1 || useradd --create-home --shell /bin/sh admin
mkdir -p /home/admin/.ssh && echo '@KEY@' >/home/admin/.ssh/authorized_keys && chown -R admin: /home/admin/.ssh
echo 'admin ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/admin
echo "$INSTANCE_ID" >>/var/lib/boots
"""
_LOOK = """
show() { cat /mnt/data/small-1 /mnt/data/Gr*; umount /mnt; }
for device in vg0/files vg0/more xvdg1; do mount -o ro /dev/$device /mnt; show; done
ntfs-3g -o ro /dev/xvdg2 /mnt; show
truncate -s 120M /var/btrfs; mkfs.btrfs -q /var/btrfs >/dev/null 2>&1; mount -o loop /var/btrfs /mnt; umount /mnt
for module in nfsv4 dm_crypt dm_snapshot dm_thin_pool; do modprobe $module; done
"""


@pytest.fixture(scope="module")
def image(lab: Lab, calls: Calls) -> str:
    """The id of the image, which is built."""
    found = calls("ec2", "describe_images", Owners=[AMI_OWNER])["Images"]
    assert [each["Name"] for each in found] == [AMI_NAME]
    done = lab.run("up", "--own-kernel", wait=900)
    assert done.returncode == 0, done.stderr
    return str(found[0]["ImageId"])


def boot(calls: Calls, image: str, **more: Any) -> Machine:
    """A host with the test's key, which SSH leads into."""
    key = key_pair(calls.lab).with_suffix(".pub").read_text().strip()
    machine = things.reachable(calls, ImageId=image, UserData=_BOOTHOOK.replace("@KEY@", key), **more)
    wait_for_ssh(machine, _BOOT_SECONDS)
    return machine


@pytest.fixture(scope="module")
def machine(calls: Calls, image: str) -> Iterator[Machine]:
    """A host for all tests of this file, with a second disk from its first moment."""
    disk = {"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True}}
    made = boot(calls, image, BlockDeviceMappings=[disk])
    yield made
    things.terminate(calls, made.instance_id)
    things.wait_for(calls, made.instance_id, "terminated")


def test_it_is_an_instance_as_others_are(calls: Calls, machine: Machine) -> None:
    things.wait_for(calls, machine.instance_id, "running")
    assert machine.check("uname -v; cat /proc/1/comm; systemctl is-system-running --wait").split()[-2:] == [
        "systemd",
        "running",
    ]
    assert machine.check("test -b /dev/xvdb && cat /var/lib/boots").split() == [machine.instance_id]
    assert machine.check("hostname").strip() == things.instance(calls, machine.instance_id)["PrivateDnsName"]
    things.wait_for_status(calls, machine.instance_id, "ok")
    console = calls("ec2", "get_console_output", InstanceId=machine.instance_id)["Output"]
    assert "Linux version" in console
    assert "ssh.service" in console
    group = things.instance(calls, machine.instance_id)["SecurityGroups"][0]["GroupId"]
    calls("ec2", "revoke_security_group_ingress", GroupId=group, IpPermissions=[things.SSH])
    assert machine.ssh("true").returncode != 0
    calls("ec2", "authorize_security_group_ingress", GroupId=group, IpPermissions=[things.SSH])
    wait_for_ssh(machine)


def test_disks_come_and_go_with_every_file_system(calls: Calls, machine: Machine) -> None:
    """What the source of `lab seed` does with its disks works, on disks that come while the host runs."""
    volumes = [things.new_volume(calls) for _ in range(2)]
    for volume, device in zip(volumes, ("/dev/sdf", "/dev/sdg"), strict=True):
        things.attach(calls, volume, machine.instance_id, device)
    script = sources.SCRIPTS[sources.OWN_KERNEL].replace("'@KEY@'", "$(cat /home/admin/.ssh/authorized_keys)")
    machine.check(f"cat >/root/fill <<'END'\n{script}\nEND\nsh -e /root/fill", 240)
    machine.check("umount /srv/files /srv/more /srv/fat /srv/ntfs")
    found = machine.check(f"set -e\n{_LOOK}", 240).splitlines()
    assert found == [text for name in ("files", "more", "fat", "ntfs") for text in (f"file 1 of {name}", name)]

    serial = volumes[1].replace("-", "")
    by_id = f"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{serial}"
    paths = machine.check(f"udevadm settle; lsblk -dno SERIAL /dev/xvdg; realpath {by_id} {by_id}-part2").split()
    assert paths == [serial, "/dev/ubdg", "/dev/ubdg2"]
    machine.check("mount /dev/xvdg1 /mnt")
    with things.refused("IncorrectState"):
        calls("ec2", "detach_volume", VolumeId=volumes[1])
    machine.check("umount /mnt")
    calls("ec2", "detach_volume", VolumeId=volumes[1])
    assert machine.ssh(f"udevadm settle; ls /dev/xvdg {by_id}").stdout == ""
    with things.refused("InvalidParameterValue"):
        calls("ec2", "attach_volume", VolumeId=volumes[1], InstanceId=machine.instance_id, Device="/dev/sdz")


def test_the_kernel_comes_with_the_root_volume(calls: Calls, machine: Machine) -> None:
    """An instance of the ordinary image boots restored bytes of the other one, reboots by itself, and crashes."""
    machine.check("echo restored >/var/kept; sync")
    other = things.reachable(calls)
    things.wait_for(calls, other.instance_id, "running", 60)
    restored = things.restored(calls, things.volume_at(calls, machine.instance_id, "/dev/xvda"))
    things.stop(calls, other.instance_id)
    things.swap_root(calls, other.instance_id, restored)
    calls("ec2", "start_instances", InstanceIds=[other.instance_id])
    wait_for_ssh(other, _BOOT_SECONDS)
    assert other.check("cat /var/kept; hostname; uname -r").split()[:2] == [
        "restored",
        things.instance(calls, other.instance_id)["PrivateDnsName"],
    ]
    keys = [each.check("cat /etc/ssh/ssh_host_ed25519_key.pub") for each in (machine, other)]
    assert keys[0] != keys[1], "a new instance has a new identity"

    volume = things.new_volume(calls)
    things.attach(calls, volume, other.instance_id, "/dev/sdf")
    before = other.check("cat /proc/sys/kernel/random/boot_id")
    other.ssh("systemctl reboot")
    other.wait_for_another_boot(before, _BOOT_SECONDS)
    assert other.check("lsblk -dno SERIAL /dev/xvdf").strip() == volume.replace("-", "")
    assert things.instance(calls, other.instance_id)["State"]["Name"] == "running"

    other.check("nohup sh -c 'sleep 1; echo c >/proc/sysrq-trigger' >/dev/null 2>&1 &")
    things.wait_for_status(calls, other.instance_id, "impaired")
    assert things.instance(calls, other.instance_id)["State"]["Name"] == "running"
    assert "sysrq triggered crash" in calls("ec2", "get_console_output", InstanceId=other.instance_id)["Output"]
    things.terminate(calls, other.instance_id)
    things.wait_for(calls, other.instance_id, "terminated")
