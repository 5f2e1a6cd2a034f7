# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts: systemd-nspawn machines whose disks are files of the block store."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mayfly_lab import cgroups, loops, network
from mayfly_lab.commands import CommandFailed, run
from mayfly_lab.paths import Paths

log = logging.getLogger(__name__)
_RELEASE_SECONDS = 30.0


@dataclass
class Host:
    """One running machine."""

    instance_id: str
    private_ip: str
    folder: Path
    process: subprocess.Popen[bytes]
    disks: dict[str, loops.Loop] = field(default_factory=dict)
    nodes: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    frozen: bool = False  # on request, not for the moment of a snapshot
    lost: bool = False  # on request: it dies, and EC2 does not notice
    released: threading.Event = field(default_factory=threading.Event)  # nothing of it is left

    @property
    def root(self) -> Path:
        return self.folder / "root"

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

    def inside(self, *command: str) -> str:
        """Run a command in the machine."""
        return run("nsenter", "--target", str(self.leader()), "--all", *command, wait=30)


class Hosts:
    """All machines of the lab. ``exited`` is called when one has ended, in whatever way."""

    def __init__(self, paths: Paths, exited: Callable[[str], None]) -> None:
        self._paths = paths
        self._exited = exited
        self._hosts: dict[str, Host] = {}
        self._lost: dict[str, Host] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._watch_partitions, daemon=True, name="partitions").start()

    def start(
        self,
        instance_id: str,
        private_ip: str,
        root_volume_id: str,
        volumes: list[dict[str, str]],
        boot_words: list[str],
    ) -> None:
        """Boot a machine from its root volume, with more words for its kernel, and attach ``[{volume_id, device}]``."""
        folder = self._paths.run / "hosts" / instance_id
        (folder / "root").mkdir(parents=True, exist_ok=True)
        run("mount", "-o", "loop", self._volume(root_volume_id), folder / "root")
        try:
            namespace = network.add_host(instance_id, private_ip)
            process = self._boot(instance_id, folder, namespace, boot_words)
        except Exception:
            run("umount", "--lazy", folder / "root")
            raise
        host = Host(instance_id, private_ip, folder, process)
        with self._lock:
            self._hosts[instance_id] = host
        threading.Thread(target=self._wait, args=(host,), daemon=True, name=f"wait-{instance_id}").start()
        try:
            for volume in volumes:
                self.attach(instance_id, volume["volume_id"], volume["device"])
        except Exception:
            self.kill(instance_id)
            raise

    def _boot(self, instance_id: str, folder: Path, namespace: Path, boot_words: list[str]) -> subprocess.Popen[bytes]:
        groups = cgroups.create(self._paths.name, instance_id)
        enter = "".join(f"echo $$ > {group}/cgroup.procs; " for group in groups)
        machine = f"systemd-nspawn -q --register=no --keep-unit -M {instance_id} -D {folder}/root --boot"
        machine += f" --network-namespace-path={namespace} --capability=CAP_NET_ADMIN --resolv-conf=off"
        machine += " ".join([" --timezone=off --link-journal=no", *boot_words])
        with (folder / "console.log").open("ab") as console:
            return subprocess.Popen(
                ["sh", "-c", f"{enter}exec {machine}"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def _wait(self, host: Host) -> None:
        host.process.wait()
        with self._lock:
            self._hosts.pop(host.instance_id, None)
        try:
            self._release(host)
            if host.lost:
                network.silence(host.private_ip)
        except Exception:
            log.exception("%s was not cleaned up", host.instance_id)
        finally:  # whatever was left: the control plane waits for the end of the machine, not of its traces
            if not host.lost:
                self._exited(host.instance_id)
            host.released.set()

    def _release(self, host: Host) -> None:
        # A machine outlives its systemd-nspawn when that was killed.
        cgroups.kill(self._paths.name, host.instance_id)
        with host.lock:
            for disk in host.disks.values():
                disk.close()
            host.disks.clear()
        network.remove_host(host.instance_id)
        run("umount", host.root)
        cgroups.remove(self._paths.name, host.instance_id)

    def power_off(self, instance_id: str, wait: float = 20.0) -> None:
        """Shut a machine down as a power button does, and by force after ``wait`` seconds."""
        if self._forget(instance_id):
            return
        host = self.get(instance_id)
        os.kill(host.process.pid, signal.SIGTERM)  # nspawn asks the machine's init for an orderly power-off
        try:
            host.process.wait(wait)
        except subprocess.TimeoutExpired:
            self.kill(instance_id)

    def kill(self, instance_id: str) -> None:
        """End a machine at once; nothing if it has ended."""
        if self._forget(instance_id):
            return
        host = self._hosts.get(instance_id)
        if host:
            self._kill(host)

    def lose(self, instance_id: str) -> None:
        """Let a machine die and its address fall silent, while EC2 takes it for running."""
        host = self.get(instance_id)
        with self._lock:
            host.lost = True
            self._lost[instance_id] = host
        self._kill(host)
        host.released.wait(_RELEASE_SECONDS)

    def freeze(self, instance_id: str) -> None:
        """Let a machine stand still for the moment of a snapshot; a dead one does already."""
        if instance_id not in self._lost:
            cgroups.freeze(self._paths.name, self.get(instance_id).instance_id, frozen=True)

    def thaw(self, instance_id: str) -> None:
        """The end of `freeze`."""
        if instance_id not in self._lost and not self.get(instance_id).frozen:
            cgroups.freeze(self._paths.name, instance_id, frozen=False)

    def freeze_on_request(self, instance_id: str) -> None:
        """Let a machine stand still until it is thawed on request."""
        host = self.get(instance_id)
        cgroups.freeze(self._paths.name, instance_id, frozen=True)
        host.frozen = True

    def thaw_on_request(self, instance_id: str) -> None:
        host = self.get(instance_id)
        host.frozen = False
        cgroups.freeze(self._paths.name, instance_id, frozen=False)

    def attach(self, instance_id: str, volume_id: str, device: str) -> None:
        """Give a running machine a disk under /dev/xvd*; a dead one does not notice."""
        if instance_id in self._lost:
            return
        host = self.get(instance_id)
        name = _node(device)
        with host.lock:
            if name in host.disks:
                raise ValueError(f"{device} of {instance_id} is in use")
            host.disks[name] = disk = loops.attach(self._volume(volume_id))
            major, minor = disk.device()
            host.inside("mknod", "-m", "660", f"/dev/{name}", "b", str(major), str(minor))
        with suppress(CommandFailed):  # most disks have no partitions
            run("partx", "-a", disk.path, wait=30)
            self._make_partition_nodes(host)

    def detach(self, instance_id: str, device: str) -> None:
        """Take a disk from a machine (busy or not, as a forced detachment does)."""
        if instance_id in self._lost:
            return
        host = self.get(instance_id)
        name = _node(device)
        with host.lock:
            disk = host.disks.pop(name)
            gone = {node for node in host.nodes if node.startswith(name)}
            host.inside("rm", "-f", f"/dev/{name}", *(f"/dev/{node}" for node in gone))
            host.nodes -= gone
            disk.close()

    def list(self) -> list[dict[str, Any]]:
        """Who runs."""
        with self._lock:
            hosts = list(self._hosts.values())
            lost = [{"instance_id": instance_id, "state": "dead", "disks": []} for instance_id in self._lost]
        running = [
            {
                "instance_id": host.instance_id,
                "state": "frozen" if host.frozen else "runs",
                "pid": host.process.pid,
                "disks": sorted(host.disks),
            }
            for host in hosts
        ]
        return running + lost

    def leader(self, instance_id: str) -> int:
        return self.get(instance_id).leader()

    def _kill(self, host: Host) -> None:
        cgroups.kill(self._paths.name, host.instance_id)
        host.process.kill()

    def _forget(self, instance_id: str) -> bool:
        """Whether it was dead on request; it has ended then."""
        with self._lock:
            host = self._lost.pop(instance_id, None)
        if host is None:
            return False
        host.released.wait(_RELEASE_SECONDS)
        network.unsilence(host.private_ip)
        self._exited(instance_id)
        return True

    def get(self, instance_id: str) -> Host:
        """A machine that runs; raises KeyError."""
        try:
            return self._hosts[instance_id]
        except KeyError:
            raise KeyError(f"{instance_id} does not run") from None

    def _volume(self, volume_id: str) -> Path:
        return self._paths.store / "volumes" / f"{volume_id}.img"

    def _watch_partitions(self) -> None:
        """A machine has no udev: nodes of the partitions it makes are made here."""
        while True:
            time.sleep(0.3)
            with self._lock:
                hosts = list(self._hosts.values())
            for host in hosts:
                try:
                    self._make_partition_nodes(host)
                except (OSError, CommandFailed):
                    log.debug("%s went away while its partitions were read", host.instance_id)

    def _make_partition_nodes(self, host: Host) -> None:
        with host.lock:
            for name, disk in host.disks.items():
                for number, (major, minor) in disk.partitions().items():
                    node = f"{name}{number}"
                    if node not in host.nodes:
                        host.inside("mknod", "-m", "660", f"/dev/{node}", "b", str(major), str(minor))
                        host.nodes.add(node)


def _node(device: str) -> str:
    """The kernel's name of a device that EC2 calls /dev/sdf, sdf or xvdf."""
    name = device.removeprefix("/dev/")
    return "xvd" + name[2:] if name.startswith("sd") else name
