# SPDX-License-Identifier: GPL-3.0-or-later
"""The one table of operations that need a worker: its account, its size, and the services that it must reach.

Placement, the check of networks, the IAM policies and their documentation are derived from it. Where a worker goes is
a matter of the request: its Region, the zones that are best, and the VPC that it must be in.

The figures are those of the reference product, Veeam Backup for AWS (user guide 13.1, "Sizing worker instances"); of a
size exactly on a bound, which it leaves open, the larger type is taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

GIB = 2**30
_TIB = 2**40
_TB = 10**12

# These services count in the Region of the repository and of its key, all others in the worker's own.
IN_REPOSITORY_REGION = frozenset({"s3", "kms"})
# A connection over Session Manager is made by the worker's own agent.
SESSION_MANAGER = ("ssm", "ssmmessages", "ec2messages")

_REPOSITORY = ("s3", "sts", "kms")
_VOLUMES = ("ebs", "s3", "ec2", "sts", "kms")
_DATABASES = ("s3", "sts", "kms", "rds")


class Accounts(StrEnum):
    """Which account a worker may run in. The backup account owns the repository, the production one the resource.

    NETWORK is of an operation that is about no resource but about where workers run: it runs in that very account.
    """

    EITHER = "either"
    BACKUP = "backup"
    PRODUCTION = "production"
    NETWORK = "network"


# Profiles of instance types by size: up to, and not including, so many bytes.
Sizes = tuple[tuple[int | None, str], ...]
_OF_VOLUMES: Sizes = ((1024 * GIB, "small"), (16 * _TIB, "medium"), (None, "large"))
_OF_DATABASES: Sizes = ((80 * GIB, "database_small"), (None, "database_large"))
_OF_DELETIONS: Sizes = (
    (3 * _TB, "retention_small"),
    (6 * _TB, "retention_medium"),
    (13 * _TB, "retention_large"),
    (None, "retention_extra_large"),
)
_OF_ARCHIVES: Sizes = ((6 * _TB, "archive_small"), (None, "archive_large"))

INSTANCE_TYPES: dict[str, tuple[str, ...]] = {
    "small": ("c6a.large", "c6i.large", "c5.large"),
    "medium": ("c6a.2xlarge", "c6i.2xlarge", "c5.2xlarge"),
    "large": ("c6a.4xlarge", "c6i.4xlarge", "c5.4xlarge"),
    "database_small": ("c5.large",),
    "database_large": ("c5.xlarge",),
    "file_recovery": ("t3.medium",),
    "index": ("t3.medium",),
    "retention_small": ("c5.large",),
    "retention_medium": ("c5.xlarge",),
    "retention_large": ("c5.2xlarge",),
    "retention_extra_large": ("c5.4xlarge",),
    "archive_small": ("c5.2xlarge",),
    "archive_large": ("c5.4xlarge",),
}


@dataclass(frozen=True)
class Operation:
    """An operation: where it may run, the profile of its worker by size in bytes, and the services it must reach.

    ``port`` is what the worker must reach inside its VPC beside AWS's services, ``serves`` what it is reached at by
    people; TCP both. With ``for_others``, the services count of the operations that would use the same network. With
    ``puts_back_from_backup``, it may put files back from the backup account alone: from the production account, they go
    to the operator's own machine.
    """

    name: str
    account: Accounts
    sizes: Sizes
    services: tuple[str, ...]
    port: int | None = None
    serves: int | None = None
    for_others: bool = False
    puts_back_from_backup: bool = False


def _one(profile: str) -> Sizes:
    return ((None, profile),)


OPERATIONS: dict[str, Operation] = {
    each.name: each
    for each in (
        Operation("ec2_backup", Accounts.EITHER, _OF_VOLUMES, _VOLUMES),
        Operation("ec2_restore", Accounts.EITHER, _OF_VOLUMES, _VOLUMES),
        Operation("volume_restore", Accounts.EITHER, _OF_VOLUMES, _VOLUMES),
        Operation(
            "file_recovery_from_snapshot",
            Accounts.EITHER,
            _one("file_recovery"),
            ("ebs", "ec2", "sts", "kms"),
            serves=443,
            puts_back_from_backup=True,
        ),
        Operation("file_recovery_from_backup", Accounts.BACKUP, _one("file_recovery"), _REPOSITORY, serves=443),
        Operation("rds_backup", Accounts.PRODUCTION, _OF_DATABASES, _DATABASES),
        Operation("rds_restore", Accounts.PRODUCTION, _one("database_small"), _DATABASES),
        Operation(
            "efs_index", Accounts.PRODUCTION, _one("index"), ("s3", "sts", "kms", "elasticfilesystem"), port=2049
        ),
        Operation("retention", Accounts.BACKUP, _OF_DELETIONS, _REPOSITORY),
        Operation("health_check", Accounts.BACKUP, _OF_VOLUMES, _REPOSITORY),
        Operation("archive", Accounts.BACKUP, _OF_ARCHIVES, _REPOSITORY),
        Operation("repository_copy", Accounts.BACKUP, _OF_DELETIONS, _REPOSITORY),
        Operation("restore_test", Accounts.BACKUP, _OF_VOLUMES, _VOLUMES),
        # Its services are those of the operations that would use the network: see services_in.
        Operation("worker_check", Accounts.NETWORK, _one("small"), (), for_others=True),
        # What is installed comes over SSH: it needs nothing of AWS.
        Operation("worker_image", Accounts.NETWORK, _one("small"), ()),
    )
}
# Those that a network can be checked for.
USE_A_NETWORK = tuple(each.name for each in OPERATIONS.values() if each.account is not Accounts.NETWORK)


def profile_of(name: str, size_bytes: int) -> str:
    """The profile of instance types for an operation on so many bytes; raises KeyError for one without a worker."""
    return next(profile for bound, profile in OPERATIONS[name].sizes if bound is None or size_bytes < bound)


def services_in(names: Iterable[str], *, backup_account: bool) -> tuple[str, ...]:
    """All services of those of the operations that may run in the account; raises KeyError for an unknown one.

    ``backup_account`` says whether it is the backup account. It can own resources as well, so only the operations that
    run nowhere else tell it from others.
    """
    here = _in(names, backup_account=backup_account)
    return tuple(dict.fromkeys(service for each in here for service in each.services))


def profiles_in(names: Iterable[str], *, backup_account: bool) -> tuple[str, ...]:
    """All profiles of instance types of those operations, as :func:`services_in`."""
    here = _in(names, backup_account=backup_account)
    return tuple(dict.fromkeys(profile for each in here for _bound, profile in each.sizes))


def _in(names: Iterable[str], *, backup_account: bool) -> list[Operation]:
    return [OPERATIONS[name] for name in names if backup_account or OPERATIONS[name].account is not Accounts.BACKUP]


@dataclass(frozen=True)
class Service:
    """An AWS service in a Region, as a worker must reach it."""

    name: str
    region: str

    @property
    def host(self) -> str:
        """The name that answers for it (https://docs.aws.amazon.com/general/latest/gr/rande.html)."""
        suffix = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        return f"{self.name}.{self.region}.{suffix}"

    def __str__(self) -> str:
        return f"com.amazonaws.{self.region}.{self.name}"

    def is_named(self, endpoint_service: str) -> bool:
        """Whether a VPC endpoint's service name means this one; partitions begin it in different ways."""
        return endpoint_service.endswith(f"com.amazonaws.{self.region}.{self.name}")


def services_of(
    name: str,
    region: str,
    repository_region: str,
    *,
    more: tuple[str, ...] = (),
    session_manager: bool = False,
    own_store: bool = False,
) -> tuple[Service, ...]:
    """The services of an operation whose worker is in ``region``; raises as :func:`profile_of`.

    ``more`` are services that the resource needs beside them, such as secretsmanager. With ``own_store`` the repository
    is not in AWS's S3, which need not be reached then.
    """
    wanted = [*OPERATIONS[name].services, *more, *(SESSION_MANAGER if session_manager else ())]
    if own_store:
        wanted = [each for each in wanted if each != "s3"]
    return tuple(
        Service(each, repository_region if each in IN_REPOSITORY_REGION else region) for each in dict.fromkeys(wanted)
    )
