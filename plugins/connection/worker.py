# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection of a host that stands for a protected resource: its worker, over the keeper's SSH master."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.connection import ConnectionBase
from ansible.plugins.loader import connection_loader
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import client
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError

DOCUMENTATION = """
name: worker
short_description: Run tasks on the host's worker
version_added: 0.1.0
author: The mayfly project (@mayfly)
description:
  - From the launch of a worker on, the tasks of a host run on its worker, over the SSH master that the run's keeper
    holds. Only C(mayfly_worker_*) variables are read, so nothing of the production machine is ever dialled.
  - A lost worker is an ordinary failure of the task, so that C(always) blocks run.
  - Over a bastion or Session Manager (C(mayfly_worker_connection)) the keeper alone dials. A task then asks it for its
    master first.
options:
  worker_host:
    description: Name of the host in the inventory.
    vars: [{name: inventory_hostname}]
  worker_way:
    description: The way that SSH takes to the worker.
    choices: [direct, bastion, session_manager]
    default: direct
    vars: [{name: mayfly_worker_way}]
  worker_address:
    description: Address of the worker.
    vars: [{name: mayfly_worker_address}]
  worker_port:
    description: Port of its SSH server.
    type: int
    vars: [{name: mayfly_worker_port}]
  worker_user:
    description: User to log in as.
    vars: [{name: mayfly_worker_user}]
  worker_instance_id:
    description: Id of the worker's instance.
    vars: [{name: mayfly_worker_instance_id}]
  worker_control_path:
    description: Control path of the keeper's SSH master; one an instance.
    vars: [{name: mayfly_worker_control_path}]
  worker_known_hosts:
    description: File with the worker's pinned host key.
    vars: [{name: mayfly_worker_known_hosts}]
  worker_key_file:
    description: File with the run's private key.
    vars: [{name: mayfly_worker_key_file}]
"""


_CONNECTED_SECONDS = 120.0


class Connection(ConnectionBase):
    """Hands everything to the built-in ssh connection, set up for the worker."""

    transport = "mayfly.workers.worker"
    has_pipelining = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._arguments, self._options_given = arguments, options
        self._ssh_connection: Any = None

    def _connect(self) -> Connection:
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a command on the worker."""
        result: tuple[int, bytes, bytes] = self._do("exec_command", cmd, in_data=in_data, sudoable=sudoable)
        return result

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file to the worker."""
        self._do("put_file", in_path, out_path)

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file from the worker."""
        self._do("fetch_file", in_path, out_path)

    def reset(self) -> None:
        """Forget what was set up; the master is the keeper's and stays."""
        self._ssh_connection = None

    def close(self) -> None:
        """Nothing is open: the master is the keeper's."""

    def _do(self, name: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(self._ssh(), name)(*arguments, **options)
        except AnsibleConnectionFailure as error:
            # As an unreachable host, it would skip every always block; the cause must not be chained either.
            worker = self.get_option("worker_instance_id")
            message = f"The worker {worker} was lost: {error}"
        raise AnsibleError(message) from None

    def _ssh(self) -> Any:
        if self._ssh_connection is None:
            address = self.get_option("worker_address")
            if not address:
                raise AnsibleError("This host has no worker yet: a task ran on it before the launch, or after the end.")
            if self._needs_master():
                self._ask_for_master()
            made = connection_loader.get("ansible.builtin.ssh", *self._arguments, **self._options_given)
            made.set_options(
                direct={
                    "host": address,
                    "port": self.get_option("worker_port"),
                    "remote_user": self.get_option("worker_user"),
                    "private_key_file": self.get_option("worker_key_file"),
                    "control_path": self.get_option("worker_control_path"),
                    "host_key_checking": True,
                    "ssh_common_args": self._extra_arguments(),
                    "ssh_args": "-F none",
                    "ssh_extra_args": "",
                    "sftp_extra_args": "",
                    "scp_extra_args": "",
                    "password": None,
                    "timeout": 20,
                    "reconnection_retries": 2,
                }
            )
            made.host, made.port, made.user = address, self.get_option("worker_port"), self.get_option("worker_user")
            if self.become:
                made.set_become_plugin(self.become)
            self._ssh_connection = made
        return self._ssh_connection

    def _needs_master(self) -> bool:
        """Whether a task cannot dial: what it would need (a key, credentials) is the keeper's alone."""
        return bool(self.get_option("worker_way") != "direct")

    def _ask_for_master(self) -> None:
        try:
            client.call("worker.connected", {"host": self.get_option("worker_host")}, _CONNECTED_SECONDS)
        except KeeperError as error:
            message = error.text
        else:
            return
        raise AnsibleError(message)

    def _extra_arguments(self) -> str:
        options = {
            "ControlMaster": "no",
            "ControlPath": self.get_option("worker_control_path"),
            "GlobalKnownHostsFile": "/dev/null",
            "HostKeyAlias": self.get_option("worker_instance_id"),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "ServerAliveCountMax": "3",
            "ServerAliveInterval": "10",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": self.get_option("worker_known_hosts"),
        }
        if self._needs_master():
            options["ProxyCommand"] = "false"  # when the master is lost: there is no other way
        return " ".join(f"-o {name}={value}" for name, value in options.items())
