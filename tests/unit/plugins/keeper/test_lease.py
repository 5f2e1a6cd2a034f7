# SPDX-License-Identifier: GPL-3.0-or-later
"""The renewal of a lease: the loop in a real shell, in a folder of the test's own, and the thread that feeds it."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import lease
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.lease import RENEW, Beat, Renewer, interval
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.ssh import SshError

from tests.unit.plugins.keeper.fakes import until

FOLDER = "/run/mayfly"


@pytest.mark.parametrize(
    ("seconds", "every"),
    [(600, 60.0), (300, 30.0), (10, 1.0), (6000, 60.0), (86400, 60.0), (5, 0.5), (1, 0.5), (601, 60.0), (599, 59.9)],
)
def test_a_lease_is_renewed_ten_times_but_every_minute_at_least(seconds: int, every: float) -> None:
    assert interval(seconds) == pytest.approx(every)


Start = Callable[[Path], "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start the loop as on a worker, but in another folder."""
    begun: list[subprocess.Popen[bytes]] = []

    def begin(folder: Path) -> subprocess.Popen[bytes]:
        assert RENEW.count(FOLDER) == 2
        command = ["sh", "-c", RENEW.replace(FOLDER, str(folder))]
        begun.append(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        )
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait(10)
        for stream in (process.stdin, process.stdout):
            stream.close()  # type: ignore[union-attr]


def uptime() -> int:
    """Whole seconds since this machine has started."""
    return int(float(Path("/proc/uptime").read_text().split()[0]))


class TestTheLoop:
    def test_writes_the_machines_own_uptime_at_each_renewal(self, start: Start, tmp_path: Path) -> None:
        folder = tmp_path / "made/by/the/loop"
        beat = Beat(start(folder))
        for _ in range(3):
            before = uptime()
            beat.renew(10)
            assert before <= int((folder / "lease").read_text()) <= uptime()
        assert [path.name for path in folder.iterdir()] == ["lease"]

    def test_writes_nothing_before_it_is_asked(self, start: Start, tmp_path: Path) -> None:
        start(tmp_path / "mayfly")
        time.sleep(0.2)
        assert not (tmp_path / "mayfly/lease").exists()

    def test_replaces_the_lease_whole(self, start: Start, tmp_path: Path) -> None:
        beat = Beat(start(tmp_path))
        beat.renew(10)
        first = (tmp_path / "lease").stat().st_ino
        with (tmp_path / "lease").open() as before:
            beat.renew(10)
            assert before.read().strip().isdigit()
        assert (tmp_path / "lease").stat().st_ino != first

    def test_ends_with_its_input(self, start: Start, tmp_path: Path) -> None:
        process = start(tmp_path)
        Beat(process).renew(10)
        process.stdin.close()  # type: ignore[union-attr]
        assert process.wait(10) == 0

    def test_tells_when_it_has_ended(self, start: Start, tmp_path: Path) -> None:
        process = start(tmp_path)
        beat = Beat(process)
        beat.renew(10)
        process.kill()
        process.wait(10)
        with pytest.raises(OSError, match=r"Broken pipe|has ended"):
            beat.renew(10)

    def test_tells_when_the_folder_cannot_be_made(self, start: Start, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        beat = Beat(start(tmp_path / "file/mayfly"))
        with pytest.raises(OSError, match=r"Broken pipe|has ended"):
            beat.renew(10)

    def test_tells_when_the_lease_cannot_be_written(self, start: Start, tmp_path: Path) -> None:
        folder = tmp_path / "mayfly"
        beat = Beat(start(folder))
        beat.renew(10)
        (folder / "lease").unlink()
        folder.rmdir()
        with pytest.raises(OSError, match=r"Broken pipe|has ended"):
            beat.renew(10)

    def test_is_not_waited_for_when_it_hangs(self, start: Start, tmp_path: Path) -> None:
        process = start(tmp_path)
        beat = Beat(process)
        beat.renew(10)
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            beat.renew(0.2)
        assert 0.19 <= time.monotonic() - began < 5


def test_an_answer_in_pieces_is_put_together(tmp_path: Path) -> None:
    script = "read -r line; for part in re new 'ed\n'; do printf %s \"$part\"; sleep 0.05; done"
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        Beat(process).renew(10)
        process.stdin.close()  # type: ignore[union-attr]


@pytest.mark.parametrize("missing", ["stdin", "stdout"])
def test_the_loop_needs_both_its_pipes(missing: str) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, missing: subprocess.DEVNULL}
    process = subprocess.Popen(["true"], **pipes)
    with process, pytest.raises(ValueError, match="pipes"):
        Beat(process)


class Master:
    """A connection that is renewed; ``failures`` says which renewals fail, and ``error`` how."""

    def __init__(self, *failures: int, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or SshError("the network is cut")
        self.opened: list[float] = []
        self.renewed: list[float] = []

    def open(self) -> None:
        self.opened.append(time.monotonic())
        if len(self.opened) in self.failures:
            raise self.error

    def renew(self, timeout: float) -> None:
        assert timeout >= 5
        self.renewed.append(time.monotonic())


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A renewal every 40 ms, a first pause of 10 ms and a longest one of 40 ms."""
    monkeypatch.setattr(lease, "interval", lambda _lease: 0.04)
    monkeypatch.setattr(lease, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(lease, "_LONGEST_PAUSE", 0.04)


@pytest.mark.usefixtures("often")
class TestTheRenewer:
    def test_renews_again_and_again_until_it_is_stopped(self) -> None:
        master = Master()
        renewer = Renewer("i-1", master, 600)
        before = renewer.last
        renewer.start()
        until(lambda: len(master.renewed) >= 3)
        renewer.stop()
        assert renewer.last > before
        assert master.renewed[1] - master.renewed[0] >= 0.035
        time.sleep(0.1)
        count = len(master.renewed)
        time.sleep(0.1)
        assert len(master.renewed) == count

    @pytest.mark.parametrize(
        "error",
        [SshError("the network is cut"), OSError("no more processes"), subprocess.TimeoutExpired("ssh", 5)],
        ids=repr,
    )
    def test_goes_on_whatever_fails_and_waits_longer_each_time(self, error: Exception) -> None:
        master = Master(1, 2, 3, 4, error=error)
        renewer = Renewer("i-1", master, 600)
        before = renewer.last
        renewer.start()
        until(lambda: len(master.renewed) >= 1)
        renewer.stop()
        pauses = [later - earlier for earlier, later in zip(master.opened, master.opened[1:], strict=False)]
        assert len(pauses) >= 4
        assert all(pause >= wait for pause, wait in zip(pauses, (0.01, 0.02, 0.04, 0.04), strict=False))
        assert renewer.last > before

    def test_opens_the_connection_before_each_renewal(self) -> None:
        master = Master()
        renewer = Renewer("i-1", master, 600)
        renewer.start()
        until(lambda: len(master.renewed) >= 2)
        renewer.stop()
        assert len(master.opened) >= 2
        assert all(opened <= renewed for opened, renewed in zip(master.opened, master.renewed, strict=False))


def test_the_renewer_ends_at_once_when_it_is_stopped() -> None:
    renewer = Renewer("i-of-this-test", Master(), 600)
    renewer.start()
    [thread] = [each for each in threading.enumerate() if each.name == "lease-i-of-this-test"]
    renewer.stop()
    thread.join(5)
    assert not thread.is_alive()
