# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive that is packed anew is the same whenever, wherever and by whomever it was made."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from tools.make_release import _settle


def packed(folder: Path, names: list[str], seconds: int) -> Path:
    """An archive of files and a link, in the order of their names here."""
    made = folder / "made.tar.gz"
    with tarfile.open(made, "w:gz") as archive:
        for name in names:
            path = folder / name
            path.write_text(f"this is {name}")
            os.utime(path, (seconds, seconds))
            archive.add(path, name)
        link = tarfile.TarInfo("link")
        link.type, link.linkname, link.mtime, link.uname = tarfile.SYMTYPE, "one", seconds, "somebody"
        archive.addfile(link)
    return made


def test_the_same_bytes_from_the_same_files(tmp_path: Path) -> None:
    found = []
    for number, names in enumerate((["one", "two"], ["two", "one"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = packed(folder, names, 1_700_000_000 + number)
        _settle(path, 1_800_000_000)
        found.append(path)
    assert found[0].read_bytes() == found[1].read_bytes()
    with tarfile.open(found[0]) as archive:
        assert archive.getnames() == ["link", "one", "two"]
        assert {member.mtime for member in archive} == {1_800_000_000}
        one = archive.extractfile("one")
        assert one is not None
        assert one.read() == b"this is one"
        assert archive.getmember("link").linkname == "one"
