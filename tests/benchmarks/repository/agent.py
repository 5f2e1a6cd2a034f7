# SPDX-License-Identifier: GPL-3.0-or-later
"""The transfer agent's operations as they run on a worker: ``python -m tests.benchmarks.repository.agent NAME JSON``.

JSON is a Job's fields. Prints what the operation returns, with ``peak_mib``, as its last line.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mayfly_agent.backup import Backup
from mayfly_agent.credentials import FileKeys
from mayfly_agent.ebs import DirectSnapshots
from mayfly_agent.job import BackupJob, JobVolume, RepositoryPlace, RestoreJob, Target
from mayfly_agent.memory import keep_memory
from mayfly_agent.objects import ObjectStore
from mayfly_agent.progress import Clock
from mayfly_agent.quick import QuickClient
from mayfly_agent.repository import keys, layout, repository
from mayfly_agent.repository.layout import ResourceName
from mayfly_agent.repository_jobs import Chosen, RetentionJob
from mayfly_agent.restore import Restore
from mayfly_agent.retention import Retention
from mayfly_agent.s3 import S3Objects
from mayfly_agent.status import Status
from mayfly_agent.sweep import Sweep

from tests.benchmarks.repository.machine import ACCESS_KEY, REGION, SECRET_KEY

CONCURRENCY = 16
RESOURCE = {"account": "111122223333", "region": REGION, "kind": "ec2", "id": "i-1", "name": "bench"}
KEY = bytes(range(32))


class _Keys:
    """Credentials of the store; the server of the EBS direct APIs asks for none."""

    def get_frozen_credentials(self) -> FileKeys:
        return FileKeys(ACCESS_KEY, SECRET_KEY, None)


@dataclass(frozen=True)
class Job:
    """What to do where. ``volumes``: {volume: [snapshot, size in GiB, snapshot of the parent or ""]}."""

    store_url: str
    ebs_url: str
    bucket: str
    run: str
    volumes: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    point: str = ""
    remove: list[str] = field(default_factory=list)
    chosen: list[str] = field(default_factory=list)
    count: int = 0

    def objects(self) -> S3Objects:
        """The repository."""
        client = QuickClient(_Keys(), REGION, self.bucket, self._client, clock=Clock(), url=self.store_url)
        return S3Objects(client, self.bucket, "", None)

    def _client(self) -> Any:
        """For what is asked rarely."""
        from mayfly_agent.clients import CONFIG, session_of

        return session_of(_Keys()).create_client("s3", region_name=REGION, config=CONFIG, endpoint_url=self.store_url)

    def snapshots(self) -> DirectSnapshots:
        """EBS."""
        return DirectSnapshots(_Keys(), REGION, CONCURRENCY, url=self.ebs_url)

    def common(self) -> dict[str, Any]:
        """The fields of every job of the agent."""
        return {
            "run": self.run,
            "seconds_left": 3600.0,
            "resource": RESOURCE,
            "repository": RepositoryPlace(self.bucket, "", REGION),
            "resource_key": KEY,
            "concurrency": CONCURRENCY,
        }


def create(job: Job, store: ObjectStore, _status: Status) -> dict[str, Any]:
    """A new repository."""
    repository.create(store, lambda identity: [keys.wrap_with_recovery_key(KEY, KEY, identity)])
    return {}


def backup(job: Job, store: ObjectStore, status: Status) -> dict[str, Any]:
    """A backup of all volumes; ``point`` is its parent, "" for none."""
    volumes = tuple(
        JobVolume(name, snapshot, f"/dev/{name}", size, parent_snapshot_id=before)
        for name, (snapshot, size, before) in job.volumes.items()
    )
    more = {"volumes": volumes, "restore_point_time": datetime.now(UTC), "source_region": REGION, "parent": job.point}
    done = Backup(BackupJob(**job.common(), **more), job.snapshots(), store, status).run()
    counted = [status.unit(name) for name in job.volumes]
    return {**done, **{name: sum(each[name] for each in counted) for name in ("blocks_read", "blocks_stored")}}


def restore(job: Job, store: ObjectStore, status: Status) -> dict[str, Any]:
    """A restore of the chosen volumes of a point."""
    target = Target(REGION)
    wanted = RestoreJob(
        **job.common(), restore_point=job.point, target=target, attempt=1, volumes=frozenset(job.chosen)
    )
    return Restore(wanted, job.snapshots(), store, status).run()


def retention(job: Job, store: ObjectStore, status: Status) -> dict[str, Any]:
    """The points to remove go; and what only they needed, without the days between that a repository in use waits."""
    name = ResourceName.from_dict(RESOURCE)
    chosen = Chosen(name, KEY, frozenset(job.remove))
    common = {key: value for key, value in job.common().items() if key != "resource_key"}
    wanted = RetentionJob(**common, resources=(chosen,), live_share=60)
    first = Retention(wanted, store, status).run()
    second = Sweep(store, Chosen(name, KEY), job.run, status.progress, grace=timedelta(0))
    second.run()
    return {**first, "objects_deleted": second.swept.objects_deleted, "bytes_deleted": second.swept.bytes_deleted}


def points(job: Job, store: ObjectStore, _status: Status) -> dict[str, Any]:
    """The points that there are, as the inventory of what can be restored reads them: with every manifest."""
    found = repository.list_points(store, ResourceName.from_dict(RESOURCE))
    return {"points": [repository.read_manifest(store, key, KEY).id for key in found.values()]}


def fill(job: Job, store: ObjectStore, _status: Status) -> dict[str, Any]:
    """So many points more, with the volumes of the first one."""
    found = repository.list_points(store, ResourceName.from_dict(RESOURCE))
    first = repository.read_manifest(store, next(iter(found.values())), KEY)
    for number in range(job.count):
        time = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=number)
        made = replace(first, id=layout.point_id(time, job.run), time=time.isoformat(), parent=None)
        repository.commit(store, made, KEY)
    return {}


OPERATIONS: dict[str, Callable[[Job, ObjectStore, Status], dict[str, Any]]] = {
    each.__name__: each for each in (create, backup, restore, retention, points, fill)
}


def peak_mib() -> float:
    """The largest memory of this process; ru_maxrss counts what it was before it became this program."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    keep_memory()
    asked = Job(**json.loads(sys.argv[2]))
    with tempfile.TemporaryDirectory() as folder, Status(Path(folder, "status.json")) as shown:
        result = OPERATIONS[sys.argv[1]](asked, asked.objects(), shown)
    print(json.dumps({**result, "peak_mib": peak_mib()}))
