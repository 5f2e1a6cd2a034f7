# SPDX-License-Identifier: GPL-3.0-or-later
"""Two that start at once, and starts that were killed half way."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from mayfly_lab import certificates, image, locks, namespace
from mayfly_lab.commands import CommandFailed
from mayfly_lab.paths import Paths


def belongs_together(folder):
    public = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes()).public_key()
    return serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None).public_key() == public


def lives(pid):
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_lock_is_held_by_one_and_freed_by_its_death(tmp_path):
    path = tmp_path / "new" / "lock"
    program = "import sys, pathlib, time; from mayfly_lab import locks\nwith locks.held(pathlib.Path(sys.argv[1])):\n"
    program += "    print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    waited, got = threading.Event(), threading.Event()

    def take():
        with locks.held(path, waited.set):
            got.set()

    threading.Thread(target=take, daemon=True).start()
    assert waited.wait(10)
    assert not got.wait(0.3)
    holder.kill()
    holder.wait()
    assert got.wait(10)


def test_the_authority_is_made_once(tmp_path):
    certificates.ensure_authority(tmp_path)
    first = (tmp_path / "ca.pem").read_bytes()
    certificates.ensure_authority(tmp_path)
    assert (tmp_path / "ca.pem").read_bytes() == first
    assert belongs_together(tmp_path)
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.key", "ca.pem"]


@pytest.mark.parametrize("lost", ["ca.key", "ca.pem"])
def test_half_an_authority_is_made_anew(tmp_path, lost):
    certificates.ensure_authority(tmp_path)
    (tmp_path / lost).unlink()
    certificates.ensure_authority(tmp_path)
    assert belongs_together(tmp_path)


def test_a_key_of_another_certificate_is_made_anew(tmp_path):
    for name in ("one", "two"):
        certificates.ensure_authority(tmp_path / name)
    (tmp_path / "two/ca.key").replace(tmp_path / "one/ca.key")
    assert not belongs_together(tmp_path / "one")
    certificates.ensure_authority(tmp_path / "one")
    assert belongs_together(tmp_path / "one")


def test_what_a_killed_build_left_is_removed(tmp_path):
    (tmp_path / "build-old/root/dev").mkdir(parents=True)
    (tmp_path / "build-old/root/dev/null").write_text("")
    (tmp_path / "debian.img").write_text("")
    image.remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["debian.img"]


@pytest.mark.skipif("os.geteuid() != 0", reason="mounts need root")
def test_what_a_killed_build_left_mounted_is_unmounted_first(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    inside = tmp_path / "cache/build-old/root/dev"
    inside.mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(outside), str(inside)], check=True, timeout=10)
    busy = subprocess.Popen(["sleep", "60"], cwd=inside)
    try:
        with pytest.raises(CommandFailed):
            image.remove_unfinished(tmp_path / "cache")
        assert (outside / "precious").read_text() == "precious"
        busy.kill()
        busy.wait()
        image.remove_unfinished(tmp_path / "cache")
    finally:
        busy.kill()
        subprocess.run(["umount", str(inside)], check=False, capture_output=True, timeout=10)
    assert (outside / "precious").read_text() == "precious"
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_holder_without_its_process_1_can_be_ended(tmp_path):
    """What is left when `lab up` is killed after it wrote the holder down, before it found the holder's child."""
    where = Paths(tmp_path, tmp_path)
    where.run.mkdir()
    holder = subprocess.Popen(["sh", "-c", "sleep 61 & wait"], start_new_session=True)
    while not (children := namespace._children(holder.pid)):
        time.sleep(0.01)
    namespace._write_down(where, holder.pid)
    with pytest.raises(namespace.LabDown):
        namespace.first_process(where)
    namespace.destroy(where)
    assert holder.wait(5) == -9
    ends = time.monotonic() + 10  # until whoever inherits orphans has waited for it
    while lives(children[0]) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not lives(children[0])


def test_a_holder_that_could_not_be_written_down_is_ended(tmp_path, monkeypatch):
    where = Paths(tmp_path, tmp_path)
    where.logs.mkdir(parents=True)
    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(namespace.subprocess, "Popen", Recorded)
    monkeypatch.setattr(namespace, "_write_down", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError, match="the disk is full"):
        namespace.create(where)
    assert started[0].wait(5) != 0
    assert (where.logs / "supervisor.log").read_text() == ""


def test_a_lab_that_ends_just_now_is_down(tmp_path, monkeypatch):
    with subprocess.Popen(["true"]) as ended:
        limit = time.monotonic() + 10
        while lives(ended.pid):
            assert time.monotonic() < limit
            time.sleep(0.01)
        monkeypatch.setattr(namespace, "first_process", lambda _: ended.pid)
        with pytest.raises(namespace.LabDown, match="is down"):
            namespace.execute(Paths(tmp_path, tmp_path), ["true"], {})
