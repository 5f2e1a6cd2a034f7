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
from mayfly_lab.iam.switch import Switch

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
        self._hosts = Hosts(where, self._exited, lambda instance_id: self._events.add(instance_id, "died"))
        self._model: dict[str, Any] = {"hosts": []}
        self._cut: set[str] = set()
        self._network = threading.Lock()
        self._iam = Switch(where.iam, where.logs / "iam.log")

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
        where.memory.mkdir()
        run("mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", where.memory)
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
            "lose_host": self._lose_host,
            "freeze_host": self._hosts.freeze_on_request,
            "thaw_host": self._hosts.thaw_on_request,
            "cut_network": self._cut_network,
            "mend_network": self._mend_network,
            "set_network": self._set_network,
            "hosts": self._list_hosts,
            "services": self._list_services,
            "enforce_iam": self._iam.turn,
            "events": self._events.after,
        }
        with rpc.Server(self._paths.supervisor_socket, calls) as server:
            self.start_services()
            server.serve_forever()

    def _list_services(self) -> dict[str, int | None]:
        return {**{name: process.poll() for name, process in self._services.items()}, **self._iam.services()}

    def _start_host(self, instance_id: str, **options: Any) -> None:
        self._hosts.start(instance_id, **options)
        self._events.add(instance_id, "started")

    def _exited(self, instance_id: str) -> None:
        with self._network:
            self._cut.discard(instance_id)
        self._events.add(instance_id, "exited")

    def _list_hosts(self) -> list[dict[str, Any]]:
        cut = self._cut
        return [{**host, "cut": host["instance_id"] in cut and host["state"] != "dead"} for host in self._hosts.list()]

    def _lose_host(self, instance_id: str) -> None:
        self._cut_network(instance_id)  # else the kernel would close the connections of what dies
        self._hosts.lose(instance_id)

    def _set_network(self, model: dict[str, Any]) -> None:
        with self._network:
            network.apply(model, self._cut)
            self._model = model

    def _cut_network(self, instance_id: str) -> None:
        self._hosts.get(instance_id)
        with self._network:
            network.apply(self._model, {*self._cut, instance_id})
            self._cut.add(instance_id)

    def _mend_network(self, instance_id: str) -> None:
        with self._network:
            if instance_id not in self._cut:
                raise KeyError(f"the network of {instance_id} is not cut")
            network.apply(self._model, self._cut - {instance_id})
            self._cut.discard(instance_id)


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
