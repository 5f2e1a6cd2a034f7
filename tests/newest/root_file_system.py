# SPDX-License-Identifier: GPL-3.0-or-later
"""A control node of the next Debian: a root file system and a virtual environment, built once and kept in the cache."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import uv
from mayfly_lab import paths
from mayfly_lab.commands import run

ROOT = Path(__file__).resolve().parents[2]
SUITE = "trixie"
_ENTER = Path(__file__).with_name("enter")


@dataclass(frozen=True)
class ControlNode:
    """A root file system, and the virtual environment that is seen under the same name inside and outside of it."""

    root: Path
    environment: Path

    def words(self, *command: str, shared: tuple[Path, ...] = ()) -> list[str]:
        """The command line that runs a command there, in the project's folder, with these folders shared."""
        path = f"PATH={self.environment}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        own = ["--unset=PYTHONPATH", "--unset=VIRTUAL_ENV", "HOME=/root", "PYTHONDONTWRITEBYTECODE=1", path]
        folders = [str(folder) for folder in (ROOT, self.environment, *shared)]
        return ["unshare", "--mount", str(_ENTER), str(self.root), *folders, "--", "env", *own, *command]


def packages() -> list[str]:
    """What system-packages.txt names for a control node."""
    section = (ROOT / "system-packages.txt").read_text().partition("# A control node\n")[2].partition("\n\n")[0]
    return [line.split()[0] for line in section.splitlines()]


def ensure() -> ControlNode:
    """The control node, built if its recipe has not been built yet (a minute or two)."""
    cache = paths.current().cache
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "control-node.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        root = cache / f"debian-13-{_digest(SUITE, *packages())}"
        if not root.exists():
            _build_root(root)
        node = ControlNode(root, cache / f"{root.name}-python-{_digest((ROOT / 'requirements.txt').read_text())}")
        if not (node.environment / "complete").exists():
            _build_environment(node)
    return node


def _digest(*recipe: str) -> str:
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]


def _build_root(root: Path) -> None:
    with tempfile.TemporaryDirectory(dir=root.parent, prefix="build-") as folder:
        unfinished = Path(folder) / "root"
        included = ",".join(packages())
        run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={included}", SUITE, unfinished, wait=900)
        shutil.rmtree(unfinished / "var/cache/apt", ignore_errors=True)
        unfinished.rename(root)


def _build_environment(node: ControlNode) -> None:
    """In its place, as its programs name it; a file says that it is complete."""
    shutil.rmtree(node.environment, ignore_errors=True)
    node.environment.mkdir()
    program = uv.find_uv_bin()
    downloads = Path(run(program, "cache", "dir").strip())
    downloads.mkdir(parents=True, exist_ok=True)
    run(*node.words("python3", "-m", "venv", "--without-pip", str(node.environment)))
    install = [program, "pip", "install", "--quiet", "--python", f"{node.environment}/bin/python", "--require-hashes"]
    install += ["--link-mode", "copy", "--compile-bytecode", "--cache-dir", str(downloads), "-r", "requirements.txt"]
    run(*node.words(*install, shared=(Path(program).parent, downloads)), wait=600)
    (node.environment / "complete").touch()
