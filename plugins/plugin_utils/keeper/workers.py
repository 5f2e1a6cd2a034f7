# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of a run's live workers: what was launched is here from RunInstances' answer until AWS says it goes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from . import things
from .errors import KeeperError
from .groups import TemporaryGroups
from .lease import Renewer
from .ssh import Connection, KeyPair, write_secret
from .things import Thing

log = logging.getLogger(__name__)

_TERMINATE_SECONDS = 120.0
# RunInstances may take its whole time limit (65 s) until a canceled launch hears of it.
_LAUNCH_ENDS_SECONDS = 90.0
_LEAST_SECONDS = 5.0
_AT_ONCE = 16


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

    @property
    def thing(self) -> Thing:
        """As something that is to be removed."""
        created = datetime.fromisoformat(self.launched)
        return Thing("instance", self.instance_id, self.account, self.region, created=created)


@dataclass
class _Live:
    worker: Worker
    connection: Connection
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
    """All workers of a run. ``folder`` is the keeper's own, in memory and 0700."""

    def __init__(self, clients: Any, run_id: str, folder: Path) -> None:
        self._clients = clients
        self._run_id = run_id
        self.folder = folder
        self.groups = TemporaryGroups(run_id)
        self._live: dict[str, _Live] = {}
        self._launching: dict[str, Launching] = {}
        self._attempts: dict[str, int] = {}
        self._host_keys: dict[str, KeyPair] = {}
        self._doubtful: dict[str, set[tuple[str, str, str]]] = {}
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
        """What a host's worker shows at the first login: one key for all candidates of a launch, as user data is."""
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
            self._live[worker.host] = _Live(worker, connection)

    def renew_lease(self, host: str, renewer: Renewer) -> None:
        """Begin to renew the host's lease, until its worker is terminated."""
        with self._lock:
            self._live[host].renewer = renewer
            renewer.start()

    def doubt(self, host: str, account: str, region: str, resource_id: str) -> None:
        """An instance that nobody knows the id of may have been launched there: the host's end looks for it by tags."""
        with self._lock:
            self._doubtful.setdefault(host, set()).add((account, region, resource_id))

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
        ends = time.monotonic() + timeout
        with self._lock:
            launching = self._launching.get(host)
        if launching is not None:
            launching.cancel()
            launching.ended.wait(min(_LAUNCH_ENDS_SECONDS, timeout))
            timeout = max(_LEAST_SECONDS, ends - time.monotonic())
        ended = self.discard(host, timeout)
        with self._lock:
            self._host_keys.pop(host, None)
            doubtful = self._doubtful.pop(host, set())
        for account, region, resource_id in doubtful:
            self._settle(host, (account, region), resource_id, ends)
        return ended or launching is not None or bool(doubtful)

    def discard(self, host: str, timeout: float = _TERMINATE_SECONDS) -> bool:
        """As :meth:`terminate`, for the launch itself: it may go on with another candidate."""
        with self._lock:
            live = self._live.get(host)
        if live is None:
            return False
        if live.renewer is not None:
            live.renewer.stop()
        worker = live.worker
        things.remove(
            self._clients.ending_client(worker.account, worker.region), worker.thing, time.monotonic() + timeout
        )
        live.connection.remove()
        with self._lock:
            self._live.pop(host, None)
        return True

    def terminate_all(self, timeout: float) -> list[KeeperError]:
        """End all workers and launches at once, refuse new ones; the failures, if any, after ``timeout`` seconds."""
        ends = time.monotonic() + timeout
        self.refuse()
        with self._lock:
            hosts = sorted(self._live.keys() | self._launching.keys() | self._doubtful.keys())
        errors: list[KeeperError] = []
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="terminate") as pool:
            for future in [pool.submit(self._end, host, ends) for host in hosts]:
                error = future.exception()
                if error is not None:
                    log.error("a worker was not terminated", exc_info=error)
                    errors.append(error if isinstance(error, KeeperError) else KeeperError("InternalError", str(error)))
        return errors

    def _end(self, host: str, ends: float) -> None:
        self.terminate(host, max(_LEAST_SECONDS, ends - time.monotonic()))

    def close(self) -> None:
        """Remove the run's key."""
        self.key_file.unlink(missing_ok=True)

    def _settle(self, host: str, place: tuple[str, str], resource_id: str, ends: float) -> None:
        """End what launches without a clear answer may have made."""
        ec2 = self._clients.ending_client(*place)
        tags = {"mayfly:run": self._run_id, "mayfly:resource": resource_id, **things.TEMPORARY}
        for thing in things.find(ec2, place, tags, ["instance"]):
            if thing.state not in things.GOING:
                log.warning("%s: %s was launched without an answer", host, thing)
                things.remove(ec2, thing, ends)
