# SPDX-License-Identifier: GPL-3.0-or-later
"""One lab of the campaign: up, seeded, looked into and set right again."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mayfly_lab import paths, rpc
from mayfly_lab.faults import Faults

from tests.labs import ROOT, Lab

from . import processes, states
from .cases import LabFault
from .promises import LEASE_SECONDS

_DEADLINE_SECONDS = 7200
_MEMORY = Path("/dev/shm")


class SiteError(RuntimeError):
    """The lab, or what looks into it, does not do what it should."""


class Site:
    """A lab with one small source, whose volumes never change: every restore point must have their digests."""

    def __init__(self, state: Path) -> None:
        self.memory = _MEMORY / f"faults-{state.name}-{secrets.token_hex(3)}"
        self.lab = Lab(state, {"XDG_RUNTIME_DIR": str(self.memory)})
        self.inventory = state / "inventory"
        self.base: dict[str, list[str]] = {}
        self.digests: dict[str, str] = {}
        self.host = ""
        self._where = paths.Paths(state, paths.current().cache)
        self._probe: subprocess.Popen[str] | None = None
        self._asking = threading.Lock()
        self._verified: set[str] = set()

    @property
    def name(self) -> str:
        """For people, and in ids of runs."""
        return self.lab.state.name

    @property
    def faults(self) -> Faults:
        """The lab's own list."""
        return Faults(self._where.run)

    def up(self) -> None:
        """Start the lab, seed it, make the repository and a first backup. Raises SiteError."""
        self.memory.mkdir(mode=0o700)
        self._lab("down")  # what an earlier campaign may have left there
        self._lab("up", wait=600)
        self._lab("exec", "--", "python", "-m", "tests.faults.seeding", str(self.inventory), wait=300)
        self.host = next(iter(json.loads((self.inventory / "ec2.yml").read_text())["ec2"]["hosts"]))
        words = self.lab.words("exec", "--", "python", "-m", "tests.faults.probe")
        log = (self.lab.state / "probe.log").open("a")
        self._probe = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT,
            env=self.lab.variables(), start_new_session=True,
        )  # fmt: skip
        self.ask("shrink", instance=self.host.rpartition("_")[2])
        self._lab("exec", "--", "ansible-playbook", "-i", str(self.inventory / "repositories.yml"),
                  "playbooks/repository_create.yml")  # fmt: skip
        volumes = [each.split()[0] for each in self.ask("state", everywhere=False)["volume"] if "production" in each]
        self.digests = self.lab.digests(*volumes)
        self.base = self.state()

    def down(self) -> None:
        """End the lab and all that belongs to it."""
        with suppress(Exception):
            if self._probe is not None and self._probe.stdin is not None:
                self._probe.stdin.close()
                self._probe.wait(5)
        folders = processes.folders_of(str(self.lab.state))
        self.lab.run("down", wait=120)
        for folder in (*folders, self.memory):
            shutil.rmtree(folder, ignore_errors=True)

    def ask(self, call: str, **arguments: Any) -> Any:
        """What the probe says. Raises SiteError."""
        with self._asking:
            probe = self._probe
            if probe is None or probe.stdin is None or probe.stdout is None:
                raise SiteError("there is no probe")
            probe.stdin.write(json.dumps({"call": call, **arguments}) + "\n")
            probe.stdin.flush()
            line = probe.stdout.readline()
        if not line:
            raise SiteError(f"the probe of {self.name} has ended; {self.lab.state}/probe.log says why")
        answer = json.loads(line)
        if "error" in answer:
            raise SiteError(f"{call}: {answer['error']}")
        return answer["result"]

    def supervisor(self, call: str, **arguments: Any) -> Any:
        """A call to the lab's supervisor."""
        return rpc.Client(self._where.supervisor_socket).call(call, **arguments)

    def on_host(self, instance: str, *words: str) -> str:
        """What a command says as root on a host. Raises SiteError."""
        done = self.lab.run("exec", "--host", instance, "--", *words, wait=30)
        if done.returncode != 0:
            raise SiteError(f"{' '.join(words)} on {instance}: {done.stdout} {done.stderr}")
        return done.stdout

    def state(self, *, everywhere: bool = True, run: str = "", folder: str = "") -> dict[str, list[str]]:
        """All there is: in the accounts, of hosts, and of ``run`` on this machine (processes, folders in memory)."""
        found: dict[str, list[str]] = self.ask("state", everywhere=everywhere)
        found["host"] = [each["instance_id"] for each in self.supervisor("hosts") if each["state"] != "dead"]
        found["process"] = [f"{each.pid} {' '.join(each.words)[:60]}" for each in processes.of_run(run)] if run else []
        found["folder"] = [str(each) for each in self.memory.iterdir()]
        if folder and Path(folder).exists():
            found["folder"].append(folder)
        return found

    def differences(self, *, everywhere: bool = True, run: str = "", folder: str = "") -> list[str]:
        """What there is more than at the beginning, and what is lost."""
        now = self.state(everywhere=everywhere, run=run, folder=folder)
        if not everywhere:
            return states.more(self.base, now)
        return [
            *states.more(self.base, now), *states.missing(self.base, now),
            *states.doubled(self.ask("references")),
        ]  # fmt: skip

    def hurt(self, fault: LabFault) -> str:
        """Ask the lab for a fault; its id."""
        return self.faults.add(fault.kind, fault.times, **dict(fault.options)).identity

    def met(self, identities: Iterable[str]) -> bool:
        """Whether each of these faults has spoiled an answer."""
        known = {fault.identity: fault.met for fault in self.faults.all()}
        return all(known.get(each) for each in identities)

    def heal(self) -> None:
        """Take all faults back, those of hosts too."""
        self.faults.clear()
        for host in self.supervisor("hosts"):
            if host["cut"]:
                with suppress(rpc.RpcError):
                    self.supervisor("mend_network", instance_id=host["instance_id"])

    def clean(self, leaks: list[str]) -> list[str]:
        """Remove by force what a case has left; what could not be removed."""
        for each in leaks:
            kind, _, rest = each.partition(" ")
            if kind == "process":
                processes.send(int(rest.split()[0]), 9)
            elif kind == "folder":
                shutil.rmtree(rest, ignore_errors=True)
        ends = time.monotonic() + 30
        failed: list[str] = []
        while time.monotonic() < ends:
            left = [each for each in self.differences() if not each.startswith("lost")]
            if not left:
                return []
            failed = self.ask("remove", things=[each.replace(" (reference", " (backup") for each in left])
            time.sleep(1.0)
        return failed or self.differences()

    def clean_folder(self, folder: str) -> None:
        """Remove a folder that runs have left in memory."""
        shutil.rmtree(folder, ignore_errors=True)

    def settings(self, **more: Any) -> Path:
        """A file of settings for one run."""
        # Little has changed since the backup before: only a full one can be hurt while it transfers.
        common = {"mayfly_lease": LEASE_SECONDS, "mayfly_deadline": _DEADLINE_SECONDS, "mayfly_full_backup": True}
        values = {**common, **more}
        path = self.lab.state / f"settings-{secrets.token_hex(4)}.json"
        path.write_text(json.dumps(values))
        return path

    def new_points(self) -> tuple[int, list[str]]:
        """How many restore points there are that were not read before, and what is wrong with them."""
        new = sorted(set(self.ask("points")) - self._verified)
        if not new:
            return 0, []
        wrong = []
        try:
            found = self.ask("verify", points=new)
        except SiteError as error:
            return len(new), [f"{', '.join(new)}: {str(error)[-300:]}"]
        for point in new:
            if found.get(point) != self.digests:
                wrong.append(f"{point} is not what its volumes are: {found.get(point)}")
        self._verified.update(new)
        return len(new), wrong

    def report(self, run: str) -> Mapping[str, Any] | None:
        """The report of a run as it is now."""
        with suppress(FileNotFoundError):
            report: dict[str, Any] = json.loads((self.lab.runs / run / "report.json").read_text())
            return report
        return None

    def log(self, run: str) -> str:
        """What the keepers of a run have said."""
        path = self.lab.runs / run / "keeper.log"
        return path.read_text() if path.exists() else ""

    def _lab(self, *words: str, wait: float = 120) -> None:
        done = self.lab.run(*words, wait=wait)
        if done.returncode != 0:
            raise SiteError(f"lab {' '.join(words)}: {done.stdout[-2000:]} {done.stderr[-2000:]}")
