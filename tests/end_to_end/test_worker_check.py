# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of worker networks, as they are described and from inside workers; nothing of it is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.labs import ROOT

from .conftest import Site

pytestmark = pytest.mark.timeout(600)

ROWS = [(name, check) for name in ("ebs", "s3", "ec2", "sts", "kms") for check in ("name", "tls", "rights")]
# Told without a worker, with the subnet before them.
TYPES = [(name, "types") for name in ("small", "medium", "large")]
# Of these, only the way to them is tried.
UNTRIED = [("ec2", "rights"), ("kms", "rights")]


@pytest.fixture(scope="module")
def ready(site: Site) -> Site:
    """The site with a repository, without which no backup could be made."""
    done = site.lab.playbook("repository_create")
    assert done.returncode == 0, done.stdout[-3000:]
    return site


def subnet(site: Site, account: str, region: str = "us-east-1") -> str:
    """The first subnet of a network for workers."""
    wanted = (site.seed["accounts"][account]["id"], region)
    (ids,) = [each["subnet_ids"] for each in site.seed["networks"] if (each["account"], each["region"]) == wanted]
    return str(ids[0])


def checks(site: Site, subnet_id: str) -> dict[tuple[str, str], bool | None]:
    """What the newest report says of a subnet."""
    report = site.lab.report("worker_check")
    (entry,) = [each for each in report["resources"].values() if each["resource"]["id"] == subnet_id]
    return {(each["service"], each["check"]): each["ok"] for each in entry["checks"]}


def right(subnet_id: str) -> dict[tuple[str, str], bool | None]:
    """What a check finds of a subnet in which nothing is wrong."""
    told = [(subnet_id, "network"), *TYPES, *ROWS]
    return {row: None if row in UNTRIED else True for row in told}


def recaps(output: str) -> dict[str, bool]:
    """Whether each host of a run failed."""
    lines = output.partition("PLAY RECAP")[2].splitlines()
    return {line.split()[0]: "failed=0" not in line for line in lines if "failed=" in line}


def test_check_mode_shows_every_placement_and_launches_nothing(ready: Site, tmp_path: Path) -> None:
    """A subnet that no worker can use is refused by itself: here one without a way out, and two without types."""
    closed = {**ready.seed["networks"][0], "subnet_names": ["mayfly-lab-public-us-east-1a"]}
    del closed["subnet_ids"]
    (tmp_path / "group_vars").symlink_to(ROOT / "inventories/lab/group_vars")
    inventory = tmp_path / "worker_networks.yml"
    networks = [*ready.seed["networks"], closed]
    inventory.write_text(json.dumps({"plugin": "mayfly.workers.worker_networks", "networks": networks}))
    done = ready.lab.playbook("worker_check", "--check", inventory=str(inventory))
    assert done.returncode == 2, done.stdout[-6000:] + done.stderr[-2000:]
    hosts = recaps(done.stdout)
    offered = {each for entry in ready.seed["networks"] for each in entry["subnet_ids"]}
    assert offered < {each.rpartition("_")[2] for each in hosts}
    failed = {host for host, has in hosts.items() if has}
    # As on AWS, us-east-1e is an old zone.
    assert failed == {host for host in hosts if "-public-" in host or "-us-east-1e_" in host}
    assert done.stdout.count("free addresses in zone") == len(hosts) - len(failed)
    for word in ("c6a.4xlarge: not offered in zone", "public_address in mayfly_networks"):
        assert word in done.stdout + done.stderr
    assert ready.workers() == []
    assert ready.temporary() == []


def test_every_check_passes_from_inside_each_account_and_region(ready: Site) -> None:
    """The repository is in another Region than one of them."""
    subnets = [subnet(ready, "backup", "eu-central-1"), subnet(ready, "production")]
    done = ready.lab.playbook("worker_check", "--limit", ",".join(f"*_{each}" for each in subnets))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    for each in subnets:
        assert checks(ready, each) == right(each)
    assert done.stdout.count("its certificate is right") == 2 * 5
    assert ready.workers() == []
    assert ready.temporary() == []


def test_what_is_closed_fails_its_subnet_with_the_remedy_and_no_other(ready: Site, settings: Any) -> None:
    subnets = good, bad = [subnet(ready, each) for each in ("backup", "production")]
    source = ready.seed["sources"]["web-1"]["address"]  # of the production account's VPC; its group lets nobody in
    ports = f"{{{{ [{{'host': '{source}', 'port': 2049}}] if mayfly_resource.id == '{bad}' else [] }}}}"
    words = ["--limit", ",".join(f"*_{each}" for each in subnets), *settings(mayfly_check_ports=ports)]
    done = ready.lab.playbook("worker_check", *words)
    assert done.returncode == 2, done.stdout[-6000:] + done.stderr[-2000:]
    assert {host.rpartition("_")[2]: has for host, has in recaps(done.stdout).items()} == {good: False, bad: True}
    found = checks(ready, bad)
    assert found.pop((f"{source}:2049", "tcp")) is False
    assert found == right(bad)
    assert f"{source}:2049 is not reached" in done.stdout
    assert "see mayfly_check_ports" in done.stdout
    report = ready.lab.report("worker_check")
    assert report["status"] == "Failed"
    assert ready.workers() == []
    assert ready.temporary() == []
