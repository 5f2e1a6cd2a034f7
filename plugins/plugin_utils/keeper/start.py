# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the keeper of a run, from the playbook's own process. Light: no boto3 is imported here."""

from __future__ import annotations

import os
import secrets
import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .client import ADDRESS_VARIABLE, RUN_VARIABLE
from .errors import KeeperError

RUNS_VARIABLE = "MAYFLY_RUNS_DIR"
_READY_SECONDS = 30.0
_MODULE = "ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.main"


@dataclass(frozen=True)
class Keeper:
    """A keeper that was started: the run's id and folder, and the process."""

    run: str
    folder: Path
    process: subprocess.Popen[bytes]


def start() -> Keeper:
    """Start the keeper for this process and put its address into the environment, for every task.

    Raises KeeperError when it does not come up.
    """
    run = os.environ.get(RUN_VARIABLE) or f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    folder = runs_folder() / run
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    private = Path(tempfile.mkdtemp(prefix="mayfly-", dir=_memory()))
    readable, writable = os.pipe()
    pidfd = os.pidfd_open(os.getpid())
    roots = [str(_collections_root()), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(root for root in roots if root)}
    try:
        log = os.open(folder / "keeper.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        process = subprocess.Popen(
            [sys.executable, "-m", _MODULE, run, str(folder), str(private), str(pidfd), str(writable)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd="/",
            pass_fds=(pidfd, writable),
            start_new_session=True,
        )
        os.close(log)
    finally:
        os.close(writable)
        os.close(pidfd)
    try:
        ready, _, _ = select.select([readable], [], [], _READY_SECONDS)
        if not ready or not os.read(readable, 16):
            process.kill()
            raise KeeperError("NoKeeper", f"The run's keeper did not start; {folder}/keeper.log says why.")
    finally:
        os.close(readable)
    os.environ[ADDRESS_VARIABLE] = str(private / "keeper.sock")
    os.environ[RUN_VARIABLE] = run
    return Keeper(run, folder, process)


def runs_folder() -> Path:
    """Where the reports of runs are kept."""
    named = os.environ.get(RUNS_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "mayfly/runs"


def _collections_root() -> Path:
    """The folder that holds ``ansible_collections``, whichever way this file was found."""
    here = Path(__file__)
    for parent in here.parents:
        if parent.name == "ansible_collections":
            return parent.parent
    return here.resolve().parents[3] / "collections"


def _memory() -> str | None:
    for folder in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):  # noqa: S108 - a 0700 folder is made in it
        if folder and os.access(folder, os.W_OK):
            return folder
    return None
