# SPDX-License-Identifier: GPL-3.0-or-later
"""The keeper's SSH connections: the run's key, and one master to each worker that Ansible's tasks share.

A master's own session is the loop that renews the lease on the worker (``lease.py``): when the keeper is gone, its
input ends, so do the loop, the session and the master, and the lease runs out.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..settings.connection import Way
from .errors import KeeperError
from .lease import RENEW, Beat

CONNECT_SECONDS = 5
_LOGIN_SECONDS = 30.0
_EXIT_SECONDS = 5.0
_SSH_FAILED = 255


class SshError(Exception):
    """A connection could not be made or was lost; the text is ssh's own."""


@dataclass(frozen=True)
class KeyPair:
    """An ed25519 key: the private half as OpenSSH writes it, the public one as ``ssh-ed25519 AAAA…``."""

    private: str
    public: str

    @classmethod
    def generate(cls) -> KeyPair:
        """A new key."""
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        return cls(private.decode(), public.decode())


def write_secret(path: Path, text: str) -> None:
    """Write a file that only this user can read, atomically."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    unfinished.replace(path)


def port_answers(address: str, port: int) -> bool:
    """Whether a TCP connection can be made: cheaper than an ssh process for every try while a worker boots."""
    try:
        with socket.create_connection((address, port), timeout=CONNECT_SECONDS):
            return True
    except OSError:
        return False


@dataclass(frozen=True)
class Route:
    """The way to a worker. Without ``proxy``, a command for ssh's ProxyCommand, its port is dialled.

    ``environment`` is asked for before each ssh that needs ``proxy``. ``connect_seconds`` are for one try to get there,
    ``pause_seconds`` between two while the worker boots; ``remedy`` is for a worker that does not answer.
    """

    way: Way = Way.DIRECT
    proxy: tuple[str, ...] = ()
    environment: Callable[[], Mapping[str, str]] = field(default=lambda: os.environ)
    connect_seconds: int = CONNECT_SECONDS
    pause_seconds: float = 0.5
    remedy: str = (
        "Check that its security groups let the control node in on that port, and that the image runs cloud-init."
    )

    @property
    def options(self) -> dict[str, str]:
        """ssh's options for it."""
        options = {"ConnectTimeout": str(self.connect_seconds)}
        if self.proxy:  # ssh takes %h and the like for its own
            options["ProxyCommand"] = shlex.join(self.proxy).replace("%", "%%")
        return options

    def variables(self) -> dict[str, str] | None:
        """The environment of an ssh that may dial; None for the keeper's own."""
        # ssh runs a ProxyCommand with the user's shell, which may be none.
        return {**self.environment(), "SHELL": "/bin/sh"} if self.proxy else None


def strict_options(*, port: int, user: str, alias: str, key_file: Path, known_hosts: Path) -> dict[str, str]:
    """ssh's options for a host with one key and one pinned host key: nobody is asked, and nothing is learnt."""
    return {
        "BatchMode": "yes",
        "ForwardAgent": "no",
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": alias,
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "IdentityFile": str(key_file),
        "LogLevel": "ERROR",
        "Port": str(port),
        "PreferredAuthentications": "publickey",
        "ServerAliveCountMax": "3",
        "ServerAliveInterval": "10",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "User": user,
        "UserKnownHostsFile": str(known_hosts),
    }


def ssh_words(options: Mapping[str, str]) -> list[str]:
    """ssh with everything said: neither the user's configuration nor an agent may change what is dialled."""
    words = ["ssh", "-F", "none", "-T"]
    for name, value in options.items():
        words += ["-o", f"{name}={value}"]
    return words


class Connection:
    """A worker's SSH master. Files lie in ``folder`` under ``alias``, the instance id: one control path for each."""

    def __init__(
        self,
        *,
        address: str,
        port: int,
        user: str,
        alias: str,
        folder: Path,
        key_file: Path,
        route: Route | None = None,
    ) -> None:
        self.address = address
        self.port = port
        self.user = user
        self.alias = alias
        self.key_file = key_file
        self.route = route or Route()
        self.control_path = folder / f"{alias}.ssh"
        self.known_hosts = folder / f"{alias}.known_hosts"
        self._log = folder / f"{alias}.log"
        self._lock = threading.Lock()
        self._master: subprocess.Popen[bytes] | None = None
        self._beat: Beat | None = None
        self._removed = False

    def pin(self, public_key: str) -> None:
        """From now on, only this host key is taken for the worker."""
        write_secret(self.known_hosts, f"{self.alias} {public_key.strip()}\n")

    def answers(self) -> bool:
        """Whether a login is worth a try: the port answers, or cannot be dialled from here."""
        return bool(self.route.proxy) or port_answers(self.address, self.port)

    def open(self, timeout: float | None = None) -> None:
        """Make the master connection, unless it lives; its lease has been renewed once then. Raises SshError."""
        with self._lock:
            if self._removed:
                raise SshError("the worker is being terminated")
            if self._lives():
                return
            self._end_master()
            command = [
                *self._ssh(),
                "-o",
                "ControlMaster=yes",
                self.address,
                f"exec sudo -n sh -c {shlex.quote(RENEW)}",
            ]
            with self._log.open("wb") as log:
                master = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=self.route.variables(),
                )
            self._master, self._beat = master, Beat(master)
            try:
                self._beat.renew(_LOGIN_SECONDS + self.route.connect_seconds if timeout is None else timeout)
            except (OSError, TimeoutError) as error:
                self._end_master()
                raise SshError(self._said() or str(error)) from error

    def renew(self, timeout: float) -> None:
        """Renew the lease once, over the master; raises SshError when that is lost or does not answer in time."""
        with self._lock:
            if not self._lives() or self._beat is None:
                raise SshError(self._said() or "the connection is lost")
            try:
                self._beat.renew(timeout)
            except (OSError, TimeoutError) as error:
                self._end_master()
                raise SshError(self._said() or str(error)) from error

    def run(self, command: str, stdin: bytes = b"", timeout: float = 30) -> bytes:
        """Run a shell command as root and return what it prints.

        Raises KeeperError: WorkerUnreachable when ssh fails, WorkerCommandTimeout, WorkerCommandFailed with what the
        command said.
        """
        words = [*self._ssh(), "-o", "ControlMaster=no", self.address, f"sudo -n sh -c {shlex.quote(command)}"]
        try:
            done = subprocess.run(
                words, input=stdin, capture_output=True, timeout=timeout, check=False, env=self.route.variables()
            )
        except subprocess.TimeoutExpired as error:
            message = f"A command on the worker {self.alias} took longer than {timeout:.0f} s."
            raise KeeperError("WorkerCommandTimeout", message) from error
        if done.returncode == 0:
            return done.stdout
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-500:]
        if done.returncode == _SSH_FAILED:
            raise KeeperError("WorkerUnreachable", f"The worker {self.alias} cannot be reached: {said}")
        message = f"A command on the worker {self.alias} ended with {done.returncode}: {said}"
        raise KeeperError("WorkerCommandFailed", message)

    def close(self) -> None:
        """End the master; what runs over it is cut off. Files stay."""
        with self._lock:
            self._end_master()

    def remove(self) -> None:
        """End the master for good and remove the worker's files."""
        self._removed = True
        self.close()
        for path in (self.control_path, self.known_hosts, self._log):
            path.unlink(missing_ok=True)

    def _lives(self) -> bool:
        return self._master is not None and self._master.poll() is None and self.control_path.exists()

    def _said(self) -> str:
        return self._log.read_text(errors="replace").strip()[-500:] if self._log.exists() else ""

    def _end_master(self) -> None:
        master, self._master, self._beat = self._master, None, None
        if master is None:
            return
        if master.poll() is None:
            master.terminate()  # as its own -O exit does, which takes one more process
            try:
                master.wait(_EXIT_SECONDS)
            except subprocess.TimeoutExpired:
                master.kill()
        self.control_path.unlink(missing_ok=True)
        for stream in (master.stdin, master.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # what was not sent yet has no one to go to
                    stream.close()
        master.wait(_EXIT_SECONDS)

    def _ssh(self) -> list[str]:
        options = strict_options(
            port=self.port,
            user=self.user,
            alias=self.alias,
            key_file=self.key_file,
            known_hosts=self.known_hosts,
        )
        return ssh_words(
            {**options, **self.route.options, "ControlPath": str(self.control_path), "ControlPersist": "no"}
        )
