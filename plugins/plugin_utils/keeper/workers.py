# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of a run's live workers: what was launched is here from RunInstances' answer until AWS says it goes."""

from __future__ import annotations

import itertools
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

from . import aws, things
from .errors import KeeperError
from .groups import TemporaryGroups
from .lease import Renewer
from .ssh import Connection, KeyPair, write_secret
from .things import Thing

log = logging.getLogger(__name__)

# How long DescribeInstances may not show an instance yet whose RunInstances got no answer.
DOUBT_SECONDS = 20.0
_DOUBT_PAUSE = 1.0
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
    market: str
    launched: str
    way: str = "direct"

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
    lost: str = ""


class Launching:
    """A launch under way, which can be told to stop."""

    def __init__(self, host: str, attempt: int) -> None:
        self.host = host
        self.attempt = attempt
        self.ended = threading.Event()
        self._tries = itertools.count()
        self._canceled = threading.Event()

    def next_try(self) -> int:
        """The number of the next RunInstances, for its client token."""
        return next(self._tries)

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
        self._doubtful: dict[str, dict[tuple[str, str, str], float]] = {}
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

    def get_ready(self, host: str) -> Worker | None:
        """The host's live worker, if it has been ready for tasks once."""
        with self._lock:
            live = self._live.get(host)
            return live.worker if live is not None and live.renewer is not None else None

    def lose(self, host: str, why: str, instance_id: str = "") -> None:
        """The host's worker (that of the id, when one is given) counts as lost: the first reason holds."""
        with self._lock:
            live = self._live.get(host)
            if live is not None and not live.lost and instance_id in ("", live.worker.instance_id):
                log.warning("%s: its worker is lost: %s", host, why)
                live.lost = why

    def why_lost(self, host: str) -> str:
        """Why the host's worker counts as lost; empty when it does not, or there is none."""
        with self._lock:
            live = self._live.get(host)
            return live.lost if live is not None else ""

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
        """Begin to renew the host's lease, until its worker is terminated; raises KeeperError when it was already."""
        with self._lock:
            live = self._live.get(host)
            if live is None:
                raise KeeperError("NoWorker", f"The worker of {host} was terminated while it started.")
            live.renewer = renewer
            renewer.start()

    def doubt(self, host: str, account: str, region: str, resource_id: str, seconds: float = 0.0) -> None:
        """An instance that nobody knows the id of may have been launched there: the host's end looks for it by tags.

        It looks once at least, and until so many seconds from now.
        """
        doubts = (account, region, resource_id)
        with self._lock:
            known = self._doubtful.setdefault(host, {})
            known[doubts] = max(known.get(doubts, 0.0), time.monotonic() + seconds)

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
        worker then stays registered, and the run's end tries again. What is registered waits for no launch, which may
        take RunInstances' whole time limit to hear of its end.
        """
        ends = time.monotonic() + timeout
        with self._lock:
            launching = self._launching.get(host)
        if launching is not None:
            launching.cancel()
        ended = self.discard(host, timeout)
        if launching is not None:
            launching.ended.wait(max(0.0, min(_LAUNCH_ENDS_SECONDS, ends - time.monotonic())))
            ended = self.discard(host, max(_LEAST_SECONDS, ends - time.monotonic())) or ended
        with self._lock:
            self._host_keys.pop(host, None)
            doubtful = dict(self._doubtful.get(host, {}))
        for doubts, until in doubtful.items():
            if self._settle(host, doubts, until, ends):
                with self._lock:
                    self._doubtful.get(host, {}).pop(doubts, None)
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
            waiting = self._launching.keys() | {host for host, doubts in self._doubtful.items() if doubts}
            live = sorted(self._live.keys() - waiting)
        errors: list[KeeperError] = []
        # A launch that is waited for, or a doubt, holds no live worker up: it takes a thread of its own.
        with (
            ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="terminate") as pool,
            ThreadPoolExecutor(max(1, len(waiting)), thread_name_prefix="wait") as patient,
        ):
            futures = [pool.submit(self._end, host, ends) for host in live]
            futures += [patient.submit(self._end, host, ends) for host in sorted(waiting)]
            for future in futures:
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

    def _settle(self, host: str, doubts: tuple[str, str, str], until: float, ends: float) -> bool:
        """End what launches without a clear answer may have made; whether it was looked for until ``until``.

        Raises NotRemoved, or botocore's errors when AWS will not show it.
        """
        account, region, resource_id = doubts
        ec2 = self._clients.ending_client(account, region)
        tags = {"mayfly:run": self._run_id, "mayfly:resource": resource_id, **things.TEMPORARY}
        while True:
            began = time.monotonic()
            try:
                found = things.find(ec2, (account, region), tags, ["instance"])
            except aws.ERRORS as error:
                if not aws.is_passing(error) or began > ends:
                    raise
                log.warning("%s: a launch without an answer was not looked for: %s", host, error)
            else:
                for thing in found:
                    if thing.state not in things.GOING:
                        log.warning("%s: %s was launched without an answer", host, thing)
                        things.remove(ec2, thing, ends)
                if began >= until:
                    return True
                if began > ends:
                    return False
            time.sleep(_DOUBT_PAUSE)
