# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operation of the keeper works with: everything of the run, and what is special to the one call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from ..settings.connection import Way
from ..settings.schema import Account, Settings
from . import ways
from .archives import Archiving
from .clients import SessionClients
from .closing import Closing
from .credentials import WorkerCredentials
from .errors import KeeperError
from .images import Images
from .journal import Journal
from .pictures import Pictures
from .report import Report, ResourceReport
from .spot import SpotWatch
from .temporaries import Marker, Temporaries
from .things import TEMPORARY
from .turns import Turns
from .undoing import Undoing
from .watchdog import Watchdog
from .watching import Watching
from .workers import Worker, Workers

Made = TypeVar("Made")
_IDENTITY = ("account", "region", "kind", "id")


@dataclass
class HostState:
    """What the keeper knows of one host of the run, from one call to the next.

    ``resource``, ``instance`` and ``volumes`` are what a backup records; a volume has its ``snapshot_id`` once it was
    taken. ``snapshots`` (volume → snapshot) are those that this run has to keep or delete. ``status`` is the agent's
    last word; ``lost`` is the worker before this one, which was lost. ``restore_place`` is the (account, Region) that a
    restore makes its snapshots in. ``repository`` is the id of the one that the transfer goes to, ``retention`` and
    ``copies`` are the job's resources, ``health_check`` and ``archive`` what was planned of one, ``shared`` whether
    snapshots are shared with the worker's account; ``checks`` what was told of a network without a worker, ``settings``
    are those of the last call.
    """

    resource: dict[str, Any] | None = None
    instance: dict[str, Any] | None = None
    volumes: list[dict[str, Any]] = field(default_factory=list)
    snapshots: dict[str, str] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    watchdog: Watchdog | None = None
    lost: Worker | None = None
    restore_place: tuple[str, str] | None = None
    repository: str = ""
    retention: list[dict[str, Any]] | None = None
    copies: list[dict[str, Any]] | None = None
    shared: bool = False
    health_check: dict[str, Any] | None = None
    archive: Archiving | None = None
    checks: list[dict[str, Any]] = field(default_factory=list)
    settings: Settings | None = None


class Run:
    """One execution of an operation: what all calls share. ``secrets`` is the keeper's own folder in memory."""

    def __init__(self, run_id: str, folder: Path, secrets: Path, report: Report) -> None:
        self.id = run_id
        self.folder = folder
        self.started = datetime.now(UTC)
        self.journal = Journal(secrets)
        self.clients = SessionClients(run_id)
        self.pictures = Pictures(self.clients)
        self.images = Images()
        self.workers = Workers(self.clients, run_id, secrets)
        self.credentials = WorkerCredentials(self.workers)
        self.temporaries = Temporaries(self.journal)
        self.undoing = Undoing(self.journal)
        self.watching = Watching(self.clients.client, self.pause)
        self.spot = SpotWatch(self.clients.client, self.workers)
        self.marker = Marker(self.clients.client, self._temporary_things)
        self.closing = Closing()
        self.turns = Turns()
        #: Whether this keeper has taken over from one that died, and whether it has ended what that had made.
        self.replaced = False
        self.swept = threading.Event()
        self.report = report
        self._resources: dict[tuple[str, ...], dict[str, None]] = {}
        self._hosts: dict[str, HostState] = {}
        self._once: dict[str, Any] = {}
        self._making: dict[str, threading.Lock] = {}
        self._closing = threading.Event()
        self._lock = threading.Lock()

    @property
    def is_closing(self) -> bool:
        """Whether the run is ending."""
        return self._closing.is_set()

    def close(self) -> None:
        """From now on nothing is made any more."""
        self._closing.set()
        self.workers.refuse()

    def check_open(self) -> None:
        """Raises KeeperError when the run is ending: before each call that makes something."""
        if self.is_closing:
            raise KeeperError("RunEnding", "The run is ending: nothing is made any more.")

    def pause(self, seconds: float) -> None:
        """Sleep, but not past the run's end; raises as :meth:`check_open`."""
        self._closing.wait(seconds)
        self.check_open()

    def use(self, settings: Settings) -> None:
        """Take over what a call's settings say for the whole run."""
        self.report.set_operation(settings.operation)
        accounts = settings.accounts.values()
        self.clients.use(accounts)
        self.journal.note_accounts(accounts)
        self.marker.use_lease(settings.lease)

    def expect(self, resources: Mapping[str, Mapping[str, Any]]) -> None:
        """Take note of the resource of each host of a play, so that none of two that are the same begins."""
        with self._lock:
            for host, resource in resources.items():
                self._resources.setdefault(_identity(resource), {})[host] = None
        for host, resource in resources.items():
            self.report.resource(host).set(resource=dict(resource))

    def register(self, host: str, resource: Mapping[str, Any]) -> None:
        """Take note of a host's resource; raises KeeperError when another host is the same one."""
        missing = [part for part in _IDENTITY if not resource.get(part)]
        if missing:
            message = f"mayfly_resource of {host} has no {missing[0]}."
            raise KeeperError("BadResource", message, "The inventory must compose it; see inventories/aws.")
        self.expect({host: resource})
        with self._lock:
            hosts = list(self._resources[_identity(resource)])
        if len(hosts) > 1:
            message = (
                f"{hosts[0]} and {hosts[1]} are the same resource {resource['id']} of account {resource['account']}."
            )
            raise KeeperError(
                "DuplicateResource",
                message,
                "Take one of the two out of the inventory, or correct its mayfly_resource.",
            )

    def host(self, name: str) -> HostState:
        """The state of a host."""
        with self._lock:
            return self._hosts.setdefault(name, HostState())

    def may_still_make(self) -> bool:
        """Whether an agent that was not seen to end makes snapshots, which it may do until its worker is terminated."""
        with self._lock:
            states = list(self._hosts.values())
        return self.replaced or any(
            each.restore_place is not None and each.status.get("state", "running") == "running" for each in states
        )

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """What ``make`` gives, made once for all hosts; the others wait for it. An error is not kept."""
        with self._lock:
            making = self._making.setdefault(name, threading.Lock())
        with making:
            if name not in self._once:
                self._once[name] = make()
            made: Made = self._once[name]
            return made

    def _temporary_things(self) -> list[tuple[str, str, str]]:
        workers = [(each.account, each.region, each.instance_id) for each in self.workers.all()]
        return workers + [(each.account, each.region, each.id) for each in self.temporaries.all()]


@dataclass(frozen=True)
class Context:
    """One call. ``check`` says that nothing may be changed."""

    run: Run
    host: str
    check: bool
    settings: Settings
    resource: dict[str, Any] | None = field(default=None)

    @property
    def state(self) -> HostState:
        """What is known of the host."""
        return self.run.host(self.host)

    @property
    def deadline(self) -> datetime:
        """When the run and all its workers end at the latest."""
        return self.run.started + timedelta(seconds=self.settings.deadline)

    @property
    def report(self) -> ResourceReport:
        """The host's part of the report."""
        return self.run.report.resource(self.host)

    def account(self, name: str) -> Account:
        """``mayfly_accounts``'s entry; raises KeeperError when there is none."""
        account = self.settings.accounts.get(name)
        if account is None:
            message = f"mayfly_accounts has no {name} account."
            raise KeeperError("BadAccounts", message, "group_vars/all/accounts.yml says what it holds.")
        return account

    def owner(self, account_id: str) -> Account:
        """The entry of ``mayfly_accounts`` with that id; raises KeeperError when there is none."""
        found = [each for each in self.settings.accounts.values() if each.id == account_id]
        if not found:
            known = ", ".join(f"{each.name} {each.id}" for each in self.settings.accounts.values()) or "none"
            message = f"Account {account_id} is not in mayfly_accounts (known: {known})."
            raise KeeperError("UnknownAccount", message, "group_vars/all/accounts.yml says what it holds.")
        return found[0]

    def ec2(self, account_id: str, region: str) -> Any:
        """An EC2 client."""
        return self.run.clients.client(account_id, region, "ec2")

    def making(self, account_id: str, region: str) -> Any:
        """An EC2 client for a call that makes something and must not be repeated blindly.

        Raises KeeperError when the run is ending. From now on the run's end looks into that place.
        """
        self.run.check_open()
        self.run.temporaries.watch(account_id, region)
        return self.run.clients.once_client(account_id, region, "ec2")

    def prepare_way(self) -> tuple[str, ...]:
        """ssh to the bastion that is on the way to workers, which is logged in to once a run; empty without one.

        Raises KeeperError when the way cannot be gone.
        """
        bastion = self.settings.bastion
        if self.settings.worker_connection is Way.SESSION_MANAGER:
            ways.check_programs()
        if self.settings.worker_connection is not Way.BASTION or bastion is None:
            return ()
        return self.run.once(f"bastion {hash(bastion)}", lambda: ways.bastion_words(bastion, self.run.workers.folder))

    def tags(self, *, temporary: bool = True, user: Mapping[str, str] | None = None) -> dict[str, str]:
        """The tags of everything that the run makes, beside the ``user``'s own."""
        tags = {
            **(user or {}),
            "mayfly:deployment": self.settings.deployment,
            "mayfly:run": self.run.id,
            "mayfly:operation": self.settings.operation,
            "mayfly:deadline": self.deadline.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        if self.resource is not None:
            tags["mayfly:resource"] = str(self.resource["id"])
        if temporary:
            tags |= {**TEMPORARY, **self.run.marker.tag()}
        return tags


def _identity(resource: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(resource.get(part)) for part in _IDENTITY)


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as EC2 takes them."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
