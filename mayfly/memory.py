# SPDX-License-Identifier: GPL-3.0-or-later
"""Where settings of a run lie while it lasts: in memory, as the keeper's own secrets do, never on a disk."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mayfly.project import BadInput

# The keeper's start.py knows both names, and sweeps what a runner left as well.
PREFIX = "mayfly-run-"
LOCK = "lock"
# The keeper's own: its folder, the file that names its run, and the lock that it holds (start.py).
KEEPER_PREFIX, PLAYBOOK, ALIVE = "mayfly-", "playbook", "alive"


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that only this user can read, until the end of the block. Raises BadInput where no memory is."""
    places = memory_folders()
    if not places:
        message = "Neither XDG_RUNTIME_DIR nor /dev/shm is a tmpfs that can be written."
        raise BadInput(f"{message} Keys and settings of a run are kept in memory only: mount one.")
    for place in places:
        forget_the_dead(place)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=places[0]))
        with (folder / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / LOCK).exists():  # another run's start has found it before it was locked
                continue
            lock.write(str(os.getpid()))  # for the keeper, which ends the run when this process dies
            lock.flush()
            try:
                yield folder
            finally:
                # Within the lock: whoever takes it removes the folder as well.
                shutil.rmtree(folder, ignore_errors=True)
            return


def memory_folders() -> list[Path]:
    """Folders in memory that can be written, the best one first: by the keeper's own rule (start.py)."""
    named = (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm")  # noqa: S108 - a 0700 folder is made in it
    return [Path(each) for each in named if each and os.access(each, os.W_OK) and _in_memory(each)]


def forget_the_dead(memory: Path) -> None:
    """Remove what runners have left that were killed: a lock that is free has no owner any more."""
    for path in memory.glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError), path.open() as lock:
            if os.fstat(lock.fileno()).st_uid != os.getuid():
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)


def forget(run: str) -> None:
    """Remove what a keeper has left that was killed before it kept anything.

    Its folder names the run, and nobody holds its lock.
    """
    for note in (path for place in memory_folders() for path in place.glob(f"{KEEPER_PREFIX}*/{PLAYBOOK}")):
        with suppress(OSError):
            if note.read_text().split()[2:] != [run]:
                continue
            with (note.parent / ALIVE).open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(note.parent, ignore_errors=True)


def _in_memory(folder: str) -> bool:
    """Whether the innermost mount that holds a folder is a tmpfs."""
    path = os.path.realpath(folder)
    best, kind = "", ""
    with suppress(OSError):
        for line in Path("/proc/self/mounts").read_text().splitlines():
            mounted, its_kind = line.split()[1:3]
            holds = path == mounted or path.startswith(mounted.rstrip("/") + "/")
            if holds and len(mounted) >= len(best):
                best, kind = mounted, its_kind
    return kind in ("tmpfs", "ramfs")
