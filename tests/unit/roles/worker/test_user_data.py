# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's own end: the lease script of the user data in a real shell, with an uptime that a test moves.

``sleep`` is a stand-in that lets the time pass at once, ``systemctl`` one that takes note of what it was asked.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import jinja2
import pytest

TEMPLATE = Path(__file__).parents[4] / "roles/worker/templates/user_data.sh.j2"
LEASE, DEADLINE = 30, 200
ENDS = 1000
FOLDERS = ("/run/mayfly", "/var/lib/mayfly", "/usr/local/sbin", "/etc/systemd/system", "/proc/uptime")

# Each second that is slept is one of uptime. What ``each-second`` holds is done in every one; at its end, the machine
# loses its power.
SLEEP = f"""\
#!/bin/sh
read -r up rest <$ROOT/proc/uptime
up=$((${{up%%.*}} + $1))
echo "$up.37 0.00" >$ROOT/proc/uptime
[ ! -e $ROOT/each-second ] || . $ROOT/each-second
[ "$up" -lt {ENDS} ] || kill -KILL $PPID
"""
SYSTEMCTL = """\
#!/bin/sh
read -r up rest <$ROOT/proc/uptime
echo "${up%%.*} $*" >>$ROOT/asked
case " $FAILS " in *" $1 "*) exit 1 ;; esac
"""
DATE = "#!/bin/sh\necho asked >>$ROOT/date-was-asked\n"
POWEROFF = ["poweroff --no-block", "poweroff --force --force"]


class Machine:
    """A worker below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in FOLDERS:
            (root / folder[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / "bin").mkdir()
        for name, text in (("sleep", SLEEP), ("systemctl", SYSTEMCTL), ("date", DATE)):
            (root / "bin" / name).write_text(text)
            (root / "bin" / name).chmod(0o755)
        self.boot()

    def boot(self) -> None:
        """As after a reboot: what is in memory is gone, and the uptime begins anew."""
        for each in self.path("/run/mayfly").glob("*"):
            each.unlink()
        if self.path("/run/mayfly").exists():
            self.path("/run/mayfly").rmdir()
        self.path("/proc/uptime").write_text("5.12 3.00\n")

    def path(self, name: str) -> Path:
        """Where something of the machine lies here."""
        return self.root / name[1:]

    def user_data(self) -> str:
        """The rendered user data up to the user's account, with the machine's paths."""
        text = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False).from_string(TEMPLATE.read_text())  # noqa: S701 - a shell script
        names = ("ssh_user", "authorized_key", "host_key", "ssh_port")
        values = {f"user_data_{name}": "x" for name in names}
        rendered = text.render(user_data_lease_seconds=LEASE, user_data_deadline_seconds=DEADLINE, **values)
        head, account, _ = rendered.partition("\nid x ")
        assert account
        for folder in FOLDERS:
            assert folder in head
            head = head.replace(folder, str(self.path(folder)))
        return head

    def sh(self, text: str, fails: str = "") -> int:
        """Run it as a shell script of its own; its code."""
        path = f"{self.root}/bin:{os.environ['PATH']}"
        environment = {"PATH": path, "ROOT": str(self.root), "FAILS": fails}
        return subprocess.run(["sh", "-c", text], env=environment, timeout=60, check=False).returncode

    def live(self, each_second: str = "") -> list[tuple[int, str]]:
        """(uptime, question to systemctl) of one life of the lease script, which ends with the machine's power."""
        script = self.user_data().partition("<<'LEASE'\n")[2].partition("\nLEASE\n")[0]
        (self.root / "each-second").write_text(each_second)
        self.path("/asked").unlink(missing_ok=True)
        self.sh(script)
        return self.asked()

    def asked(self) -> list[tuple[int, str]]:
        """What systemctl was asked."""
        if not self.path("/asked").exists():
            return []
        lines = [line.split(" ", 1) for line in self.path("/asked").read_text().splitlines()]
        return [(int(up), what) for up, what in lines]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A worker that has just booted, five seconds ago."""
    return Machine(tmp_path)


RENEW = "echo $up >$ROOT/run/mayfly/lease\n"
CLOCKS = {
    "a steady clock": "",
    "a clock set forward": "touch -d '2040-01-01' $ROOT/run/mayfly/* $ROOT/var/lib/mayfly/* 2>/dev/null\n",
    "a clock set back": "touch -d '1990-01-01' $ROOT/run/mayfly/* $ROOT/var/lib/mayfly/* 2>/dev/null\n",
}


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS.keys())
class TestTheLease:
    def test_that_is_not_renewed_powers_off_and_forces_it_after_a_minute(self, machine: Machine, clock: str) -> None:
        assert machine.live(clock) == [(5 + LEASE, POWEROFF[0]), (5 + LEASE + 60, POWEROFF[1])]

    def test_that_is_renewed_lives_until_the_deadline(self, machine: Machine, clock: str) -> None:
        assert machine.live(RENEW + clock) == [(5 + DEADLINE, POWEROFF[0]), (5 + DEADLINE + 60, POWEROFF[1])]

    def test_asks_no_clock(self, machine: Machine, clock: str) -> None:
        machine.live(clock)
        assert not machine.path("/date-was-asked").exists()


def test_a_lease_counts_from_its_last_renewal(machine: Machine) -> None:
    asked = machine.live(f'[ "$up" -gt 100 ] || {RENEW}')
    assert asked[0] == (100 + LEASE, POWEROFF[0])


def test_a_lease_that_cannot_be_read_for_a_moment_is_not_lost(machine: Machine) -> None:
    asked = machine.live(f": >$ROOT/run/mayfly/lease; [ $((up % 5)) -ne 0 ] || {RENEW}")
    assert asked[0] == (5 + DEADLINE, POWEROFF[0])


def test_the_deadline_counts_over_a_restart_of_the_unit(machine: Machine) -> None:
    """It is killed at 100 s, and systemd starts it again."""
    assert machine.live(f'{RENEW}[ "$up" -ne 100 ] || kill -KILL $PPID') == []
    assert machine.live(RENEW)[0] == (5 + DEADLINE, POWEROFF[0])


def test_the_deadline_counts_over_a_reboot(machine: Machine) -> None:
    """What was lived since it was last noted, ten seconds at most, and the time without power do not count."""
    assert machine.live(f'{RENEW}[ "$up" -ne 105 ] || kill -KILL $PPID') == []
    machine.boot()
    [(off, _), _] = machine.live(RENEW)
    assert 5 + DEADLINE - 100 <= off <= 5 + DEADLINE - 100 + 10


def test_a_lease_begins_anew_with_a_boot(machine: Machine) -> None:
    """The keeper needs time to find the worker again."""
    assert machine.live(f'{RENEW}[ "$up" -ne 105 ] || kill -KILL $PPID') == []
    machine.boot()
    assert machine.live()[0] == (5 + LEASE, POWEROFF[0])


@pytest.mark.parametrize("left", ["", "soon\n", "-5\n"])
def test_what_cannot_be_read_on_the_disk_keeps_no_worker_alive(machine: Machine, left: str) -> None:
    machine.path("/var/lib/mayfly").mkdir()
    machine.path("/var/lib/mayfly/lived").write_text(left)
    assert machine.live(RENEW)[0] == (5 + DEADLINE, POWEROFF[0])


def test_a_disk_that_takes_nothing_keeps_no_worker_alive(machine: Machine) -> None:
    machine.path("/var/lib/mayfly").write_text("a file where the folder should be")
    assert machine.live(RENEW)[0] == (5 + DEADLINE, POWEROFF[0])


@pytest.mark.parametrize("fails", ["", "daemon-reload", "enable", "daemon-reload enable"])
def test_the_unit_is_started_first_whatever_else_fails(machine: Machine, fails: str) -> None:
    assert machine.sh(machine.user_data(), fails) == 0
    words = [what.split()[0] for _, what in machine.asked()]
    assert words == ["daemon-reload", "start", "enable"]


def test_a_unit_that_cannot_be_started_ends_the_user_data(machine: Machine) -> None:
    """Nobody can log in to a worker without a lease, and so its launch fails."""
    assert machine.sh(machine.user_data(), "start") != 0


def test_systemd_restarts_the_unit_however_often_it_ends(machine: Machine) -> None:
    assert machine.sh(machine.user_data()) == 0
    unit = machine.path("/etc/systemd/system/mayfly-lease.service").read_text()
    section, _, rest = unit.partition("[Service]")
    assert "\nStartLimitIntervalSec=0\n" in section
    assert "\nRestart=always\n" in rest
