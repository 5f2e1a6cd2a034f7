# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's supervisor: lays the network, mounts the store, starts the services and the hosts, answers for both."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from mayfly_lab import addresses, network, paths, rpc
from mayfly_lab.commands import run
from mayfly_lab.hosts import Hosts

log = logging.getLogger(__name__)
STORE_GIB = 256  # sparse; volumes are sparse files in it
SERVICES = {
    "control": [sys.executable, "-m", "mayfly_lab.control"],
    "s3": [sys.executable, "-m", "mayfly_lab.s3"],
    "ebs": [sys.executable, "-m", "mayfly_lab.ebs"],
}
_KEPT_EVENTS = 10_000


class Events:
    """What happened to hosts, numbered, for the control plane's long polls."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._number = 0
        self._changed = threading.Condition()

    def add(self, instance_id: str, event: str) -> None:
        with self._changed:
            self._number += 1
            self._events = [
                *self._events[-_KEPT_EVENTS:],
                {"n": self._number, "instance_id": instance_id, "event": event},
            ]
            self._changed.notify_all()

    def after(self, after: int, timeout: float) -> list[dict[str, Any]]:
        with self._changed:
            self._changed.wait_for(lambda: self._number > after, timeout)
            return [event for event in self._events if event["n"] > after]


class Supervisor:
    """Everything of one lab."""

    def __init__(self, where: paths.Paths) -> None:
        self._paths = where
        self._events = Events()
        self._services: dict[str, subprocess.Popen[bytes]] = {}
        self._hosts = Hosts(where, lambda instance_id: self._events.add(instance_id, "exited"))

    def prepare(self) -> None:
        """Mounts and network, all of them private to the lab's namespaces."""
        where = self._paths
        run("mount", "--make-rprivate", "/")
        Path("/run/netns").mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
        resolver = where.run / "resolv.conf"
        resolver.write_text(f"nameserver {addresses.RESOLVER}\n")
        target = Path(os.path.realpath("/etc/resolv.conf"))
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        run("mount", "--bind", resolver, target)
        run("mount", "--bind", where.trust_bundle, "/etc/ssl/certs/ca-certificates.crt")
        self._mount_store()
        network.set_up()

    def _mount_store(self) -> None:
        file = self._paths.run / "store.img"
        with file.open("wb") as stream:
            stream.truncate(STORE_GIB << 30)
        run("mkfs.xfs", "-q", "-m", "reflink=1", file)
        self._paths.store.mkdir()
        run("mount", "-o", "loop,discard", file, self._paths.store)
        for name in ("volumes", "snapshots"):
            (self._paths.store / name).mkdir()

    def start_services(self) -> None:
        configuration = self._paths.run / "dnsmasq.conf"
        configuration.write_text(network.resolver_configuration())
        commands = {"dns": ["dnsmasq", "--keep-in-foreground", f"--conf-file={configuration}"], **SERVICES}
        for name, command in commands.items():
            with (self._paths.logs / f"{name}.log").open("ab") as output:
                self._services[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def serve(self) -> None:
        """Answer calls until killed."""
        calls: dict[str, rpc.Handler] = {
            "start_host": self._start_host,
            "power_off": self._hosts.power_off,
            "kill_host": self._hosts.kill,
            "freeze": self._hosts.freeze,
            "thaw": self._hosts.thaw,
            "attach": self._hosts.attach,
            "detach": self._hosts.detach,
            "leader": self._hosts.leader,
            "set_network": network.apply,
            "hosts": self._hosts.list,
            "services": lambda: {name: process.poll() for name, process in self._services.items()},
            "events": self._events.after,
        }
        with rpc.Server(self._paths.supervisor_socket, calls) as server:
            self.start_services()
            server.serve_forever()

    def _start_host(
        self, instance_id: str, private_ip: str, root_volume_id: str, volumes: list[dict[str, str]]
    ) -> None:
        self._hosts.start(instance_id, private_ip, root_volume_id, volumes)
        self._events.add(instance_id, "started")


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    where = paths.current()
    supervisor = Supervisor(where)
    supervisor.prepare()
    started = {"at": time.time()}
    (where.run / "prepared.json").write_text(json.dumps(started))
    supervisor.serve()


if __name__ == "__main__":
    main()
