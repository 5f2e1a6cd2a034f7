# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack the agent, and the page of a file recovery, with all that they need into one tar: workers reach no registry.

``python -m mayfly_agent.bundle --arch x86_64 --python 3.11 --output FILE``; the tar is unpacked in /opt. It serves that
Python on that architecture alone. The same content gives the same bytes. Its file SOURCES says which agent it is: see
sources_digest.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

from mayfly_agent import __version__

ARCHITECTURES = ("x86_64", "aarch64")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
_PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
_DOWNLOAD_SECONDS = 300
_SOURCES = "SOURCES"
_HERE = Path(__file__).parent
_REQUIREMENTS = _HERE.resolve().parent / "requirements.txt"
# Of hundreds of services that botocore knows, what the agent makes a client of; EBS direct it asks without one.
_SERVICES = ("s3",)
# What the agent never loads: a second way to zstd, a compiler of C declarations, the world's time zones.
_UNUSED = (
    "zstandard/_cffi.",
    "zstandard/backend_cffi.py",
    "cffi/",
    "pycparser/",
    "dateutil/zoneinfo/",
)
# What is a part of the agent beside its Python: the page's assets.
_SUFFIXES = frozenset({".py", ".html", ".css", ".js", ".svg"})
_PROGRAMS = {"mayfly-agent": "mayfly_agent.main", "mayfly-browser": "mayfly_agent.browser.main"}
_LAUNCHER = """\
#!/usr/bin/python3 -I
import sys
root = "/opt/mayfly/agent"
sys.path[:0] = [root, f"{{root}}/lib"]
from {module} import main
sys.exit(main(sys.argv[1:]))
"""


def file_name(arch: str, python: str) -> str:
    """What the bundle for these is called."""
    return f"mayfly-agent-{arch}-python{python}.tar.gz"


def sources_digest() -> str:
    """SHA-256, hexadecimal, over all that a bundle is made of: the agent's sources, and what else it needs by hash."""
    found = hashlib.sha256()
    for path in (*_sources(), _REQUIREMENTS):
        content = path.read_bytes()
        found.update(f"{path.name} {len(content)}\n".encode() + content)
    return found.hexdigest()


def digest_in(bundle: Path) -> str:
    """Of which sources a bundle was made; "" when it does not say, or is none."""
    try:
        with tarfile.open(bundle) as tar:
            for entry in tar:
                stream = tar.extractfile(entry) if entry.name.endswith(f"/{_SOURCES}") else None
                if stream is not None:
                    return stream.read().decode().strip()
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error):
        pass
    return ""


def _sources() -> list[Path]:
    return sorted(path for path in _HERE.rglob("*") if path.suffix in _SUFFIXES)


def main() -> int:
    """Build one tar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", choices=ARCHITECTURES, required=True)
    parser.add_argument("--python", choices=PYTHONS, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary) / f"agent-{__version__}"
        _unpack(_download(Path(temporary) / "wheels", options.arch, options.python), top / "lib")
        (top / _SOURCES).write_text(f"{sources_digest()}\n")
        for source in _sources():
            target = top / "mayfly_agent" / source.relative_to(_HERE)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
        (top / "bin").mkdir()
        for name, module in _PROGRAMS.items():
            launcher = top / "bin" / name
            launcher.write_text(_LAUNCHER.format(module=module))
            launcher.chmod(0o755)
        unfinished = options.output.with_suffix(".new")
        pack(top, unfinished)
        unfinished.replace(options.output)
    return 0


def _download(folder: Path, arch: str, python: str) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--require-hashes", "-r", str(_REQUIREMENTS), "--dest", str(folder), "--python-version", python]
    for platform in _PLATFORMS:
        command += ["--platform", f"{platform}_{arch}"]
    subprocess.run(command, check=True, timeout=_DOWNLOAD_SECONDS)
    return folder


def _unpack(wheels: Path, target: Path) -> None:
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if not name.endswith("/") and _wanted(name):
                    content = archive.read(name)
                    path = Path(archive.extract(name, target))
                    path.write_bytes(without_symbols(content) if name.endswith(".so") else content)


def _wanted(name: str) -> bool:
    parts = name.split("/")
    in_service = parts[:2] == ["botocore", "data"] and len(parts) > 3
    return (not in_service or parts[2] in _SERVICES) and not name.startswith(_UNUSED)


def without_symbols(library: bytes) -> bytes:
    """A 64-bit ELF library without what no loader reads: all behind the last segment, as debugging symbols.

    ``strip`` would do the same for this machine's architecture, where it is installed. Raises ValueError for what is
    no such library. The fields are those of https://gabi.xinuos.com/elf/02-eheader.html and 07-pheader.html.
    """
    if library[:6] != b"\x7fELF\x02\x01":
        raise ValueError("it is no little-endian 64-bit ELF library")
    (at,) = struct.unpack_from("<Q", library, 32)
    size, count = struct.unpack_from("<HH", library, 54)
    end = at + size * count
    for number in range(count):
        offset, _address, _physical, in_file = struct.unpack_from("<QQQQ", library, at + number * size + 8)
        end = max(end, offset + in_file)
    head = bytearray(library[:end])
    struct.pack_into("<Q", head, 40, 0)  # where the table of sections was,
    struct.pack_into("<HH", head, 60, 0, 0)  # their number, and which of them had their names
    return bytes(head)


def pack(top: Path, output: Path) -> None:
    """Everything below ``top``, and a link to it that has no version in its name."""
    with (
        output.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path in sorted(top.rglob("*")):
            tar.add(path, f"mayfly/{top.name}/{path.relative_to(top)}", recursive=False, filter=_anonymous)
        link = tarfile.TarInfo("mayfly/agent")
        link.type, link.linkname = tarfile.SYMTYPE, top.name
        tar.addfile(_anonymous(link))


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = "root"
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


if __name__ == "__main__":
    sys.exit(main())
