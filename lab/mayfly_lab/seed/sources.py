# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances that make their own data: each formats and fills its volumes at first boot."""

from __future__ import annotations

from typing import Any

from mayfly_lab.own_kernel.image import AMI_NAME

OWN_KERNEL = "files-1"  # the source whose image has a kernel of its own
_SETUP = """\
#!/bin/sh
set -eu
id admin >/dev/null 2>&1 || useradd --create-home --shell /bin/sh admin
echo 'admin ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/admin
install -d -m 700 -o admin -g admin /home/admin/.ssh
echo '@KEY@' >/home/admin/.ssh/authorized_keys
mkdir -p /srv
ready() { while [ ! -b "$1" ]; do sleep 0.2; done; }
fill() { # folder MiB: incompressible, then compressible, then many small files
  mkdir -p "$1"
  head -c "$2"M /dev/urandom >"$1/random"
  cp -r /usr/share/zoneinfo /usr/lib/python3 "$1/" 2>/dev/null || true
  for n in $(seq 200); do echo "file $n of $1" >"$1/small-$n"; done
}
"""
SCRIPTS = {
    "web-1": _SETUP
    + """\
ready /dev/xvdf; mkfs.ext4 -q /dev/xvdf; mkdir /srv/files; mount /dev/xvdf /srv/files; fill /srv/files/data 300
ready /dev/xvdg; mkfs.xfs -q /dev/xvdg; mkdir /srv/xfs; mount /dev/xvdg /srv/xfs; fill /srv/xfs/data 50
sync; touch /run/filled
""",
    "db-1": _SETUP
    + """\
ready /dev/xvdf; echo 'type=83' | sfdisk -q /dev/xvdf; partx -u /dev/xvdf || true; ready /dev/xvdf1
mkfs.btrfs -q /dev/xvdf1; mkdir /srv/btrfs; mount /dev/xvdf1 /srv/btrfs; fill /srv/btrfs/data 50
ready /dev/xvdg; mkfs.ext4 -q /dev/xvdg; mkdir /srv/large; mount /dev/xvdg /srv/large; fill /srv/large/data 5
sync; touch /run/filled
""",
    # A process takes its time to start on this one: few files.
    OWN_KERNEL: _SETUP
    + """\
ready /dev/xvdf; pvcreate -q /dev/xvdf; vgcreate -q vg0 /dev/xvdf
lvcreate -q -L 600M -n files vg0; lvcreate -q -l 100%FREE -n more vg0
mkfs.ext4 -q /dev/vg0/files; mkdir /srv/files; mount /dev/vg0/files /srv/files
mkfs.xfs -q /dev/vg0/more; mkdir /srv/more; mount /dev/vg0/more /srv/more
ready /dev/xvdg; printf 'size=512M,type=c\\ntype=7\\n' | sfdisk -q /dev/xvdg; ready /dev/xvdg2
mkfs.vfat -n FAT /dev/xvdg1 >/dev/null; mkdir /srv/fat; mount -o utf8 /dev/xvdg1 /srv/fat
mkntfs -Q -q -L NTFS /dev/xvdg2; mkdir /srv/ntfs; ntfs-3g /dev/xvdg2 /srv/ntfs
for folder in files more fat ntfs; do
  mkdir /srv/$folder/data
  head -c 5M /dev/urandom >/srv/$folder/data/random
  for n in 1 2 3 4 5 6 7 8 9; do echo "file $n of $folder" >/srv/$folder/data/small-$n; done
  echo "$folder" >"/srv/$folder/data/Grün und weiß.txt"
done
sync; touch /run/filled
""",
}
_VOLUMES = {"web-1": (2, 1), "db-1": (1, 100), OWN_KERNEL: (1, 1)}  # GiB of /dev/sdf and /dev/sdg
_LIVING = ("pending", "running", "stopping", "stopped")


def ensure_source(ec2: Any, name: str, network: dict[str, Any], public_key: str) -> dict[str, str]:
    """{id, address} of an instance that is tagged for backup; launched when it is missing."""
    wanted = [{"Name": "tag:Name", "Values": [name]}, {"Name": "instance-state-name", "Values": list(_LIVING)}]
    found = [each for group in ec2.describe_instances(Filters=wanted)["Reservations"] for each in group["Instances"]]
    instance = found[0] if found else _launch(ec2, name, network, public_key)
    return {"id": instance["InstanceId"], "address": instance["PrivateIpAddress"]}


def _launch(ec2: Any, name: str, network: dict[str, Any], public_key: str) -> dict[str, Any]:
    pattern = AMI_NAME if name == OWN_KERNEL else "debian-12-a*"
    found = ec2.describe_images(Filters=[{"Name": "name", "Values": [pattern]}])["Images"]
    image = next(each["ImageId"] for each in found if each["Architecture"] == "x86_64")
    devices = zip(("/dev/sdf", "/dev/sdg"), _VOLUMES[name], strict=True)
    tags = [{"Key": "Name", "Value": name}, {"Key": "backup", "Value": "daily"}]
    launched: dict[str, Any] = ec2.run_instances(
        ImageId=image,
        InstanceType="t3.small",
        MinCount=1,
        MaxCount=1,
        SubnetId=network["subnet_ids"][0],
        SecurityGroupIds=network["security_group_ids"],
        UserData=SCRIPTS[name].replace("@KEY@", public_key),
        MetadataOptions={"HttpTokens": "required"},
        BlockDeviceMappings=[
            {"DeviceName": device, "Ebs": {"VolumeSize": size, "VolumeType": "gp3", "DeleteOnTermination": True}}
            for device, size in devices
        ],
        TagSpecifications=[{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
    )
    instance: dict[str, Any] = launched["Instances"][0]
    return instance
