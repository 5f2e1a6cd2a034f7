# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lives of workers that do nothing cost the control node: ours, and the same by amazon.aws's modules alone.

Both run on the same seeded lab, whose hosts really boot, beside the control node and on its processors. So what the
boots alone take is measured too: one RunInstances for all, until SSH answers on each.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.ssh import KeyPair, write_secret

from tests.benchmarks.aims import Aims
from tests.labs import ROOT, Lab

_REGION = "us-east-1"
_ACCOUNT, _CONTROL_NODE = "111122223333", "10.255.0.10/32"  # of the lab's backup account, and in its settings
_DEBIAN = "136693071363"
_TYPE = "c6a.large"
_USER = "mayfly"
_OURS, _PLAIN = "worker_life", "plain_worker_life"
_PLAYBOOKS = ROOT / "tests/benchmarks/playbooks"
# As this project's, without the callback that starts a keeper.
_PLAIN_CONFIGURATION = "[defaults]\nforks = 20\n[connection]\npipelining = True\n"
_LIMIT = 900.0
_TIMES_CPU, _TIMES_WALL = 5.0, 3.0
# RunInstances, TerminateInstances, and its share of the looks, which are for all at once.
_CALLS = 5.0
_LINE = re.compile(r" INFO (\S+) (\S+) [0-9]+ ")


@dataclass(frozen=True)
class Life:
    """Of so many workers: seconds until all are terminated, processor seconds of the control node, calls by name.

    ``behind_cpu_seconds`` are part of them: those of the keeper with its ssh processes.
    """

    workers: int
    seconds: float
    cpu_seconds: float
    behind_cpu_seconds: float
    calls: dict[str, int]

    @property
    def cpu_each(self) -> float:
        return self.cpu_seconds / self.workers

    @property
    def calls_each(self) -> float:
        return sum(self.calls.values()) / self.workers

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.cpu_each:.2f} CPU s and {self.calls_each:.1f} calls a worker"


def worker_life(lab: Lab, folder: Path, aims: Aims, counts: tuple[int, ...]) -> list[tuple[Life, Life]]:
    """Ours and the plain one for each count of workers; aims are those of the last. ``folder`` takes inventories."""
    lives = []
    for count in counts:
        boots = _boots(lab, folder, count)
        ours = _life(lab, _OURS, folder, count)
        plain = _life(lab, _PLAIN, folder, count)
        lives.append((ours, plain))
        name = f"worker_life of {count}"
        aims.note(name, f"{ours}; {_named(ours)}")
        aims.note(f"{name} by amazon.aws", f"{plain}; {_named(plain)}")
        aims.note(f"{name}, the boots alone", f"{boots:.1f} s until SSH answers on all")
    name, more = f"worker_life of {counts[-1]}", "that of amazon.aws by ours"
    ours, plain = lives[-1]
    aims.at_least(f"{name}, CPU", plain.cpu_seconds / ours.cpu_seconds, _TIMES_CPU, "times", more)
    aims.at_least(f"{name}, wall", plain.seconds / ours.seconds, _TIMES_WALL, "times", more)
    aims.below(f"{name}, calls", ours.calls_each, _CALLS, "a worker")
    return lives


def inventory(folder: Path, count: int) -> Path:
    """An inventory of so many resources of the backup account, which nobody looks at; its settings are the lab's."""
    place = {"account": _ACCOUNT, "region": _REGION, "kind": "ec2"}
    numbers = range(1, count + 1)
    hosts = {f"bench-{each}": {"mayfly_resource": {**place, "id": f"i-{each:017x}"}} for each in numbers}
    path = folder / f"hosts-{count}.yml"
    path.write_text(json.dumps({"ec2": {"hosts": hosts}}))
    settings = folder / "group_vars"
    if not settings.exists():
        settings.symlink_to(ROOT / "inventories/lab/group_vars")
    return path


def _life(lab: Lab, playbook: str, folder: Path, count: int) -> Life:
    log = lab.state / "run/log/control.log"
    settings = _plain_settings(lab, folder)
    began, start = time.monotonic(), log.stat().st_size
    words = ["ansible-playbook", "-i", str(inventory(folder, count)), str(_PLAYBOOKS / f"{playbook}.yml")]
    if playbook == _PLAIN:
        configuration = folder / "ansible.cfg"
        configuration.write_text(_PLAIN_CONFIGURATION)
        words = ["env", f"ANSIBLE_CONFIG={configuration}", *words, "-e", f"@{settings}"]
    measured = _program(lab, "consumption", str(_LIMIT), *words)
    seconds = time.monotonic() - began
    calls = Counter(" ".join(found) for found in _LINE.findall(log.read_text()[start:]))
    assert measured["code"] == 0, f"{playbook} of {count} ended with {measured['code']}"
    assert calls["ec2 RunInstances"] == count
    seconds += _program(lab, "instances", "gone", str(settings))["seconds"]
    return Life(count, seconds, measured["cpu_seconds"], measured["behind_cpu_seconds"], dict(calls))


def _boots(lab: Lab, folder: Path, count: int) -> float:
    found = _program(lab, "instances", "boot", str(_plain_settings(lab, folder)), str(count))
    return float(found["seconds"])


def _plain_settings(lab: Lab, folder: Path) -> Path:
    """What the plain playbook and the boots alone are told, so that they look nothing up: where to launch, and as what.

    The user data are a worker's own, with a host key for all; the lease in it is longer than a life here.
    """
    path, key_file = folder / "plain.json", folder / "plain.key"
    if path.exists():
        return path
    host_key, user_key = KeyPair.generate(), KeyPair.generate()
    write_secret(key_file, user_key.private)
    seed = json.loads((lab.state / "run/seed.json").read_text())
    network = next(each for each in seed["networks"] if (each["account"], each["region"]) == (_ACCOUNT, _REGION))
    images = lab.aws("ec2", "describe-images", "--owners", _DEBIAN, "--filters", "Name=name,Values=debian-12-amd64*")
    values = {
        "name": "bench",
        "region": _REGION,
        "vpc_id": network["vpc_id"],
        "subnet_id": network["subnet_ids"][0],
        "group_id": network["security_group_ids"][0],
        "control_node_cidr": _CONTROL_NODE,
        "image_id": max(images["Images"], key=lambda each: str(each["CreationDate"]))["ImageId"],
        "instance_type": _TYPE,
        "user": _USER,
        "key_file": str(key_file),
        "user_data_template": str(ROOT / "roles/worker/templates/user_data.sh.j2"),
    }
    user_data = {
        "ssh_user": _USER,
        "ssh_port": 22,
        "authorized_key": user_key.public,
        "host_key": host_key.private,
        "lease_seconds": 3600,
        "deadline_seconds": 3600,
    }
    words = {f"plain_{name}": value for name, value in values.items()}
    words |= {f"user_data_{name}": value for name, value in user_data.items()}
    write_secret(path, json.dumps(words))
    return path


def _program(lab: Lab, name: str, *words: str) -> dict[str, Any]:
    text = lab.exec(sys.executable, "-m", f"tests.benchmarks.{name}", *words, wait=2 * _LIMIT)
    print(text)
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


def _named(life: Life) -> str:
    return ", ".join(f"{name.partition(' ')[2]} {number}" for name, number in sorted(life.calls.items()))
