# SPDX-License-Identifier: GPL-3.0-or-later
"""The keeper's SSH connections: its keys and options as OpenSSH itself reads them, and what becomes of a lost worker.

Where nothing answers, the program is OpenSSH's own ``ssh``. A worker that answers is a shell in its place, which
behaves as a master does; real workers are the lab's.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import ssh
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.ssh import (
    Connection,
    KeyPair,
    SshError,
    port_answers,
    write_secret,
)

pytestmark = pytest.mark.timeout(60)
ALIAS = "i-0123456789abcdef0"
LOCAL = "127.0.0.1"
# Takes ssh's own options and an address; runs the command here, without sudo, and its lease in a folder of its own.
WORKER = """\
#!/bin/sh
master=no
while :; do
  case $1 in
    -o) case $2 in
          ControlPath=*) path=${2#*=} ;;
          ControlMaster=yes) master=yes ;;
        esac; shift 2 ;;
    -F) shift 2 ;;
    -T) shift ;;
    *) shift; break ;;
  esac
done
if [ $master = no ]; then
  [ -e "$path" ] || { echo 'no master' >&2; exit 255; }
  eval "$(echo "$1" | sed 's/^sudo -n //')"
  exit
fi
echo $$ >"$path"
eval "$(echo "$1" | sed "s/^exec sudo -n /exec /; s#/run/mayfly#$LEASE_FOLDER#g")"
"""


def port(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


@pytest.fixture
def mute() -> Iterator[socket.socket]:
    """A port that takes connections and never says anything."""
    with socket.create_server((LOCAL, 0)) as listening:
        yield listening


@pytest.fixture
def closed() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server((LOCAL, 0)) as listening:
        return port(listening)


def connection(folder: Path, number: int) -> Connection:
    """A connection to a port of this machine, with a key, and with a host key pinned."""
    key = KeyPair.generate()
    write_secret(folder / "key", key.private)
    made = Connection(
        address=LOCAL, port=number, user="mayfly", alias=ALIAS, folder=folder, key_file=folder / "key"
    )  # fmt: skip
    made.pin(key.public)
    return made


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """A connection to a worker that is there."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh").write_text(WORKER)
    (tmp_path / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("LEASE_FOLDER", str(tmp_path / "lease"))
    made = connection(tmp_path, 22)
    yield made
    made.remove()


class TestAKey:
    def test_is_one_that_openssh_reads(self, tmp_path: Path) -> None:
        key = KeyPair.generate()
        write_secret(tmp_path / "key", key.private)
        shown = subprocess.run(
            ["ssh-keygen", "-y", "-P", "", "-f", tmp_path / "key"], capture_output=True, text=True, check=True
        )
        assert shown.stdout.strip() == key.public
        assert key.public.startswith("ssh-ed25519 AAAA")
        assert len(key.public.split()) == 2

    def test_is_another_one_each_time(self) -> None:
        assert KeyPair.generate() != KeyPair.generate()


class TestASecret:
    @pytest.mark.parametrize("before", [None, 0o644], ids=["new", "over a file that all may read"])
    def test_is_this_users_alone(self, tmp_path: Path, before: int | None) -> None:
        path = tmp_path / "secret"
        if before is not None:
            path.write_text("old")
            path.chmod(before)
        mask = os.umask(0)
        try:
            write_secret(path, "new")
        finally:
            os.umask(mask)
        assert path.read_text() == "new"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(tmp_path.iterdir()) == [path]

    def test_follows_no_link_that_was_laid_out_for_it(self, tmp_path: Path) -> None:
        (tmp_path / "secret.new").symlink_to(tmp_path / "elsewhere")
        write_secret(tmp_path / "secret", "new")
        assert not (tmp_path / "elsewhere").exists()


def test_a_port_answers_or_does_not(mute: socket.socket, closed: int) -> None:
    assert port_answers(LOCAL, port(mute))
    assert not port_answers(LOCAL, closed)


def test_what_openssh_makes_of_the_options(tmp_path: Path) -> None:
    """Whatever the configuration of the user or the machine says: that is not read."""
    words = connection(tmp_path, 2222)._ssh()
    assert words[:3] == ["ssh", "-F", "none"]
    text = subprocess.run([words[0], "-G", *words[1:], "10.9.9.9"], capture_output=True, text=True, check=True).stdout
    shown = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    assert (shown["user"], shown["hostname"], shown["port"]) == ("mayfly", "10.9.9.9", "2222")
    assert shown["stricthostkeychecking"] in ("true", "yes")
    assert shown["userknownhostsfile"] == str(tmp_path / f"{ALIAS}.known_hosts")
    assert shown["globalknownhostsfile"] == "/dev/null"
    assert shown["hostkeyalias"] == ALIAS
    assert shown["identityfile"] == str(tmp_path / "key")
    assert (shown["identitiesonly"], shown["identityagent"], shown["forwardagent"]) == ("yes", "none", "no")
    assert (shown["batchmode"], shown["connecttimeout"]) == ("yes", "5")
    assert shown["controlpath"] == str(tmp_path / f"{ALIAS}.ssh")
    assert int(shown["serveralivecountmax"]) * int(shown["serveraliveinterval"]) == 30
    assert "proxyjump" not in shown


def test_only_the_key_that_was_pinned_last_is_known(tmp_path: Path) -> None:
    known = connection(tmp_path, 22)
    last = KeyPair.generate().public
    known.pin(f"{last}\n")
    assert known.known_hosts.read_text() == f"{ALIAS} {last}\n"
    found = ["ssh-keygen", "-F", ALIAS, "-f", str(known.known_hosts)]
    assert last in subprocess.run(found, capture_output=True, text=True, check=True).stdout


class TestAWorkerThatIsNotThere:
    def test_is_told_in_the_words_of_ssh(self, tmp_path: Path, closed: int) -> None:
        with pytest.raises(SshError, match="Connection refused"):
            connection(tmp_path, closed).open()

    def test_fails_a_command(self, tmp_path: Path, closed: int) -> None:
        with pytest.raises(KeeperError, match=f"{ALIAS} cannot be reached: .*Connection refused") as caught:
            connection(tmp_path, closed).run("true")
        assert caught.value.code == "WorkerUnreachable"

    def test_is_not_waited_for_longer_than_told(self, tmp_path: Path, mute: socket.socket) -> None:
        silent = connection(tmp_path, port(mute))
        began = time.monotonic()
        with pytest.raises(SshError):
            silent.open(timeout=0.5)
        with pytest.raises(KeeperError, match="took longer than 0 s") as caught:
            silent.run("true", timeout=0.4)
        assert caught.value.code == "WorkerCommandTimeout"
        assert time.monotonic() - began < 10
        assert silent._master is None


class TestAWorkerThatIsThere:
    def test_has_its_lease_renewed_when_it_is_opened_and_whenever_it_is_asked_to(
        self, tmp_path: Path, worker: Connection
    ) -> None:
        lease = tmp_path / "lease/lease"
        for renew in (worker.open, lambda: worker.renew(10)):
            renew()
            assert lease.read_text().strip().isdigit()
            lease.unlink()

    def test_is_opened_once(self, worker: Connection) -> None:
        worker.open()
        master = worker._master
        worker.open()
        assert worker._master is master

    def test_gives_what_a_command_prints(self, worker: Connection) -> None:
        worker.open()
        assert worker.run('tr a-z A-Z; echo "it\'s" done', stdin=b"said ") == b"SAID it's done\n"

    @pytest.mark.parametrize("command", ["echo no space >&2; exit 3", "echo no space; exit 3"])
    def test_tells_why_a_command_failed(self, worker: Connection, command: str) -> None:
        worker.open()
        with pytest.raises(KeeperError, match="ended with 3: no space") as caught:
            worker.run(command)
        assert caught.value.code == "WorkerCommandFailed"

    def test_says_no_more_than_its_end_of_a_long_error(self, worker: Connection) -> None:
        worker.open()
        with pytest.raises(KeeperError) as caught:
            worker.run("seq 1 100000 >&2; echo the last word >&2; exit 1")
        assert "the last word" in caught.value.message
        assert len(caught.value.message) < 700

    def test_whose_connection_was_lost_is_told_and_made_again(self, worker: Connection) -> None:
        worker.open()
        lost = worker._master
        assert lost is not None
        lost.kill()
        lost.wait(10)
        with pytest.raises(SshError, match="lost"):
            worker.renew(5)
        worker.open()
        worker.renew(5)
        assert worker._master is not lost

    def test_that_stands_still_is_told_and_its_master_is_killed(
        self, worker: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ssh, "_EXIT_SECONDS", 0.3)
        worker.open()
        master = worker._master
        assert master is not None
        master.send_signal(signal.SIGSTOP)
        with pytest.raises(SshError, match="did not renew"):
            worker.renew(0.3)
        assert master.poll() is not None
        assert worker._master is None

    def test_is_left_in_order(self, tmp_path: Path, worker: Connection) -> None:
        worker.open()
        master = worker._master
        assert master is not None
        worker.close()
        assert master.poll() is not None
        assert not worker.control_path.exists()
        assert worker.known_hosts.exists()

    def test_leaves_nothing_when_it_is_removed_and_is_never_opened_again(
        self, tmp_path: Path, worker: Connection
    ) -> None:
        worker.open()
        worker.remove()
        assert [path.name for path in tmp_path.glob(f"{ALIAS}*")] == []
        with pytest.raises(SshError, match="being terminated"):
            worker.open()
        worker.remove()
