# SPDX-License-Identifier: GPL-3.0-or-later
"""What the keeper can be asked: functions registered by name.

A file here defines ``@operation("snapshot_set.create") def create(context, arguments) -> dict`` and is named in
``FILES``. ``arguments`` and the result are JSON values. A failure a person can mend is raised as KeeperError;
botocore errors need no handling: the server turns them into KeeperError with AWS's code.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..context import Context

Operation = Callable[["Context", dict[str, Any]], dict[str, Any]]

FILES = (
    "run", "worker", "placement", "snapshot_set", "restore", "repository", "transfer", "reaper", "retention",
    "health_check", "worker_image", "repository_copy", "archive", "archive_sets",
    "restored_instance",
)  # fmt: skip
_registered: dict[str, Operation] = {}
_importing = threading.Lock()


def operation(name: str) -> Callable[[Operation], Operation]:
    """Register a function as the operation ``name``; raises ValueError when the name is taken."""

    def register(function: Operation) -> Operation:
        if name in _registered:
            raise ValueError(f"operation {name} is registered twice")
        _registered[name] = function
        return function

    return register


def find(name: str) -> Operation | None:
    """The operation of that name. Files are imported on first use, so that the keeper is ready before boto3 is."""
    with _importing:
        for file in FILES:
            importlib.import_module(f"{__name__}.{file}")
    return _registered.get(name)
