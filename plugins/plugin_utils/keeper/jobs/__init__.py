# SPDX-License-Identifier: GPL-3.0-or-later
"""What the transfer agent is told for each of its operations, and with which credentials: a file each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..context import Context
from . import archive, backup, check, health_check, repository_copy, restore, retention
from .part import Part

#: Each is given the arguments of transfer.prepare; raises KeeperError when there is nothing that could be done.
BUILD: dict[str, Callable[[Context, dict[str, Any]], Part]] = {
    "backup": backup.build,
    "restore": restore.build,
    "check": check.build,
    "retention": retention.build,
    "health_check": health_check.build,
    "repository_copy": repository_copy.build,
    "archive": archive.build,
    "archive_return": archive.build_return,
}
