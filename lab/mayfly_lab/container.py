# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that share the machine's kernel: systemd-nspawn over the mounted root volume, disks as loop devices."""

from __future__ import annotations

import shlex
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mayfly_lab import cgroups, loops, network
from mayfly_lab.commands import CommandFailed, run
from mayfly_lab.host import Host, Place, spawn

BY_ID = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_"  # and the volume's id without its dash


@dataclass
class Container(Host):
    """A systemd-nspawn machine."""

    shutdown_seconds = 20.0

    loops: dict[str, loops.Loop] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)  # by the name of the disk
    nodes: set[str] = field(default_factory=set)

    @property
    def disks(self) -> Collection[str]:
        return self.loops.keys()

    @property
    def root(self) -> Path:
        return self.place.folder / "root"

    def leader(self) -> int:
        """The process id of the machine's own process 1; raises TimeoutError."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        limit = time.monotonic() + 10
        while time.monotonic() < limit and self.process.poll() is None:
            # systemd-nspawn's helpers come and go meanwhile
            with suppress(FileNotFoundError, ProcessLookupError):
                found = children.read_text().split()
                if len(found) == 1 and Path(f"/proc/{found[0]}/comm").read_text().strip() in ("systemd", "init"):
                    return int(found[0])
            time.sleep(0.02)
        raise TimeoutError(f"{self.instance_id} has no process 1")

    def attach(self, name: str, volume_id: str, volume: Path) -> None:
        disk, link = loops.attach(volume), BY_ID + volume_id.replace("-", "")
        major, minor = disk.device()
        making = f"mknod -m 660 /dev/{name} b {major} {minor} && mkdir -p /dev/disk/by-id && ln -sf ../../{name} {link}"
        try:
            self._inside("sh", "-c", making)
        except BaseException:
            disk.close()
            raise
        self.loops[name], self.links[name] = disk, link
        with suppress(CommandFailed):  # most disks have no partitions
            run("partx", "-a", disk.path, wait=30)
            self.make_partition_nodes()

    def detach(self, name: str) -> None:
        """Take a disk from the machine, busy or not, as a forced detachment does."""
        disk = self.loops.pop(name)
        link = self.links.pop(name)
        gone = {node for node in self.nodes if node.startswith(name)}
        links = [link, *(f"{link}-part{node.removeprefix(name)}" for node in gone)]
        self._inside("rm", "-f", f"/dev/{name}", *(f"/dev/{node}" for node in gone), *links)
        self.nodes -= gone
        disk.close()

    def make_partition_nodes(self) -> None:
        """A machine has no udev: nodes of the partitions it makes are made here."""
        for name, disk in self.loops.items():
            for number, (major, minor) in disk.partitions().items():
                node = f"{name}{number}"
                if node not in self.nodes:
                    link = f"ln -sf ../../{node} {self.links[name]}-part{number}"
                    self._inside("sh", "-c", f"mknod -m 660 /dev/{node} b {major} {minor} && {link}")
                    self.nodes.add(node)

    def press_power_button(self) -> None:
        self.ending = True
        self.process.terminate()  # nspawn asks the machine's init for an orderly power-off

    def release(self) -> None:
        # A machine outlives its systemd-nspawn when that was killed.
        cgroups.kill(self.place.lab, self.instance_id)
        with self.lock:
            for disk in self.loops.values():
                disk.close()
            self.loops.clear()
        network.remove_host(self.instance_id)
        if self.root.is_mount():
            run("umount", self.root)
        cgroups.remove(self.place.lab, self.instance_id)

    def _inside(self, *command: str) -> None:
        run("nsenter", "--target", str(self.leader()), "--all", *command, wait=30)


def boot(place: Place, volume: Path, boot_words: list[str]) -> Container:
    """Start a machine from its root volume, with more words for its systemd."""
    root = place.folder / "root"
    root.mkdir(parents=True, exist_ok=True)
    namespace = network.add_host(place.instance_id, place.private_ip)
    try:
        return Container(place, spawn(place, _command(place, root, volume, namespace, boot_words)))
    except Exception:
        if root.is_mount():
            run("umount", "--lazy", root)
        network.remove_host(place.instance_id)
        raise


def _command(place: Place, root: Path, volume: Path, namespace: Path, boot_words: list[str]) -> str:
    try:
        run("mount", "-o", "loop", volume, root)
    except CommandFailed as error:  # as a kernel that finds no root file system: it tells so, and that is all
        return f"sh -c 'echo \"$0\"; exit 1' {shlex.quote(str(error))}"
    machine = f"systemd-nspawn -q --register=no --keep-unit -M {place.instance_id} -D {root} --boot"
    machine += f" --network-namespace-path={namespace} --capability=CAP_NET_ADMIN --resolv-conf=off"
    return " ".join([machine, "--timezone=off --link-journal=no", *boot_words])
