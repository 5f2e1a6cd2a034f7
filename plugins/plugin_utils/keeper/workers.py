# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of a run's live workers: what was launched is here from RunInstances' answer until AWS says it goes."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ..launch import backoff
from ..pictures import Clients
from .errors import KeeperError
from .groups import TemporaryGroups
from .lease import Renewer
from .ssh import Connection, KeyPair, write_secret

log = logging.getLogger(__name__)

_GOING = ("shutting-down", "terminated")
_TERMINATE_SECONDS = 120.0
# DescribeInstances and TerminateInstances may not know a new instance for a while.
_YOUNG_SECONDS = 60.0
_LAUNCH_ENDS_SECONDS = 60.0
_AT_ONCE = 16
_SEE_LEASE = "It ends by its lease or its deadline; the playbook reap ends what has outlived both."


@dataclass(frozen=True)
class Worker:
    """A worker: what it is, where it is, and how it is reached. ``launched`` is ISO 8601 UTC."""

    host: str
    instance_id: str
    account: str
    region: str
    address: str
    port: int
    user: str
    control_path: str
    known_hosts: str
    key_file: str
    type: str
    availability_zone: str
    subnet_id: str
    launched: str

    def as_dict(self) -> dict[str, Any]:
        """The form for results and reports."""
        return asdict(self)


@dataclass
class _Live:
    worker: Worker
    connection: Connection
    since: float
    renewer: Renewer | None = None


class Launching:
    """A launch under way, which can be told to stop."""

    def __init__(self, host: str, attempt: int) -> None:
        self.host = host
        self.attempt = attempt
        self.ended = threading.Event()
        self._canceled = threading.Event()

    def cancel(self) -> None:
        """Make the next :meth:`check` or :meth:`pause` raise."""
        self._canceled.set()

    def check(self) -> None:
        """Raises KeeperError when the launch was canceled."""
        if self._canceled.is_set():
            raise KeeperError("Canceled", f"The launch of the worker for {self.host} was canceled.")

    def pause(self, seconds: float) -> None:
        """Sleep, but not past a cancellation; raises as :meth:`check`."""
        self._canceled.wait(seconds)
        self.check()


class Workers:
    """All workers of a run. ``folder`` is the keeper's own, in memory and 0700; made if it is not given."""

    def __init__(self, clients: Clients, run_id: str, folder: Path | None = None) -> None:
        self._clients = clients
        self._own_folder = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="mayfly-", dir=_memory()))
        self.groups = TemporaryGroups(run_id)
        self._live: dict[str, _Live] = {}
        self._launching: dict[str, Launching] = {}
        self._attempts: dict[str, int] = {}
        self._host_keys: dict[str, KeyPair] = {}
        self._doubtful: list[tuple[str, str, str]] = []
        self._user_key: KeyPair | None = None
        self._closing = False
        self._lock = threading.RLock()

    @property
    def key_file(self) -> Path:
        """The run's private key, for ssh."""
        return self.folder / "key"

    def user_key(self) -> KeyPair:
        """The run's user key, made at first use."""
        with self._lock:
            if self._user_key is None:
                key = KeyPair.generate()
                write_secret(self.key_file, key.private)
                self._user_key = key
            return self._user_key

    def host_key(self, host: str) -> KeyPair:
        """The key that a host's worker shows at the first login, the same until that worker is gone."""
        with self._lock:
            return self._host_keys.setdefault(host, KeyPair.generate())

    def get(self, host: str) -> Worker | None:
        """The host's live worker."""
        with self._lock:
            live = self._live.get(host)
            return live.worker if live else None

    def all(self) -> list[Worker]:
        """All live workers."""
        with self._lock:
            return [live.worker for live in self._live.values()]

    def refuse(self) -> None:
        """From now on, launch nothing more; what is being launched is told to stop."""
        with self._lock:
            self._closing = True
            for launching in self._launching.values():
                launching.cancel()

    @contextmanager
    def launching(self, host: str) -> Iterator[Launching]:
        """The time of a launch for a host. Raises KeeperError when the run is ending or one is under way already."""
        with self._lock:
            if self._closing:
                raise KeeperError("RunEnding", "The run is ending: no worker is launched any more.")
            if host in self._launching:
                raise KeeperError("LaunchUnderWay", f"A worker for {host} is being launched already.")
            self._attempts[host] = self._attempts.get(host, 0) + 1
            launching = self._launching[host] = Launching(host, self._attempts[host])
        try:
            yield launching
        finally:
            with self._lock:
                del self._launching[host]
            launching.ended.set()

    def add(self, worker: Worker, connection: Connection) -> None:
        """Register a worker at once when it was launched: from now on the run's end terminates it."""
        with self._lock:
            self._live[worker.host] = _Live(worker, connection, time.monotonic())

    def renew_lease(self, host: str, renewer: Renewer) -> None:
        """Begin to renew the host's lease, until its worker is terminated."""
        with self._lock:
            self._live[host].renewer = renewer
            renewer.start()

    def doubt(self, account: str, region: str, token: str) -> None:
        """An instance with this client token may exist: the end of the run looks for it."""
        with self._lock:
            self._doubtful.append((account, region, token))

    def connection(self, host: str) -> Connection:
        """The host's connection; raises KeeperError when it has no worker."""
        with self._lock:
            live = self._live.get(host)
        if live is None:
            raise KeeperError("NoWorker", f"{host} has no worker.")
        return live.connection

    def run(self, host: str, command: str, stdin: bytes = b"", timeout: float = 30) -> bytes:
        """Run a shell command as root on the host's worker and return what it prints; errors as Connection.run's."""
        return self.connection(host).run(command, stdin, timeout)

    def terminate(self, host: str, timeout: float = _TERMINATE_SECONDS) -> bool:
        """End the host's worker, and a launch under way; whether there was one.

        Returns when AWS says that it is going or gone. Raises KeeperError after ``timeout`` seconds without that; the
        worker then stays registered, and the run's end tries again.
        """
        with self._lock:
            launching = self._launching.get(host)
        if launching is not None:
            launching.cancel()
            launching.ended.wait(_LAUNCH_ENDS_SECONDS)
        return self.discard(host, timeout) or launching is not None

    def discard(self, host: str, timeout: float = _TERMINATE_SECONDS) -> bool:
        """As :meth:`terminate`, for the launch itself: it may go on with another candidate."""
        with self._lock:
            live = self._live.get(host)
        if live is None:
            return False
        if live.renewer is not None:
            live.renewer.stop()
        worker = live.worker
        self._terminate(worker.account, worker.region, worker.instance_id, live.since, timeout)
        live.connection.remove()
        with self._lock:
            self._live.pop(host, None)
            self._host_keys.pop(host, None)
        return True

    def terminate_all(self, timeout: float) -> list[KeeperError]:
        """End all workers at once, refuse new ones, look for what doubtful launches left; the failures, if any."""
        ends = time.monotonic() + timeout
        self.refuse()
        with self._lock:
            hosts = list(self._live.keys() | self._launching.keys())
            doubtful = list(self._doubtful)
        tasks: list[Callable[[], None]] = [partial(self._end, host, ends) for host in hosts]
        tasks += [partial(self._settle, *each, ends) for each in doubtful]
        errors: list[KeeperError] = []
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="terminate") as pool:
            for future in [pool.submit(task) for task in tasks]:
                error = future.exception()
                if error is not None:
                    log.error("a worker was not terminated", exc_info=error)
                    errors.append(error if isinstance(error, KeeperError) else KeeperError("InternalError", str(error)))
        return errors

    def close(self) -> None:
        """Remove the run's key, and the folder if it was made here."""
        self.key_file.unlink(missing_ok=True)
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, host: str, ends: float) -> None:
        self.terminate(host, max(5.0, ends - time.monotonic()))

    def _settle(self, account: str, region: str, token: str, ends: float) -> None:
        """End the instance that a launch without an answer may have made."""
        ec2 = self._clients.client(account, region, "ec2")
        filters = [{"Name": "client-token", "Values": [token]}]
        answer = ec2.describe_instances(Filters=filters)
        for reservation in answer["Reservations"]:
            for instance in reservation["Instances"]:
                if instance["State"]["Name"] not in _GOING:
                    left = max(5.0, ends - time.monotonic())
                    self._terminate(account, region, instance["InstanceId"], time.monotonic(), left)

    def _terminate(self, account: str, region: str, instance_id: str, since: float, timeout: float) -> None:
        ends = time.monotonic() + timeout
        last = "it is not going"
        for attempt in range(1, 1000):
            try:
                ec2 = self._clients.client(account, region, "ec2")
                answer = ec2.terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"]
                if all(each["CurrentState"]["Name"] in _GOING for each in answer):
                    return
            except ClientError as error:
                last = str(error)
                code = error.response["Error"]["Code"]
                if code == "InvalidInstanceID.NotFound" and time.monotonic() - since > _YOUNG_SECONDS:
                    return  # what is gone needs no end
            except BotoCoreError as error:
                last = str(error)
            pause = backoff(attempt)
            if time.monotonic() + pause > ends:
                break
            time.sleep(pause)
        message = f"The worker {instance_id} in account {account}, {region} was not terminated: {last}."
        raise KeeperError("TerminationFailed", message, _SEE_LEASE)


def _memory() -> str | None:
    """A folder in memory, where there is one."""
    for folder in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):  # noqa: S108 - a 0700 folder is made in it
        if folder and Path(folder).is_dir():
            return folder
    return None
