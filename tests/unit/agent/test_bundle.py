# SPDX-License-Identifier: GPL-3.0-or-later
"""The bundles that workers get: the same bytes for the same content, and nothing lacks in them."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
import zstandard
from mayfly_agent import bundle
from mayfly_agent.bundle import (
    ARCHITECTURES,
    PYTHONS,
    digest_in,
    file_name,
    pack,
    sources_digest,
    without_symbols,
)

ROOT = Path(__file__).parents[3]
BUNDLES = ROOT / "roles/transfer_agent/files"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
LIBRARY = Path(zstandard.backend_c.__file__)  # type: ignore[attr-defined]  # pinned, so it is the same everywhere
# As the launcher does, but for the folder: the client, and every part that is compiled.
USE = """
import sys
sys.path[:0] = [sys.argv[1], f"{sys.argv[1]}/lib"]
from mayfly_agent import clients, main, operations
from mayfly_agent.browser import main as browser
from mayfly_agent.repository import compression, keys
import botocore.session
session = botocore.session.Session()
session.set_credentials("key", "secret")
client = session.create_client("s3", region_name="eu-central-1", config=clients.CONFIG)
assert all(sys.argv[1] in module.__file__ for module in (main, browser, botocore))
sealed = keys.wrap_with_recovery_key(b"m" * 32, b"r" * 32, "id")
assert keys.unwrap_with_recovery_key(sealed, b"r" * 32, "id") == b"m" * 32
assert compression.decompress(compression.compress(b"plain"), 5, "it") == b"plain"
print(client.meta.endpoint_url)
"""


def tree(top: Path, order: list[str], mode: int, time: float) -> Path:
    """The same files, made in some order at some time by somebody."""
    for name in order:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 1000)
        path.chmod(mode | (0o100 if name.startswith("bin") else 0))
        os.utime(path, (time, time))
    return top


def bundle_of(digest: str, output: Path) -> None:
    """A bundle that says that it was made of these sources, and holds next to nothing."""
    top = output.with_suffix(".tree")
    (top / "bin").mkdir(parents=True, exist_ok=True)
    (top / "bin/agent").write_text("#!")
    (top / "SOURCES").write_text(f"{digest}\n")
    pack(top, output)
    shutil.rmtree(top)


def test_sources_that_change_in_any_way_have_another_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = tmp_path / "mayfly_agent"
    (agent / "repository").mkdir(parents=True)
    requirements = tmp_path / "requirements.txt"
    monkeypatch.setattr(bundle, "_HERE", agent)
    monkeypatch.setattr(bundle, "_REQUIREMENTS", requirements)
    found = set()
    for path, content in [
        (requirements, "a"),
        (requirements, "b"),
        (agent / "main.py", "x"),
        (agent / "main.py", "y"),
        (agent / "repository/trees.py", "x"),
        (agent / "repository/trees.py", ""),
    ]:
        path.write_text(content)
        found.add(sources_digest())
    (agent / "repository/trees.py").rename(agent / "repository/packs.py")
    found.add(sources_digest())
    assert len(found) == 7
    (agent / "notes.txt").write_text("no source")
    assert sources_digest() in found


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    names = ["lib/b.py", "bin/agent", "lib/a/c.so", "lib/a.py"]
    first = tree(tmp_path / "one/agent-1", names, 0o644, 1e9)
    second = tree(tmp_path / "two/agent-1", names[::-1], 0o600, 1.7e9)
    pack(first, tmp_path / "first.tar.gz")
    pack(second, tmp_path / "second.new")  # the name stands in no header either
    packed = (tmp_path / "first.tar.gz").read_bytes()
    assert packed == (tmp_path / "second.new").read_bytes()
    assert packed[3:8] == bytes(5)  # gzip's flags, so no name, and its time
    with tarfile.open(tmp_path / "first.tar.gz") as tar:
        entries = {entry.name: entry for entry in tar}
    assert [*entries][:-1] == sorted([*entries][:-1], key=Path)  # the link comes last
    assert {(entry.uid, entry.gid, entry.uname, entry.mtime) for entry in entries.values()} == {(0, 0, "root", 0)}
    assert entries["mayfly/agent"].linkname == "agent-1"
    modes = {name.removeprefix("mayfly/agent-1/"): entry.mode for name, entry in entries.items() if entry.isfile()}
    assert modes == {"bin/agent": 0o755, "lib/b.py": 0o644, "lib/a.py": 0o644, "lib/a/c.so": 0o644}


def test_a_library_works_without_its_symbols(tmp_path: Path) -> None:
    whole = LIBRARY.read_bytes()
    short = without_symbols(whole)
    assert len(short) < len(whole) / 2
    assert (short[40:48], short[60:64]) == (bytes(8), bytes(4))  # no table of sections, which others would look for
    assert without_symbols(short) == short
    path = tmp_path / LIBRARY.name
    path.write_bytes(short)
    code = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('zstandard.backend_c', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "frame = module.ZstdCompressor().compress(b'plain' * 1000)\n"
        "assert module.ZstdDecompressor().decompress(frame) == b'plain' * 1000\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)


@pytest.mark.parametrize("content", [b"", b"MZ", b"\x7fELF\x01\x01" + bytes(100), b"\x7fELF\x02\x02" + bytes(100)])
def test_what_is_no_library_of_ours_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="ELF"):
        without_symbols(content)


def test_make_and_the_role_know_the_same_bundles() -> None:
    makefile = (ROOT / "Makefile").read_text()
    lists = {name: found.split() for name, found in re.findall(r"^(\w+) := (.*)$", makefile, re.M)}
    assert (lists["ARCHITECTURES"], lists["AGENT_PYTHONS"]) == ([*ARCHITECTURES], [*PYTHONS])
    role = yaml.safe_load((ROOT / "roles/transfer_agent/vars/main.yml").read_text())
    named = role["__transfer_agent_architectures"], role["__transfer_agent_pythons"]
    assert named == ([*ARCHITECTURES], [*PYTHONS])


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_bundle_is_small_and_of_its_kind(arch: str, python: str) -> None:
    """They come from `make agent`, which every other target of the Makefile runs first."""
    path = BUNDLES / file_name(arch, python)
    assert path.is_file(), "run make agent"
    with tarfile.open(path) as tar:
        entries = tar.getmembers()
    compiled = [entry.name for entry in entries if entry.name.endswith(".so")]
    own = [name for name in compiled if "abi3" not in name]
    assert len(compiled) == 3  # cryptography's, cffi's, zstandard's
    assert all(f"cpython-{python.replace('.', '')}-{arch}" in name for name in own)
    assert path.stat().st_size < 8_000_000
    assert sum(entry.size for entry in entries) < 24_000_000


def test_the_bundle_for_this_machine_has_all_that_the_agent_loads(tmp_path: Path) -> None:
    bundle = BUNDLES / file_name(platform.machine(), VERSION)
    subprocess.run(["tar", "-xzf", str(bundle), "-C", str(tmp_path)], check=True, timeout=60)
    command = [sys.executable, "-I", "-S", "-c", USE, str(tmp_path / "mayfly/agent")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout == "https://s3.eu-central-1.amazonaws.com\n", done.stderr


class TestAWheel:
    """Of the controller's package: hatch_build.py."""

    @staticmethod
    def initialize(root: Path, version: str) -> dict[str, str]:
        spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        build_data: dict[str, dict[str, str]] = {"force_include": {}}
        hook = module.CustomBuildHook(str(root), {}, None, None, str(root), "wheel")
        hook.initialize(version, build_data)
        return build_data["force_include"]

    @staticmethod
    def checkout(folder: Path) -> Path:
        (folder / "agent").symlink_to(ROOT / "agent")
        (folder / "roles/transfer_agent/files").mkdir(parents=True)
        for arch in ARCHITECTURES:
            for python in PYTHONS:
                bundle_of(sources_digest(), folder / "roles/transfer_agent/files" / file_name(arch, python))
        return folder

    def test_holds_the_roles_with_their_bundles(self, tmp_path: Path) -> None:
        included = self.initialize(self.checkout(tmp_path), "standard")
        assert included[str(tmp_path / "roles")].endswith("mayfly/workers/roles")

    def test_builds_the_ones_that_are_missing_or_of_another_agent(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = self.checkout(tmp_path) / "roles/transfer_agent/files"
        missing, old, cut, empty = (files / file_name("aarch64", python) for python in PYTHONS)
        missing.unlink()
        bundle_of("0" * 64, old)
        cut.write_bytes(cut.read_bytes()[:30])
        empty.write_bytes(b"")
        built: list[Path] = []

        def run(command: list[str], **_options: Any) -> None:
            built.append(Path(command[command.index("--output") + 1]))

        monkeypatch.setattr(subprocess, "run", run)
        self.initialize(tmp_path, "standard")
        assert built == [missing, old, cut, empty]
        self.initialize(tmp_path, "editable")
        assert len(built) == 4

    def test_holds_a_bundle_that_says_what_it_was_made_of(self, tmp_path: Path) -> None:
        files = self.checkout(tmp_path) / "roles/transfer_agent/files"
        missing = files / file_name("aarch64", "3.13")
        missing.unlink()
        self.initialize(tmp_path, "standard")
        assert missing.stat().st_size > 1 << 20
        assert digest_in(missing) == sources_digest()

    def test_that_is_editable_needs_none(self, tmp_path: Path) -> None:
        assert self.initialize(tmp_path, "editable") == {}
