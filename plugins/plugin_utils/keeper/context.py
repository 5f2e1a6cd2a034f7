# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operation of the keeper works with: everything of the run, and what is special to the one call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ..images import Images
from ..pictures import Pictures
from .clients import SessionClients
from .credentials import WorkerCredentials
from .errors import KeeperError
from .report import Report, ResourceReport
from .settings import Account, Settings
from .temporaries import Marker, Temporaries
from .workers import Workers

_IDENTITY = ("account", "region", "kind", "id")


class Run:
    """One execution of an operation: what all calls share. ``secrets`` is the keeper's own folder in memory."""

    def __init__(self, run_id: str, folder: Path, secrets: Path) -> None:
        self.id = run_id
        self.folder = folder
        self.started = datetime.now(UTC)
        self.clients = SessionClients(run_id)
        self.pictures = Pictures(self.clients)
        self.images = Images()
        self.workers = Workers(self.clients, run_id, secrets)
        self.credentials = WorkerCredentials(self.workers)
        self.temporaries = Temporaries(self.clients, run_id)
        self.marker = Marker(self.clients, self._temporary_things)
        self.report = Report(folder, run_id)
        self._resources: dict[tuple[str, ...], dict[str, None]] = {}
        self._facts: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    def expect(self, resources: Mapping[str, Mapping[str, Any]]) -> None:
        """Take note of the resource of each host of a play, so that none of two that are the same begins."""
        with self._lock:
            for host, resource in resources.items():
                self._resources.setdefault(_identity(resource), {})[host] = None

    def register(self, host: str, resource: Mapping[str, Any]) -> None:
        """Take note of a host's resource; raises KeeperError when another host is the same one."""
        missing = [part for part in _IDENTITY if not resource.get(part)]
        if missing:
            message = f"mayfly_resource of {host} has no {missing[0]}."
            raise KeeperError("BadResource", message, "The inventory must compose it; see inventories/aws.")
        self.expect({host: resource})
        hosts = list(self._resources[_identity(resource)])
        if len(hosts) > 1:
            message = (
                f"{hosts[0]} and {hosts[1]} are the same resource {resource['id']} of account {resource['account']}."
            )
            raise KeeperError("DuplicateResource", message, "Take one of the two out of the inventory.")
        self.report.resource(host).set(resource=dict(resource))

    def remember(self, host: str, name: str, value: Any) -> None:
        """Keep something for later calls of the same host."""
        with self._lock:
            self._facts[host, name] = value

    def recall(self, host: str, name: str) -> Any:
        """What was kept, or None."""
        with self._lock:
            return self._facts.get((host, name))

    def recall_or_make(self, host: str, name: str, make: Callable[[], Any]) -> Any:
        """What was kept, else what ``make`` gives, which is kept then."""
        known = self.recall(host, name)
        if known is None:
            known = make()
            self.remember(host, name, known)
        return known

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

    def ec2(self, account_id: str, region: str, *, once: bool = False) -> Any:
        """An EC2 client."""
        return self.run.clients.client(account_id, region, "ec2", once=once)

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
            tags |= {"mayfly:temporary": "true", **self.run.marker.tag()}
        return tags


def _identity(resource: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(resource.get(part)) for part in _IDENTITY)


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as EC2 takes them."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
