# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts: machines whose disks are files of the block store, with the machine's kernel or one of their own."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mayfly_lab import cgroups, container, network
from mayfly_lab.commands import CommandFailed
from mayfly_lab.host import Host, Place
from mayfly_lab.own_kernel import machine as own_kernel
from mayfly_lab.paths import Paths

log = logging.getLogger(__name__)
_RELEASE_SECONDS = 30.0


class Hosts:
    """All machines of the lab. ``exited`` is called when one has ended and EC2 knows, ``died`` when it does not."""

    def __init__(self, paths: Paths, exited: Callable[[str], None], died: Callable[[str], None]) -> None:
        self._paths = paths
        self._exited = exited
        self._died = died
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
        place = Place(instance_id, private_ip, self._paths.run / "hosts" / instance_id, self._paths.name)
        root = self._volume(root_volume_id)
        disks = {_node(each["device"]): (each["volume_id"], self._volume(each["volume_id"])) for each in volumes}
        host: Host
        if own_kernel.is_on(root):
            host = own_kernel.boot(place, self._paths, root, disks, boot_words)
        else:
            host = container.boot(place, root, boot_words)
        with self._lock:
            self._hosts[instance_id] = host
        threading.Thread(target=self._wait, args=(host,), daemon=True, name=f"wait-{instance_id}").start()
        try:
            for name in [each for each in disks if each not in host.disks]:
                self._attach(host, name, *disks[name])
        except Exception:
            if host.process.poll() is None:
                self.kill(instance_id)
                raise
            log.exception("%s ended before it had its disks", instance_id)  # which is told of it as of others

    def _wait(self, host: Host) -> None:
        try:
            in_order = host.wait() == 0
        except Exception:
            log.exception("%s did not boot again", host.instance_id)
            in_order = False
        with self._lock:
            self._hosts.pop(host.instance_id, None)
            if not in_order and not host.ending:  # it could not boot, or its kernel has crashed
                host.lost = True
                self._lost[host.instance_id] = host
        try:
            host.release()
            if host.lost:
                network.silence(host.place.private_ip)
        except Exception:
            log.exception("%s was not cleaned up", host.instance_id)
        finally:  # whatever was left: the control plane waits for the end of the machine, not of its traces
            (self._died if host.lost else self._exited)(host.instance_id)
            host.released.set()

    def power_off(self, instance_id: str) -> None:
        """Shut a machine down as a power button does, and by force where that takes too long."""
        if self._forget(instance_id):
            return
        host = self.get(instance_id)
        host.press_power_button()
        try:
            host.process.wait(host.shutdown_seconds)
        except subprocess.TimeoutExpired:
            self.kill(instance_id)

    def kill(self, instance_id: str) -> None:
        """End a machine at once; nothing if it has ended."""
        if self._forget(instance_id):
            return
        host = self._hosts.get(instance_id)
        if host:
            host.kill()

    def lose(self, instance_id: str) -> None:
        """Let a machine die and its address fall silent, while EC2 takes it for running."""
        host = self.get(instance_id)
        with self._lock:
            host.lost = True
            self._lost[instance_id] = host
        host.kill()
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
        if instance_id not in self._lost:
            self._attach(self.get(instance_id), _node(device), volume_id, self._volume(volume_id))

    def _attach(self, host: Host, name: str, volume_id: str, volume: Path) -> None:
        with host.lock:
            if name in host.disks:
                raise ValueError(f"/dev/{name} of {host.instance_id} is in use")
            host.attach(name, volume_id, volume)

    def detach(self, instance_id: str, device: str) -> None:
        """Take a disk from a machine."""
        if instance_id in self._lost:
            return
        host = self.get(instance_id)
        with host.lock:
            host.detach(_node(device))

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

    def _forget(self, instance_id: str) -> bool:
        """Whether it was dead on request; it has ended then."""
        with self._lock:
            host = self._lost.pop(instance_id, None)
        if host is None:
            return False
        host.released.wait(_RELEASE_SECONDS)
        network.unsilence(host.place.private_ip)
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
        while True:
            time.sleep(0.3)
            with self._lock:
                hosts = [host for host in self._hosts.values() if isinstance(host, container.Container)]
            for host in hosts:
                try:
                    with host.lock:
                        host.make_partition_nodes()
                except (OSError, CommandFailed):
                    log.debug("%s went away while its partitions were read", host.instance_id)


def _node(device: str) -> str:
    """The kernel's name of a device that EC2 calls /dev/sdf, sdf or xvdf."""
    name = device.removeprefix("/dev/")
    return "xvd" + name[2:] if name.startswith("sd") else name
