# SPDX-License-Identifier: GPL-3.0-or-later
"""Which volumes boot with a kernel of their own, and what their disks are called."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from mayfly_lab.own_kernel import machine


def file_system(path: Path, label: str) -> Path:
    with path.open("wb") as stream:
        stream.truncate(4 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-L", label, str(path)], check=True, timeout=30)
    return path


@pytest.mark.parametrize(("label", "own"), [("own-kernel", True), ("root", False), ("own-kernel-2", False)])
def test_the_label_of_the_root_file_system_tells(tmp_path, label, own):
    assert machine.is_on(file_system(tmp_path / "volume", label)) is own


@pytest.mark.parametrize("size", [0, 1024, 1 << 20], ids=["nothing", "short", "zeros"])
def test_what_is_no_file_system_does_not(tmp_path, size):
    volume = tmp_path / "volume"
    volume.write_bytes(bytes(size))
    assert not machine.is_on(volume)


def test_a_disk_has_the_letter_of_its_device_and_the_id_of_its_volume():
    disk = machine._disk("xvdf", "vol-0123456789abcdef0", Path("/store/vol.img"))
    assert disk == "ubdf=/store/vol.img,,vol0123456789abcdef0"


@pytest.mark.parametrize("name", ["xvda", "xvdq", "xvdba", "nvme1n1"])
def test_other_devices_are_refused(name):
    with pytest.raises(ValueError, match="/dev/xvdb to /dev/xvdp"):
        machine._disk(name, "vol-1", Path("/store/vol.img"))
