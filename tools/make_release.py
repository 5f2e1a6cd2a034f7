#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build what is released into ``dist/``: collection, package and the transfer agent's bundles, with their SHA-256.

From one commit it makes the same bytes each time: what is not committed is left out, and all times are the commit's.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
BUNDLES = "roles/transfer_agent/files"
_SECONDS = 600


def main() -> int:
    """0 when all was built."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="a folder, emptied first (dist)")
    output = parser.parse_args().output.absolute()
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    seconds = int(_run(["git", "show", "-s", "--format=%ct", "HEAD"], ROOT))
    with tempfile.TemporaryDirectory(prefix="mayfly-release-") as folder:
        tree = Path(folder) / "mayfly"
        _copy(tree)
        version = yaml.safe_load((tree / "galaxy.yml").read_text())["version"]
        date = datetime.fromtimestamp(seconds, UTC).date().isoformat()
        _run(["antsibull-changelog", "release", "--version", version, "--date", date], tree)
        # What git would leave behind here as well is not there: the tree is a fresh one.
        _run(["ansible-galaxy", "collection", "build", "--output-path", str(output)], tree)
        for path in output.glob("*.tar.gz"):
            _settle(path, seconds)
        built = ["hatchling", "build", "--target", "wheel", "--directory", str(output)]
        _run([sys.executable, "-m", *built], tree, SOURCE_DATE_EPOCH=str(seconds))
        shutil.copy2(tree / "CHANGELOG.rst", output)
    for path in sorted((ROOT / BUNDLES).glob("*.tar.gz")):
        shutil.copy2(path, output)
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(output.iterdir())}
    text = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    (output / "SHA256SUMS").write_text(text)
    print(text, end="")
    return 0


def _copy(tree: Path) -> None:
    """The commit's files, and the bundles that are built from them."""
    tree.mkdir()
    packed = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True, timeout=_SECONDS)
    subprocess.run(["tar", "-x"], cwd=tree, input=packed.stdout, check=True, timeout=_SECONDS)
    (tree / BUNDLES).mkdir(exist_ok=True)
    for path in (ROOT / BUNDLES).glob("*.tar.gz"):
        shutil.copy2(path, tree / BUNDLES)


def _settle(path: Path, seconds: int) -> None:
    """Pack an archive anew: sorted, of nobody, all of one time."""
    with tarfile.open(path) as archive:
        members = sorted(archive.getmembers(), key=lambda member: member.name)
        contents = [archive.extractfile(member) if member.isfile() else None for member in members]
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as anew:
            for member, content in zip(members, contents, strict=True):
                member.mtime, member.uid, member.gid, member.uname, member.gname = seconds, 0, 0, "", ""
                member.pax_headers = {}
                anew.addfile(member, content)
    with path.open("wb") as stream, gzip.GzipFile("", "wb", 9, stream, mtime=seconds) as zipped:
        zipped.write(packed.getvalue())


def _run(words: list[str], folder: Path, **more: str) -> str:
    """What a command prints. Raises CalledProcessError, with what it said shown."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **more}
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    if done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
        done.check_returncode()
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
