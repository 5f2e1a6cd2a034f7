# SPDX-License-Identifier: GPL-3.0-or-later
"""The AWS services that a worker of each operation must reach.

The check of the network before a launch is derived from it. ``s3`` and ``kms`` count in the Region of the repository,
all others in the worker's own.
"""

from __future__ import annotations

IN_REPOSITORY_REGION = frozenset({"s3", "kms"})

_REPOSITORY = ("s3", "sts", "kms")
_VOLUMES = ("ebs", "s3", "ec2", "sts", "kms")
_DATABASES = ("s3", "sts", "kms", "rds")

SERVICES: dict[str, tuple[str, ...]] = {
    "ec2_backup": _VOLUMES,
    "ec2_restore": _VOLUMES,
    "volume_restore": _VOLUMES,
    "restore_test": _VOLUMES,
    "rds_backup": _DATABASES,
    "rds_restore": _DATABASES,
    "efs_index": ("s3", "sts", "kms", "elasticfilesystem"),
    "retention": _REPOSITORY,
    "health_check": _REPOSITORY,
    "archive": _REPOSITORY,
    "repository_copy": _REPOSITORY,
}


def endpoint_names(operation: str, region: str, repository_region: str) -> tuple[str, ...]:
    """Names of the VPC endpoint services of an operation, as ``com.amazonaws.us-east-1.ebs``.

    Raises KeyError for an operation that has no worker.
    """
    return tuple(
        f"com.amazonaws.{repository_region if service in IN_REPOSITORY_REGION else region}.{service}"
        for service in SERVICES[operation]
    )
