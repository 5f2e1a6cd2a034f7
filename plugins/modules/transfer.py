# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: transfer
short_description: Move data between EBS and a repository, or check whether it could be moved
version_added: 0.1.0
description:
  - Sends the job to the transfer agent on the worker, shows how far it is, and waits for its end.
  - A backup reads the snapshots that M(mayfly.workers.snapshot_set) has taken of the same host in the same run. It goes
    on from the newest restore point of the resource, and reads of each volume what has changed since then.
  - Where EBS cannot say what has changed, as of a volume that was resized or replaced or whose reference snapshot is
    gone, all of that volume is read, and what is not in the restore point before is stored.
  - A retention removes what M(mayfly.workers.retention) has found for the same host in the same run, and what nothing
    needs any more.
  - A copy brings what M(mayfly.workers.repository_copy) has found for the same host in the same run to a second
    repository. Each block is verified by its SHA-256 and sealed anew with that repository's key.
  - A health check looks at what M(mayfly.workers.health_check) has planned for the same host in the same run, and marks
    restore points that are damaged. It succeeds when everything was looked at, whatever was found.
  - An archive copies what M(mayfly.workers.archive) has planned for the same host in the same run; the way back reads
    what M(mayfly.workers.archive_retrieval) has retrieved.
  - A check moves nothing. It succeeds when everything was tried, whatever was found.
  - A connection that breaks meanwhile is made again; the agent goes on.
options:
  operation:
    description: What to do.
    type: str
    choices: [backup, restore, check, retention, health_check, repository_copy, archive, archive_return]
    required: true
  restore_point:
    description: For a restore, id of the restore point.
    type: str
  full:
    description: For a backup, whether all blocks are read and stored, whatever restore points there are.
    type: bool
    default: false
  snapshot_access:
    description:
      - For a backup whose worker runs in another account than the snapshots, how it reads them. With V(session), by
        credentials of the snapshots' account. With V(share), by those of its own account, with which the snapshots are
        shared until M(mayfly.workers.snapshot_set) releases them.
    type: str
    choices: [session, share]
    default: session
  stall_timeout:
    description: Seconds that nothing may move, unless AWS makes the agent wait; then the transfer fails.
    type: int
    default: 600
  retry_timeout:
    description:
      - Seconds that one request is repeated while AWS throttles it or fails; then the transfer fails.
      - From 1 to 900.
    type: int
    default: 300
  concurrency:
    description: Requests under way at once.
    type: int
    default: 16
  object_lock:
    description:
      - For a backup, an archive, the way back and a copy, how S3 locks the restore point and all that it refers to, so
        that neither can be deleted. What is shared with earlier restore points is locked anew before the restore point
        is there.
      - In mode V(governance) who has a right of its own can lift the lock, in mode V(compliance) nobody can.
    type: str
    choices: [none, governance, compliance]
    default: none
  object_lock_days:
    description: For how many days from when the worker begins.
    type: int
    default: 30
  live_share:
    description: For a retention, packs of which less than so many percent are in use are written anew; 0 for none.
    type: int
    default: 60
  storage_class:
    description: For an archive, the storage class of its data.
    type: str
    choices: [GLACIER, DEEP_ARCHIVE]
    default: GLACIER
  target:
    description: Where a restore goes to.
    type: dict
    suboptions:
      account:
        description: Id of the account that gets what is restored, 12 digits.
        type: str
        required: true
      region:
        description: Region that gets it.
        type: str
        required: true
      availability_zone:
        description: Availability Zone that gets it.
        type: str
      availability_zone_id:
        description: The zone's id, which is the same in all accounts.
        type: str
      kms_key_id:
        description: KMS key that encrypts all that is restored.
        type: str
      volumes:
        description: Ids of the volumes that are restored; all without them.
        type: list
        elements: str
  services:
    description:
      - For a check, the AWS services to reach, as M(mayfly.workers.worker_placement) returns them.
      - Of each, its name is resolved, its certificate is verified, and rights are tried where that has no effect.
    type: list
    elements: dict
    suboptions:
      name:
        description: The service, named as its VPC endpoints are.
        type: str
        required: true
      region:
        description: Region of the service.
        type: str
        required: true
  ports:
    description: For a check, TCP ports to reach beside them, as C(mayfly_check_ports).
    type: list
    elements: dict
    suboptions:
      host:
        description: Name or address.
        type: str
        required: true
      port:
        description: TCP port.
        type: int
        required: true
attributes:
  check_mode:
    description: Whether it can run in check mode and say what it would do.
    support: none
extends_documentation_fragment:
  - mayfly.workers.resource
  - mayfly.workers.repository
  - mayfly.workers.repository.target
"""

EXAMPLES = r"""
- name: Transfer the snapshots
  mayfly.workers.transfer:
    operation: backup
    resource: "{{ mayfly_resource }}"
    repository: "{{ mayfly_repository }}"
"""

RETURN = r"""
restore_point:
  description: Id of the new restore point.
  returned: when O(operation=backup)
  type: str
snapshots:
  description: The new snapshot of each original volume.
  returned: when O(operation=restore)
  type: dict
volumes:
  description:
    - Blocks, bytes and seconds of each volume.
    - For a backup, C(method) is V(full), V(changed) when what EBS named as changed was read, or V(compared) when all
      was read and compared with the restore point before. C(reason) says why it was not V(changed), empty for a first
      backup, and for a full one that was asked for.
  returned: success
  type: dict
msg:
  description: The same of a backup, as a line for each volume.
  returned: when O(operation=backup)
  type: list
  elements: str
locked_until:
  description: Until when S3 locks the restore point, ISO 8601; null when it is not locked.
  returned: when O(operation=backup)
  type: str
digests:
  description: Digest over the hashes of all blocks of each volume.
  returned: when O(operation) is V(backup) or V(restore)
  type: dict
retention:
  description:
    - C(points_deleted), C(objects_deleted), C(bytes_deleted), C(objects_condemned) and C(bytes_condemned) (which a
      later run deletes), C(locked) (objects), C(packs_rewritten) and C(failed) (resources) of the whole repository.
    - C(resources) tells the same of single ones by their path, with C(locked_until), C(points_locked),
      C(points_damaged) and C(error).
  returned: when O(operation=retention)
  type: dict
copied:
  description:
    - C(points_copied), C(failed) (restore points and resources), C(blocks_copied), C(blocks_reused) (of a copy that had
      not ended), and C(bytes_stored) of all that was copied.
    - C(resources) tells the same of single ones by their path, with C(points), C(failed) and C(error).
  returned: when O(operation=repository_copy)
  type: dict
health_check:
  description:
    - C(mode), C(percent) and C(seed) of the sample; how many C(resources) and restore C(points) were looked at, and how
      many C(blocks) and bytes (C(bytes_read)) were read of them.
    - How many points are damaged (C(damaged_points)), and how many of these in a way that no mark had told before
      (C(new_damaged_points)); how many C(marks) were written, and how many cannot be read (C(unreadable_marks)).
    - C(damage) lists it, up to 1,000 ranges of blocks, by C(resource) and C(restore_point). C(objects) are keys of what
      is gone or was changed. Each of C(blocks) has C(volume_id), the indexes C(first) and C(last), and C(offset) and
      C(length) in the volume, in bytes.
    - C(failed) is how many resources could not be checked whole, and C(errors) says of up to 1,000 of them, by their
      path, why. A restore point that went meanwhile, or that could not be opened, is not among C(points).
  returned: when O(operation=health_check)
  type: dict
archive:
  description:
    - C(points), each with its C(resource), C(from) (the restore point or the set), C(made) (the set or the new restore
      point), C(blocks), C(bytes_stored) and C(error).
    - C(failed) is how many have an error, C(bytes_stored) what was stored of all.
  returned: when O(operation) is V(archive) or V(archive_return)
  type: dict
checks:
  description:
    - What a check has found, in steps of each service, as C(name), C(tls) and C(rights), or C(tcp) of a port. Before
      them comes what was told of the network and of instance types without a worker, as C(network) and C(types).
    - Each has C(service), C(check), C(ok) (null for one that was not tried), C(seconds), C(reason) and C(remedy).
  returned: when O(operation=check)
  type: list
  elements: dict
"""
