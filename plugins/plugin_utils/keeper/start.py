# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the keeper of a run, or another one in its place. Light: no boto3 is imported here."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from . import client
from .client import ADDRESS_VARIABLE, RUN_VARIABLE
from .errors import KeeperError

RUNS_VARIABLE = "MAYFLY_RUNS_DIR"
LOCK = "keeper.lock"
ALIVE = "alive"
_PREFIX = "mayfly-"
SOCKET = "keeper.sock"
REPLACEMENT = "replacement"
_PLAYBOOK_VARIABLE = "MAYFLY_PLAYBOOK"
_READY_SECONDS = 30.0
_PING_SECONDS = 5.0
_DEAD_SECONDS = 10.0
# A playbook that lives replaces its dead keeper long before.
_REPLACED_SECONDS = 3600.0
_MODULE = "ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.main"
# It stands in tags, in names of sessions and groups, and in a path.
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")


@dataclass(frozen=True)
class Keeper:
    """A keeper that was started: the run's id and its folder."""

    run: str
    folder: Path


def start() -> Keeper:
    """Start the keeper for this process and put its address into the environment, for every task.

    Raises KeeperError when the run's id cannot be used, or the keeper does not come up.
    """
    run = _run_id()
    folder = runs_folder() / run
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (folder / "report.json").exists():
        message = f"{RUN_VARIABLE} is {run}, and {folder} has the report of such a run already."
        raise KeeperError("RunExists", message, "Give each run an id of its own, or none.")
    memory = memory_folder()
    _forget_the_dead(memory)
    private = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=memory))
    os.environ[ADDRESS_VARIABLE] = str(private / SOCKET)
    os.environ[RUN_VARIABLE] = run
    os.environ[_PLAYBOOK_VARIABLE] = str(os.getpid())
    try:
        _spawn(run, folder, private, os.getpid())
    except BaseException:
        for name in (ADDRESS_VARIABLE, RUN_VARIABLE, _PLAYBOOK_VARIABLE):
            del os.environ[name]
        shutil.rmtree(private, ignore_errors=True)
        raise
    return Keeper(run, folder)


def replace() -> None:
    """After a call has found no keeper: end it for good, and start another that ends all of the run.

    Nothing when another task was quicker. Raises KeeperError when the new one does not come up.
    """
    address = client.address()
    run = os.environ.get(RUN_VARIABLE)
    if address is None or run is None:
        return
    private, folder = Path(address).parent, runs_folder() / run
    if not private.exists():
        raise KeeperError("KeeperGone", f"The keeper of the run {run} has ended.", f"{folder}/keeper.log says why.")
    with (private / "replace.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(KeeperError):
            client.call("run.ping", {}, _PING_SECONDS)
            return
        _kill(folder)
        playbook = int(os.environ.get(_PLAYBOOK_VARIABLE, "0"))
        _spawn(run, folder, private, playbook, REPLACEMENT)


def runs_folder() -> Path:
    """Where the reports of runs are kept."""
    named = os.environ.get(RUNS_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "mayfly/runs"


def memory_folder() -> Path:
    """A folder in memory, for a 0700 one below it; raises KeeperError when there is none: keys never lie on a disk."""
    for folder in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):  # noqa: S108 - a 0700 folder is made in it
        if folder and os.access(folder, os.W_OK) and _file_system(folder) in ("tmpfs", "ramfs"):
            return Path(folder)
    message = "Neither XDG_RUNTIME_DIR nor /dev/shm is a tmpfs that can be written."
    raise KeeperError("NoMemoryFolder", message, "Keys and credentials of a run are kept in memory only: mount one.")


def _forget_the_dead(memory: Path) -> None:
    """Remove what keepers have left in memory that were killed together with their playbooks."""
    for alive in memory.glob(f"{_PREFIX}*/{ALIVE}"):
        with suppress(OSError), alive.open() as lock:
            if os.fstat(lock.fileno()).st_uid != os.getuid():
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - alive.stat().st_mtime > _REPLACED_SECONDS:
                shutil.rmtree(alive.parent, ignore_errors=True)


def _run_id() -> str:
    """The id that was given, unless it belongs to a playbook that has started this one."""
    given = os.environ.get(RUN_VARIABLE) if not client.address() else None
    if given is None:
        return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    if not _RUN.fullmatch(given):
        message = f"{RUN_VARIABLE} is {given!r}, not 1 to 64 letters, digits and dashes."
        raise KeeperError("BadRunId", message, "Give another id, or none.")
    return given


def _spawn(run: str, folder: Path, private: Path, playbook: int, *more: str) -> None:
    """Start the process and wait until it takes calls. It watches the process ``playbook``, or none that is gone."""
    readable, writable = os.pipe()
    try:
        pidfd = os.pidfd_open(playbook)
    except (ProcessLookupError, ValueError):
        pidfd = os.pidfd_open(os.getpid())  # an orphan asks for a new keeper: it is all that is left of the run
    roots = [str(_collections_root()), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(root for root in roots if root)}
    try:
        log = os.open(folder / "keeper.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        process = subprocess.Popen(
            [sys.executable, "-m", _MODULE, run, str(folder), str(private), str(pidfd), str(writable), *more],
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


def _kill(folder: Path) -> None:
    """End a keeper that hangs; its lock says that it lives, and who it is."""
    ends = time.monotonic() + _DEAD_SECONDS
    while time.monotonic() < ends:
        try:
            with (folder / LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
        except FileNotFoundError:
            return
        except BlockingIOError:
            with suppress(ProcessLookupError, ValueError):
                os.kill(int((folder / LOCK).read_text()), signal.SIGKILL)
        time.sleep(0.1)
    raise KeeperError("NoKeeper", f"The keeper of {folder.name} hangs and cannot be ended.")


def _file_system(folder: str) -> str:
    """The type of the file system of a folder; empty where the system does not say."""
    path = os.path.realpath(folder)
    best, kind = "", ""
    with suppress(OSError):
        for line in Path("/proc/self/mounts").read_text().splitlines():
            mounted, its_kind = line.split()[1:3]
            holds = path == mounted or path.startswith(mounted.rstrip("/") + "/")
            if holds and len(mounted) >= len(best):
                best, kind = mounted, its_kind
    return kind


def _collections_root() -> Path:
    """The folder that holds ``ansible_collections``, whichever way this file was found."""
    here = Path(__file__)
    for parent in here.parents:
        if parent.name == "ansible_collections":
            return parent.parent
    return here.resolve().parents[3] / "collections"
