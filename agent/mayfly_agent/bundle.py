# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack the agent with all that it needs into one tar, for workers that cannot reach a registry.

``python -m mayfly_agent.bundle --arch x86_64 --output FILE``; the tar is unpacked in /opt. It serves Python 3.11 to
3.13: what was compiled lies there once for each.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from mayfly_agent import __version__

_PYTHONS = ("3.11", "3.12", "3.13")
_PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
# botocore knows hundreds of services; these are the agent's.
_SERVICES = ("s3", "ebs", "sts", "kms", "ec2")
_DOWNLOAD_SECONDS = 300
_LAUNCHER = """\
#!/usr/bin/python3 -I
import sys
root = "/opt/mayfly/agent"
sys.path[:0] = [root, f"{root}/python{sys.version_info.major}.{sys.version_info.minor}"]
from mayfly_agent.main import main
sys.exit(main(sys.argv[1:]))
"""


def main() -> int:
    """Build one tar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", choices=("x86_64", "aarch64"), required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary) / f"agent-{__version__}"
        for python in _PYTHONS:
            _unpack(_download(Path(temporary) / python, options.arch, python), top / f"python{python}")
        here = Path(__file__).parent
        for source in sorted(here.rglob("*.py")):
            target = top / "mayfly_agent" / source.relative_to(here)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
        launcher = top / "bin/mayfly-agent"
        launcher.parent.mkdir()
        launcher.write_text(_LAUNCHER)
        launcher.chmod(0o755)
        _pack(top, options.output)
    return 0


def _download(folder: Path, arch: str, python: str) -> Path:
    requirements = Path(__file__).resolve().parents[1] / "requirements.txt"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--require-hashes", "-r", str(requirements), "--dest", str(folder), "--python-version", python]
    for platform in _PLATFORMS:
        command += ["--platform", f"{platform}_{arch}"]
    subprocess.run(command, check=True, timeout=_DOWNLOAD_SECONDS)
    return folder


def _unpack(wheels: Path, target: Path) -> None:
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target, [name for name in archive.namelist() if _wanted(name)])  # noqa: S202 (wheels with pinned hashes)


def _wanted(name: str) -> bool:
    parts = name.split("/")
    in_service = parts[:2] == ["botocore", "data"] and len(parts) > 3
    return not in_service or parts[2] in _SERVICES


def _pack(top: Path, output: Path) -> None:
    """The same content gives the same bytes."""
    with tarfile.open(output, "w:gz", compresslevel=6) as tar:
        for path in sorted(top.rglob("*")):
            tar.add(path, f"mayfly/{top.name}/{path.relative_to(top)}", recursive=False, filter=_anonymous)
        link = tarfile.TarInfo("mayfly/agent")
        link.type, link.linkname = tarfile.SYMTYPE, top.name
        tar.addfile(link)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = "root"
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


if __name__ == "__main__":
    sys.exit(main())
