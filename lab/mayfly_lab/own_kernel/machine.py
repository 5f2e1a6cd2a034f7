# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts with a kernel of their own: User-Mode Linux, whose disks are the volumes' files and whose link is a tap."""

from __future__ import annotations

import shlex
import shutil
import struct
import subprocess
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_lowercase

from mayfly_lab import addresses, cgroups, network
from mayfly_lab.firewall import interface
from mayfly_lab.host import Host, Place, spawn
from mayfly_lab.own_kernel.console import Refused, request
from mayfly_lab.own_kernel.image import KERNEL, LABEL
from mayfly_lab.paths import Paths

# A file in memory that grows as it is used.
_MEMORY = "512M"
_REBOOTED = 133  # what the machine's process ends with when it has asked for a reboot; systemd-nspawn's own code for it
_DISKS = [f"xvd{letter}" for letter in ascii_lowercase[:16]]  # the kernel has no more
_RELEASING_SECONDS = 5.0  # udev may look at a disk that nobody has mounted
_SUPERBLOCK, _MAGIC_AT, _LABEL_AT = 1024, 56, 120  # bytes: of ext4, and in it
_EXT4 = 0xEF53


@dataclass
class OwnKernel(Host):
    """A User-Mode Linux machine."""

    shutdown_seconds = 50.0

    words: tuple[str, ...] = ()  # all of its command but the disks
    memory: Path = Path()
    volumes: dict[str, tuple[str, Path]] = field(default_factory=dict)  # (id, file) of each disk but the first

    @property
    def disks(self) -> Collection[str]:
        return self.volumes.keys()

    def leader(self) -> int:
        raise RuntimeError(f"{self.instance_id} has a kernel of its own: nothing but SSH leads into it")

    def attach(self, name: str, volume_id: str, volume: Path) -> None:
        self._ask(f"config {_disk(name, volume_id, volume)}")
        self.volumes[name] = (volume_id, volume)

    def detach(self, name: str) -> None:
        """Take a disk from the machine; raises Refused when it is in use there."""
        if name not in self.volumes:
            raise KeyError(name)
        limit = time.monotonic() + _RELEASING_SECONDS
        while True:
            try:
                self._ask(f"remove {_kernel_name(name)}")
            except Refused:
                if time.monotonic() > limit:
                    raise
                time.sleep(0.2)
            else:
                del self.volumes[name]
                return

    def press_power_button(self) -> None:
        self.ending = True
        try:
            self._ask("cad")
        except (OSError, Refused):  # it has not booted yet
            self.kill()

    def wait(self) -> int:
        while (code := self.process.wait()) == _REBOOTED and not self.ending:
            with self.lock:
                self.process = _start(self.place, self.words, self.memory, self.volumes)
            if self.ending:  # meanwhile
                self.kill()
        return code

    def release(self) -> None:
        cgroups.kill(self.place.lab, self.instance_id)
        network.remove_tap(self.instance_id)
        cgroups.remove(self.place.lab, self.instance_id)

    def _ask(self, words: str) -> None:
        request(self.place.folder / self.instance_id / "mconsole", words)


def is_on(volume: Path) -> bool:
    """Whether a volume is a root file system that boots with its own kernel."""
    with volume.open("rb") as stream:
        stream.seek(_SUPERBLOCK)
        block = stream.read(_SUPERBLOCK)
    if len(block) < _SUPERBLOCK or struct.unpack_from("<H", block, _MAGIC_AT) != (_EXT4,):
        return False
    return block[_LABEL_AT:][:16].rstrip(b"\0") == LABEL.encode()


def boot(
    place: Place, paths: Paths, root_volume: Path, volumes: dict[str, tuple[str, Path]], boot_words: list[str]
) -> OwnKernel:
    """Start a machine from its root volume, with ``volumes`` as `OwnKernel` has them and more words for its kernel."""
    place.folder.mkdir(parents=True, exist_ok=True)
    # A machine that reboots executes its own name again: with the disks of its first boot, were it the kernel's.
    rebooted = place.folder / "rebooted"
    rebooted.write_text(f"#!/bin/sh\nexit {_REBOOTED}\n")
    rebooted.chmod(0o700)
    words = (
        *("-a", str(rebooted), str(paths.own_kernel / KERNEL)),
        *(f"umid={place.instance_id}", "uml_dir=.", f"mem={_MEMORY}", f"ubda={root_volume}", "root=/dev/ubda", "rw"),
        *(f"eth0=tuntap,{interface(place.instance_id)}", "con=null", "con0=null,fd:1"),
        *(f"lab.address={place.private_ip}", f"lab.gateway={addresses.GATEWAY}", *boot_words),
    )
    network.add_tap(place.instance_id, place.private_ip)
    try:
        process = _start(place, words, paths.memory, volumes)
    except Exception:
        network.remove_tap(place.instance_id)
        raise
    return OwnKernel(place, process, words=words, memory=paths.memory, volumes=volumes)


def _start(
    place: Place, words: tuple[str, ...], memory: Path, volumes: dict[str, tuple[str, Path]]
) -> subprocess.Popen[bytes]:
    # What an earlier boot has left would be taken for a machine that runs, if another process had its number by now.
    shutil.rmtree(place.folder / place.instance_id, ignore_errors=True)
    disks = (_disk(name, *volume) for name, volume in volumes.items())
    return spawn(place, shlex.join([*words, *disks]), TMPDIR=str(memory))


def _kernel_name(name: str) -> str:
    """ubdf of xvdf; raises ValueError."""
    if name not in _DISKS[1:]:
        raise ValueError(f"a machine with a kernel of its own has disks /dev/{_DISKS[1]} to /dev/{_DISKS[-1]} alone")
    return "ubd" + name[-1]


def _disk(name: str, volume_id: str, volume: Path) -> str:
    return f"{_kernel_name(name)}={volume},,{volume_id.replace('-', '')}"
