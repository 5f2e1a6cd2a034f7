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
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from . import client, protocol
from .client import ADDRESS_VARIABLE, RUN_VARIABLE
from .errors import KeeperError

RUNS_VARIABLE = "MAYFLY_RUNS_DIR"
LOCK = "keeper.lock"
ALIVE = "alive"
_PREFIX = "mayfly-"
PLAYBOOK = "playbook"
#: Of the folders that runner.py keeps settings in (mayfly/memory.py).
RUNNER_PREFIX, RUNNER_LOCK = "mayfly-run-", "lock"
SOCKET = "keeper.sock"
REPLACEMENT = "replacement"
_READY_SECONDS = 30.0
_PING_SECONDS = 5.0
# SIGKILL takes as long as the machine needs to run the process once more.
_DEAD_SECONDS = 30.0
# Since the keeper's last beat. Of its playbook, a task may be left that asks for another keeper.
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
    for each in memory_folders():
        _forget_the_dead(each)
    private = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=memory))
    os.environ[ADDRESS_VARIABLE] = str(private / SOCKET)
    os.environ[RUN_VARIABLE] = run
    try:
        (private / ALIVE).touch()  # what is killed from here on is found by it
        (private / PLAYBOOK).write_text(f"{os.getpid()} {_started(os.getpid())} {run}")
        _spawn(run, folder, private, os.getpid())
    except BaseException:
        for name in (ADDRESS_VARIABLE, RUN_VARIABLE):
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
        try:
            with suppress(KeeperError):
                client.call("run.ping", {}, _PING_SECONDS)
                return
            if (folder / LOCK).exists() and not is_dead(folder) and _is_fresh(private / ALIVE):
                return  # it lives and is busy: ended, it would take the whole run along
            _kill(folder)
            _spawn(run, folder, private, _playbook(private), REPLACEMENT)
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # a task that was forked meanwhile holds the file as well


def _is_fresh(alive: Path) -> bool:
    """Whether a keeper has given a sign of life lately."""
    try:
        return time.time() - alive.stat().st_mtime < protocol.SILENCE_SECONDS
    except FileNotFoundError:
        return False


def is_dead(folder: Path) -> bool:
    """Whether the keeper of a run has gone: nobody holds its lock. False where that cannot be told."""
    try:
        with (folder / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(lock, fcntl.LOCK_UN)  # not left to a task that was forked meanwhile
    except OSError:
        return False
    return True


def runs_folder() -> Path:
    """Where the reports of runs are kept."""
    named = os.environ.get(RUNS_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "mayfly/runs"


def memory_folder() -> Path:
    """A folder in memory, for a 0700 one below it; raises KeeperError when there is none: keys never lie on a disk."""
    for folder in memory_folders():
        return folder
    message = "Neither XDG_RUNTIME_DIR nor /dev/shm is a tmpfs that can be written."
    raise KeeperError("NoMemoryFolder", message, "Keys and credentials of a run are kept in memory only: mount one.")


def memory_folders() -> list[Path]:
    """Folders in memory that can be written, the best one first."""
    named = (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm")  # noqa: S108 - a 0700 folder is made in it
    found = (each for each in named if each and os.access(each, os.W_OK) and _file_system(each) in ("tmpfs", "ramfs"))
    return [Path(each) for each in found]


def _forget_the_dead(memory: Path) -> None:
    """Remove what keepers and runners have left in memory that were killed together with their playbooks."""
    for alive in memory.glob(f"{_PREFIX}*/{ALIVE}"):
        _remove_if(alive, _is_over)
    for lock in memory.glob(f"{RUNNER_PREFIX}*/{RUNNER_LOCK}"):
        _remove_if(lock, lambda _lock: True)


def forget(run: str) -> None:
    """Remove what is left in memory of a run that is known to have ended, unless its keeper or playbook lives."""
    for memory in memory_folders():
        for alive in memory.glob(f"{_PREFIX}*/{ALIVE}"):
            _remove_if(alive, lambda path: _is_of(path.parent, run) and not _playbook(path.parent))


def _is_of(private: Path, run: str) -> bool:
    try:
        return (private / PLAYBOOK).read_text().split()[2:] == [run]
    except OSError:
        return False


def _remove_if(path: Path, dead: Callable[[Path], bool]) -> None:
    """Remove the folder of a lock of this user that nobody holds, if it is ``dead`` as well."""
    with suppress(OSError), path.open() as lock:
        if os.fstat(lock.fileno()).st_uid == os.getuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if dead(path):
                shutil.rmtree(path.parent, ignore_errors=True)


def _is_over(alive: Path) -> bool:
    """Whether a run whose keeper is dead will have no other one."""
    silent = time.time() - alive.stat().st_mtime
    return silent > _REPLACED_SECONDS and not _playbook(alive.parent)


def _playbook(private: Path) -> int:
    """The process of the run's playbook; 0 when it has ended, also when another has got its id by now."""
    try:
        pid, started, _run = (private / PLAYBOOK).read_text().split()
    except (OSError, ValueError):
        return 0
    return int(pid) if _started(int(pid)) == started else 0


def _started(pid: int) -> str | None:
    """When a process was started, in clock ticks since the machine was (field 22 of its stat, proc(5)); None: ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]


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
    """Start the process and wait until it takes calls. It watches the process ``playbook``, this one if it is 0."""
    readable, writable = os.pipe()
    try:
        pidfd = os.pidfd_open(playbook or os.getpid())  # an orphan asks for a new keeper: all that is left of the run
    except ProcessLookupError:
        pidfd = os.pidfd_open(os.getpid())  # it has just become one
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
