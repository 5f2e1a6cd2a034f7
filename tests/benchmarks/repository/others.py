# SPDX-License-Identifier: GPL-3.0-or-later
"""What backups are made with today, by their commands: restic, borg, and a stream of zstd into S3.

Each as its own documentation says, with its defaults. They read the raw image from the disk.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.repository.machine import ACCESS_KEY, REGION, SECRET_KEY, environment
from tests.benchmarks.repository.store import Store

_SETUP_SECONDS = 300
Command = list[str]


@dataclass
class Other:
    """One of them, with a repository of its own called ``name``. What it cannot do is an empty command."""

    store: Store
    folder: Path
    name: str
    environment: dict[str, str] = field(default_factory=dict)
    title = ""

    def create(self) -> Command:
        """Make the repository."""
        raise NotImplementedError

    def back_up(self, files: Sequence[Path], point: str) -> Command:
        """Back files up; all backups of a repository are of the same ones."""
        raise NotImplementedError

    def restore(self, files: Sequence[Path], point: str, target: Path) -> Command:
        """Bring files back, below ``target``, which is there."""
        raise NotImplementedError

    def keep(self, count: int) -> Command:
        """Remove all but so many backups, and what only they needed."""
        raise NotImplementedError

    def points(self) -> Command:
        """List the backups."""
        raise NotImplementedError

    def stored(self) -> int:
        """Bytes in the repository."""
        return self.store.stored(self.name)

    def set_up(self) -> None:
        """Make the repository, outside of any measurement. Raises CalledProcessError."""
        command = self.create()
        variables = {**environment(), **self.variables()}
        subprocess.run(command, check=True, capture_output=True, timeout=_SETUP_SECONDS, env=variables)

    def variables(self) -> dict[str, str]:
        """The environment of its commands."""
        keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": REGION}
        return {**keys, "HOME": str(self.folder), **self.environment}


class Restic(Other):
    """https://restic.readthedocs.io"""

    title = "restic"

    def create(self) -> Command:
        self.environment |= {"RESTIC_PASSWORD": "bench", "RESTIC_REPOSITORY": f"s3:{self.store.url}/{self.name}"}
        self.environment |= {"RESTIC_CACHE_DIR": str(self.folder / "cache")}
        return ["restic", "init", "--quiet"]

    def back_up(self, files: Sequence[Path], point: str) -> Command:
        return ["restic", "backup", "--quiet", "--tag", point, *map(str, files)]

    def restore(self, files: Sequence[Path], point: str, target: Path) -> Command:
        included = [word for file in files for word in ("--include", str(file))]
        return ["restic", "restore", "--quiet", "latest", "--tag", point, "--target", str(target), *included]

    def keep(self, count: int) -> Command:
        return ["restic", "forget", "--quiet", "--group-by", "host", "--keep-last", str(count), "--prune"]

    def points(self) -> Command:
        return ["restic", "snapshots", "--quiet"]


class Borg(Other):
    """https://borgbackup.readthedocs.io; it has no S3, so its repository is a local folder."""

    title = "borg"

    def create(self) -> Command:
        self.environment |= {"BORG_PASSPHRASE": "bench", "BORG_REPO": str(self.folder / self.name)}
        self.environment |= {"BORG_BASE_DIR": str(self.folder)}
        return ["borg", "init", "--encryption=repokey"]

    def back_up(self, files: Sequence[Path], point: str) -> Command:
        return ["borg", "create", f"::{point}", *map(str, files)]

    def restore(self, files: Sequence[Path], point: str, target: Path) -> Command:
        return ["env", "--chdir", str(target), "borg", "extract", f"::{point}", *(str(file)[1:] for file in files)]

    def keep(self, count: int) -> Command:
        return ["sh", "-c", 'borg prune --keep-last "$0" && borg compact', str(count)]

    def points(self) -> Command:
        return ["borg", "list"]

    def stored(self) -> int:
        return sum(each.stat().st_size for each in (self.folder / self.name).rglob("*") if each.is_file())


class Stream(Other):
    """``zstd -1 | s5cmd pipe``: neither encrypted nor incremental; every backup is a first one."""

    title = "zstd -1 | s5cmd"

    def create(self) -> Command:
        return ["s5cmd", "--endpoint-url", self.store.url, "mb", f"s3://{self.name}"]

    def back_up(self, files: Sequence[Path], point: str) -> Command:
        each = 'zstd -1 -q -c "$each" | s5cmd --endpoint-url "$0" pipe "$target$(basename "$each")"'
        return self._shell(f"target=$1; shift; for each; do {each} || exit; done", files, point)

    def restore(self, files: Sequence[Path], point: str, target: Path) -> Command:
        each = (
            's5cmd --endpoint-url "$0" cat "$source$(basename "$each")" | zstd -d -q -c > "$target/$(basename "$each")"'
        )
        script = f"source=$1; target={target}; shift; for each; do {each} || exit; done"
        return self._shell(script, files, point)

    def keep(self, count: int) -> Command:
        return []

    def points(self) -> Command:
        return []

    def _shell(self, script: str, files: Sequence[Path], point: str) -> Command:
        return ["sh", "-c", script, self.store.url, f"s3://{self.name}/{point}/", *map(str, files)]


OTHERS: tuple[type[Other], ...] = (Restic, Borg, Stream)


def missing() -> list[str]:
    """The programs that are not installed."""
    names = ("restic", "borg", "zstd", "s5cmd", "weed", "mke2fs")
    return [name for name in names if not shutil.which(name, path=environment()["PATH"])]
