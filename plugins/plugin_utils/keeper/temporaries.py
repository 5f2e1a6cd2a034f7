# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything temporary that a run has made beside its workers: kept account of, marked as alive, removed at the end."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ..launch import backoff
from ..pictures import Clients
from .errors import KeeperError

log = logging.getLogger(__name__)

LEASE_TAG = "mayfly:lease-ends"
_DELETES: dict[str, tuple[str, str]] = {
    "security-group": ("delete_security_group", "GroupId"),
    "snapshot": ("delete_snapshot", "SnapshotId"),
    "volume": ("delete_volume", "VolumeId"),
}
_MARK_SECONDS = 120.0
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Temporary:
    """A thing to delete: ``kind`` is security-group, snapshot or volume."""

    account: str
    region: str
    id: str
    kind: str


class Temporaries:
    """The temporary things of a run."""

    def __init__(self, clients: Clients, run_id: str) -> None:
        self._clients = clients
        self._run_id = run_id
        self._things: dict[str, Temporary] = {}
        self._places: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def add(self, account: str, region: str, thing_id: str, kind: str) -> None:
        """Take note of a thing at once when it was made."""
        if kind not in _DELETES:
            raise ValueError(f"{kind} is no kind of temporary thing")
        with self._lock:
            self._things[thing_id] = Temporary(account, region, thing_id, kind)

    def watch(self, account: str, region: str) -> None:
        """Something may be made there without our hearing of it: by a worker, or by a call whose answer was lost."""
        with self._lock:
            self._places.add((account, region))

    def forget(self, thing_id: str) -> None:
        """It was handed over, or is gone."""
        with self._lock:
            self._things.pop(thing_id, None)

    def all(self) -> list[Temporary]:
        """What is there now."""
        with self._lock:
            return list(self._things.values())

    def delete(self, thing: Temporary, timeout: float) -> None:
        """Delete a thing and forget it; what is gone is no failure. Raises KeeperError after ``timeout`` seconds."""
        call, parameter = _DELETES[thing.kind]
        ends = time.monotonic() + timeout
        attempt = 0
        while True:
            attempt += 1
            try:
                getattr(self._clients.client(thing.account, thing.region, "ec2"), call)(**{parameter: thing.id})
                break
            except ClientError as error:
                if error.response["Error"]["Code"].endswith(".NotFound"):
                    break
                last = str(error)
            except BotoCoreError as error:
                last = str(error)
            pause = backoff(attempt)
            if time.monotonic() + pause > ends:
                message = f"The temporary {thing.kind} {thing.id} in account {thing.account} was not deleted: {last}."
                raise KeeperError("DeletionFailed", message, "The playbook reap removes it.")
            time.sleep(pause)
        self.forget(thing.id)

    def delete_all(self, timeout: float) -> list[KeeperError]:
        """Delete everything; the failures, if any. One failure does not stop the others."""
        ends = time.monotonic() + timeout
        errors: list[KeeperError] = []
        for place in sorted(self._places):
            try:
                self._find(*place)
            except (BotoCoreError, ClientError, KeeperError) as error:
                log.exception("what the run left in account %s, %s was not looked for", *place)
                errors.append(KeeperError("CleanupFailed", f"{place[0]}, {place[1]} could not be searched: {error}"))
        for thing in self.all():
            try:
                self.delete(thing, max(5.0, ends - time.monotonic()))
            except KeeperError as error:
                log.error("%s", error)
                errors.append(error)
        return errors

    def _find(self, account: str, region: str) -> None:
        """Take note of the snapshots and volumes that carry the run's tags and are temporary still."""
        ec2: Any = self._clients.client(account, region, "ec2")
        filters = [
            {"Name": "tag:mayfly:run", "Values": [self._run_id]},
            {"Name": "tag:mayfly:temporary", "Values": ["true"]},
        ]
        for page in ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=filters):
            for each in page["Snapshots"]:
                self.add(account, region, each["SnapshotId"], "snapshot")
        for page in ec2.get_paginator("describe_volumes").paginate(Filters=filters):
            for each in page["Volumes"]:
                if not each.get("Attachments"):  # a worker's own go with it
                    self.add(account, region, each["VolumeId"], "volume")


class Marker:
    """Writes the lease's end into a tag of everything temporary, which is what the reaper reads."""

    def __init__(self, clients: Clients, things: Callable[[], Iterable[tuple[str, str, str]]]) -> None:
        """``things`` gives (account, Region, id) of what is temporary now."""
        self._clients = clients
        self._things = things
        self._lease = 600
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="lease-tags", daemon=True)

    def start(self) -> None:
        """Begin to mark."""
        self._thread.start()

    def stop(self) -> None:
        """Mark no more; returns at once."""
        self._stopped.set()

    def use_lease(self, seconds: int) -> None:
        """The longest lease that any host asked for counts."""
        self._lease = max(self._lease, seconds)

    def tag(self) -> dict[str, str]:
        """The tag for something made now."""
        ends = datetime.now(UTC) + timedelta(seconds=self._lease + _MARK_SECONDS)
        return {LEASE_TAG: ends.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def _loop(self) -> None:
        due = time.monotonic() + _MARK_SECONDS
        while not self._stopped.wait(_LOOK_SECONDS):
            if time.monotonic() >= due:
                due = time.monotonic() + _MARK_SECONDS
                self._mark()

    def _mark(self) -> None:
        places: dict[tuple[str, str], list[str]] = defaultdict(list)
        for account, region, thing_id in self._things():
            places[account, region].append(thing_id)
        tags = [{"Key": key, "Value": value} for key, value in self.tag().items()]
        for (account, region), ids in places.items():
            try:
                ec2: Any = self._clients.client(account, region, "ec2")
                ec2.create_tags(Resources=ids, Tags=tags)
            except (BotoCoreError, ClientError, KeeperError):
                log.exception("the lease tags in account %s, %s were not written", account, region)
