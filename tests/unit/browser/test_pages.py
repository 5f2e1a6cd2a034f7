# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page is for: folders, searches, files and archives, asked for as the page asks."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import pytest
import zstandard
from mayfly_agent.browser.names import portable

from tests.unit.browser.conftest import HOSTILE
from tests.unit.browser.site import Site, served, until

pytestmark = pytest.mark.timeout(300)


def test_a_huge_folder_comes_by_pages(site: Site, huge: Path) -> None:
    began = time.monotonic()
    first = site.entries(b"huge", limit=200).json
    took = time.monotonic() - began
    assert (first["total"], first["folders"]) == (100_000, 1)
    assert [each["name"] for each in first["entries"][:4]] == ["many", "file-0", "file-1", "file-2"]
    last = site.entries(b"huge", limit=200, offset=99_800).json["entries"]
    assert [each["name"] for each in last[-2:]] == ["file-99997", "file-99998"]
    began = time.monotonic()
    assert site.entries(b"huge", limit=200, offset=50_000).json["entries"][0]["name"] == "file-49999"
    assert time.monotonic() - began < max(took, 1)  # its order is known by then
    backwards = site.entries(b"huge", sort="name", order="descending").json["entries"]
    assert [each["name"] for each in backwards[:2]] == ["many", "file-99998"]


def test_a_folder_is_sorted_as_asked(site: Site) -> None:
    by_size = site.entries(b"srv", sort="size", order="descending").json["entries"]
    assert [each["name"] for each in by_size] == ["photos", "random.bin", "report.txt", "empty"]
    by_time = site.entries(b"srv", sort="modified").json["entries"]
    assert by_time[1]["name"] == "report.txt"
    assert by_time[1]["modified"] == 1_700_000_000.25
    for wrong in ({"sort": "mode"}, {"limit": 0}, {"limit": 1001}, {"offset": -1}, {"offset": "x"}):
        assert site.entries(b"srv", **wrong).status == 400


def test_a_search_tells_what_it_finds(site: Site) -> None:
    *found, last = site.ask("/api/search", volume="v1", path="", words="REPORT").lines
    assert {"/srv", "/links"} >= {each["found"]["folder"] for each in found if "found" in each}
    assert last == {"ended": "complete", "looked": last["looked"], "unreadable": 0}
    names = [
        each["found"]["name"] for each in site.ask("/api/search", volume="v1", words="*.png").lines if "found" in each
    ]
    assert names == ["sunset.png"]
    assert site.ask("/api/search", volume="v1", words=" ").status == 400


def test_a_search_has_an_end(site: Site, huge: Path) -> None:
    *found, last = site.ask("/api/search", volume="v1", path="huge", words="file").lines
    assert len([each for each in found if "found" in each]) == 1000
    assert last["ended"] == "many"


def test_files_come_in_whole_and_in_part(site: Site, volume: Path) -> None:
    data = (volume / "srv/random.bin").read_bytes()
    whole = site.ask("/api/file", volume="v1", path="srv/random.bin")
    assert (whole.status, whole.body, whole.headers["accept-ranges"]) == (200, data, "bytes")
    tag = whole.headers["etag"]
    for wanted, status, expected in (
        ("bytes=0-0", 206, data[:1]),
        ("bytes=1000000-", 206, data[1_000_000:]),
        ("bytes=-5", 206, data[-5:]),
        ("bytes=2999999-9999999", 206, data[-1:]),
        ("bytes=0-1,5-6", 200, data),  # of several ranges, all of it
        ("bytes=9-1", 200, data),
        ("lines=1-2", 200, data),
        ("bytes=3000000-", 416, None),
        ("bytes=-0", 416, None),
    ):
        for unless_changed in ("", tag):
            answer = site.ask(
                "/api/file", volume="v1", path="srv/random.bin", headers={"range": wanted, "if-range": unless_changed}
            )
            assert answer.status == status, wanted
            assert expected is None or answer.body == expected
    changed = {"range": "bytes=0-0", "if-range": '"another"'}
    assert site.ask("/api/file", volume="v1", path="srv/random.bin", headers=changed).body == data
    assert site.ask("/api/file", volume="v1", path="srv").status == 403


def test_previews_show_text_and_images(site: Site) -> None:
    def look(path: str) -> dict[str, object]:
        found: dict[str, object] = site.ask("/api/preview", volume="v1", path=path).json
        return found

    assert look("etc/hostname")["text"] == "web-1\n"
    assert look("srv/photos/sunset.png")["kind"] == "image"
    assert look("srv/random.bin")["kind"] == "none"
    assert look("srv/empty")["text"] == ""
    assert site.ask("/api/image", volume="v1", path="srv/photos/sunset.png").headers["content-type"] == "image/png"
    assert site.ask("/api/image", volume="v1", path="srv/report.txt").status == 415


def test_a_tar_is_what_is_on_the_volume(site: Site, volume: Path, tmp_path: Path) -> None:
    packed = site.archive([b"etc", b"srv", b"odd", b"links"], "tar.zst")
    subprocess.run(
        ["tar", "--zstd", "-xf", "-", "-C", str(tmp_path)], input=packed, check=True, timeout=60, capture_output=True
    )
    for name in ("etc", "srv", "odd"):
        done = subprocess.run(
            ["diff", "-r", "--no-dereference", str(volume / name), str(tmp_path / name)], check=False, timeout=60
        )
        assert done.returncode == 0
    report = (tmp_path / "srv/report.txt").stat()
    assert (report.st_mode & 0o777, report.st_mtime) == (0o640, 1_700_000_000.25)
    assert (tmp_path / "links/outside").readlink() == volume.parent / "outside/secret.txt"
    notes = (tmp_path / "NOT-IN-THIS-ARCHIVE.txt").read_text()
    assert [line.partition(":")[0] for line in notes.splitlines()] == ["/links/device", "/links/pipe", "/links/socket"]


def test_a_zip_has_names_that_every_system_takes(site: Site, volume: Path) -> None:
    packed = zipfile.ZipFile(io.BytesIO(site.archive([b"odd", b"srv/report.txt"])))
    assert packed.testzip() is None
    names = set(packed.namelist())
    assert "srv/report.txt" in names
    assert packed.read("srv/report.txt") == (volume / "srv/report.txt").read_bytes()
    assert packed.getinfo("srv/report.txt").date_time == (2023, 11, 14, 22, 13, 20)
    for name in HOSTILE:
        assert packed.read(portable((b"odd", name))) == b"content of " + name
    assert not any(character in name for name in names for character in '\\:*?"<>|\n\r\u202e')


def test_a_zip_of_many_files_is_whole_and_tells_how_far_it_is(site: Site, huge: Path) -> None:
    packed = zipfile.ZipFile(io.BytesIO(site.archive([b"many"], base=b"huge")))
    assert len(packed.namelist()) == 50_001
    assert packed.read("many/49999.txt") == b"49999"
    newest = site.ask("/api/watch").json["downloads"][0]
    assert newest["state"] == "done"
    assert newest["files"] == 50_000
    until(lambda: site.ask("/api/watch").json["downloads"][0]["total_files"] == 50_000)


def test_a_download_is_one_session_s_and_only_once(site: Site) -> None:
    made = site.ask("/api/downloads", body={"volume": "v1", "path": "", "paths": ["etc"], "format": "zip"}).json
    address = f"/api/downloads/{made['id']}"
    first = site.cookie
    site.enter()
    assert site.ask(address).status == 404
    site.cookie = first
    assert (site.ask(address).status, site.ask(address).status) == (200, 409)


def test_a_download_that_nobody_takes_any_more_ends(site: Site, volume: Path) -> None:
    big = volume / "big"
    with big.open("wb") as stream:
        stream.truncate(8 << 30)
    made = site.ask("/api/downloads", body={"volume": "v1", "path": "", "paths": ["big"], "format": "tar.zst"}).json
    connection = site.connect()
    connection.request("GET", "/api/file?volume=v1&path=big", headers={"cookie": site.cookie})
    assert connection.getresponse().read(1 << 20) == bytes(1 << 20)
    connection.close()
    connection = site.connect()
    connection.request("GET", f"/api/downloads/{made['id']}", headers={"cookie": site.cookie})
    connection.getresponse().read(1000)
    assert site.told()["state"] == "running"
    connection.close()
    until(lambda: site.ask("/api/watch").json["downloads"][0]["state"] == "broken")
    made = site.ask("/api/downloads", body={"volume": "v1", "path": "", "paths": ["big"], "format": "tar.zst"}).json
    connection = site.connect()
    connection.request("GET", f"/api/downloads/{made['id']}", headers={"cookie": site.cookie})
    answer = connection.getresponse()
    answer.read(1000)
    assert site.ask(f"/api/downloads/{made['id']}/cancel", body={}).json["state"] == "canceled"
    with pytest.raises((http.client.IncompleteRead, OSError)):  # nobody takes it for whole
        answer.read()
    connection.close()

    def opened() -> list[str]:
        folder = Path(f"/proc/{site.process.pid}/fd")
        return [os.readlink(each) for each in folder.iterdir() if each.is_symlink()]  # noqa: PTH115

    until(lambda: not any(each.endswith("/big") for each in opened()))
    assert int((Path(f"/proc/{site.process.pid}/status")).read_text().partition("VmHWM:")[2].split()[0]) < 1_000_000


def test_files_go_back_with_all_that_they_have(site: Site, volume: Path, tmp_path: Path) -> None:
    os.setxattr(volume / "srv/report.txt", "user.note", b"\xff\x00 kept")
    body = {"volume": "v1", "path": "srv", "paths": ["report.txt", "photos"], "mode": "keep"}
    asked = site.ask("/api/put-back", body=body)
    assert asked.status == 201
    given = site.state.parent / "given"
    command = ["mayfly_agent.browser.main", "export", str(given), str(site.state), asked.json["id"]]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, check=True, timeout=60)
    unpack = ["tar", "-x", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", str(tmp_path)]
    subprocess.run(unpack, input=done.stdout, check=True, timeout=60, capture_output=True)
    restored = tmp_path / "srv/restored-report.txt"
    assert restored.read_bytes() == (volume / "srv/report.txt").read_bytes()
    assert os.getxattr(restored, "user.note") == b"\xff\x00 kept"
    assert restored.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "srv/restored-photos/sunset.png").exists()
    assert site.ask("/api/watch").json["put_back"][0]["state"] == "waiting"
    answers = site.state / "answers"
    answers.mkdir()
    (answers / f"{asked.json['id']}.json").write_text('{"state": "done", "files": 2, "bytes": 20938}')
    told = site.ask("/api/watch").json["put_back"][0]
    assert (told["state"], told["files"], told["first"], told["chosen"]) == ("done", 2, "/srv/report.txt", 2)
    for wrong in ({"mode": "replace"}, {"paths": [""]}):
        assert site.ask("/api/put-back", body={**body, **wrong}).status in (400, 403)


def test_everything_that_was_asked_for_is_logged(site: Site) -> None:
    site.entries(b"odd")
    site.ask("/api/file", volume="v1", path="srv/report.txt", headers={"range": "bytes=0-9"})
    site.archive([b"hostname"], base=b"etc")
    actions = ("list", "file", "archive", "download")
    # What is sent is told when all of it was sent, the one after the next or before it.
    until(lambda: {each["action"] for each in site.log()[-4:]} == set(actions))
    found = {each["action"]: each for each in site.log()[-4:]}
    listed, file, archive, download = (found[action] for action in actions)
    assert (listed["action"], listed["path"], listed["status"]) == ("list", "odd", 200)
    assert (file["action"], file["path"], file["range"], file["bytes"]) == ("file", "srv/report.txt", "bytes=0-9", 10)
    assert (archive["action"], archive["path"], archive["paths"]) == ("archive", "etc", ["hostname"])
    assert (download["action"], download["download"]) == ("download", archive["download"])
    assert {each["who"] for each in (listed, file, archive, download)} == {listed["who"]} != {""}
    assert all(each["address"] == "127.0.0.1" and each["time"] for each in (listed, file, archive, download))


def test_the_end_is_for_everybody(volume: Path, tmp_path: Path) -> None:
    with served(volume, tmp_path) as site:
        assert site.enter().status == 200
        assert site.ask("/api/end", body={}).status == 200
        assert site.ask("/api/entries", volume="v1").status == 410
        assert site.enter().status == 410
        assert site.ask("/").status == 200  # the page says so
        assert site.ask("/", method="HEAD").status == 405
        until(lambda: site.told()["state"] == "ended")
        told = site.told()
        assert (told["reason"], told["by"]) == ("asked", "browser-1 at 127.0.0.1")


@pytest.mark.parametrize(("limit", "reason"), [("idle_seconds", "idle"), ("lifetime_seconds", "deadline")])
def test_it_ends_by_itself(volume: Path, tmp_path: Path, limit: str, reason: str) -> None:
    with served(volume, tmp_path, **{limit: 4}) as site:
        site.enter()
        until(lambda: site.told()["state"] == "ended")  # and nobody asks meanwhile
        assert site.told()["reason"] == reason
        assert site.enter().status == 410


def test_it_looks_into_what_is_deeper_than_a_path_is_long(site: Site, volume: Path) -> None:
    names = [b"d" * 250] * 30
    at = os.open(volume, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    with os.fdopen(os.open("deep.txt", os.O_CREAT | os.O_WRONLY, dir_fd=at), "w") as stream:
        stream.write("found")
    os.close(at)
    deep = b"/".join(names)
    assert site.entries(deep).json["total"] == 1
    assert site.ask("/api/file", volume="v1", path=f"{deep.decode()}/deep.txt").body == b"found"
    with tarfile.open(
        fileobj=zstandard.ZstdDecompressor().stream_reader(site.archive([names[0]], "tar.zst")), mode="r|"
    ) as tar:
        assert max(len(entry.name) for entry in tar) > 7500
    assert hashlib.sha256(site.archive([names[0]])).hexdigest()


def test_requests_at_once_do_not_wait_for_each_other(site: Site, huge: Path) -> None:
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(site.entries(b"etc").status)) for _ in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert answers == [200] * 20
