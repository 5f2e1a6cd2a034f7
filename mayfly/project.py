# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the playbooks are, and what they may be called with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

Inventory = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class BadInput(ValueError):
    """An argument that no run can be started with; nothing was launched."""


def root() -> Path:
    """The folder that holds ``ansible.cfg``: in the installed package, or the checkout around it."""
    package = Path(__file__).resolve().parent
    installed = package / "project"
    return installed if installed.is_dir() else package.parent


def collection() -> Path:
    """The folder of the collection ``mayfly.workers``."""
    return root() / "collections/ansible_collections/mayfly/workers"


def operations() -> list[str]:
    """Names of all operations: one playbook each."""
    return sorted(path.stem for path in (collection() / "playbooks").glob("*.yml"))


def playbook(operation: str) -> str:
    """The full name of an operation's playbook. Raises BadInput when there is no such operation."""
    known = operations()
    if operation not in known:
        raise BadInput(f"There is no operation {operation!r}. Operations: {', '.join(known)}.")
    return f"mayfly.workers.{operation}"


def inventory_sources(inventory: Inventory) -> list[str]:
    """Absolute paths of inventory files and folders. Raises BadInput for what is not there."""
    given = [inventory] if isinstance(inventory, str | os.PathLike) else list(inventory)
    if not given:
        raise BadInput("The inventory is empty: name the file that lists the protected resources.")
    found = []
    for source in given:
        path = Path(source).expanduser()
        if not path.exists():
            raise BadInput(f"The inventory {os.fspath(source)!r} does not exist.")
        if not os.access(path, os.R_OK):
            raise BadInput(f"The inventory {os.fspath(source)!r} cannot be read.")
        found.append(str(path.resolve()))
    return found


def runs_folder() -> Path:
    """Where keepers leave one folder a run, with its report."""
    chosen = os.environ.get("MAYFLY_RUNS_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "mayfly/runs"
