# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine image is baked once and chosen for workers, which skip what it brings; nothing but the image is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from typing import Any

import pytest

from tests.labs import ROOT

from .conftest import Site, faulty

pytestmark = pytest.mark.timeout(900)

HOST = "backup_us-east-1_x86_64"
ONE = ("--limit", HOST)


def images(site: Site) -> dict[str, dict[str, str]]:
    """The tags of each image of the backup account."""
    found = site.lab.aws("ec2", "describe-images", "--owners", "self")["Images"]
    return {each["ImageId"]: {tag["Key"]: tag["Value"] for tag in each["Tags"]} for each in found}


def snapshots(site: Site) -> dict[str, dict[str, Any]]:
    """The backup account's snapshots."""
    found = site.lab.aws("ec2", "describe-snapshots", "--owner-ids", "self")["Snapshots"]
    return {each["SnapshotId"]: each for each in found}


def retag(site: Site, image: str, **tags: str) -> None:
    """Change tags of an image; two underscores stand for a colon."""
    words = [f"Key={key.replace('__', ':').replace('_', '-')},Value={value}" for key, value in tags.items()]
    site.lab.aws("ec2", "create-tags", "--resources", image, "--tags", *words)


def outcome(output: str, task: str) -> str:
    """What became of a task on the one host of a run: ok, changed or skipping."""
    found = re.search(rf"^TASK \[[^]]*{re.escape(task)}\].*\n(?:.*\n)*?(ok|changed|skipping|fatal): ", output, re.M)
    assert found, output[-6000:]
    return found[1]


def bake(site: Site, *words: str) -> str:
    """What a run of the playbook prints, which has to go well."""
    done = site.lab.playbook("worker_image", *ONE, *words)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def baked(backed_up: Site) -> str:
    """The id of an image, the only one."""
    site = backed_up
    assert "baked     in us-east-1" in bake(site, "--check")
    assert images(site) == {}
    bake(site)
    (entry,) = site.lab.report("worker_image")["resources"].values()
    (image,) = images(site)
    assert entry["images"] == {"us-east-1": image}
    return image


def test_it_is_kept_with_an_encrypted_snapshot_and_baked_no_second_time(backed_up: Site, baked: str) -> None:
    site = backed_up
    (tags,) = images(site).values()
    assert tags["mayfly:deployment"] == "default"
    assert tags["mayfly:base-name"] == "136693071363/debian-12-amd64-20261101-0001"
    assert len(tags["mayfly:worker-image"]) == 64
    ((snapshot, described),) = snapshots(site).items()
    assert described["Encrypted"]
    assert site.workers() == site.temporary() == []
    output = bake(site)
    assert re.search(rf"^{HOST} .* changed=0 .* failed=0 ", output, re.M), output[-2000:]
    assert outcome(output, "Launch the worker") == "skipping"
    assert (list(images(site)), list(snapshots(site))) == ([baked], [snapshot])


def test_a_worker_of_it_skips_what_it_brings_and_installs_what_differs(
    backed_up: Site, baked: str, settings: Any
) -> None:
    """Host keys are the new worker's own, else it would not have been reached."""
    site = backed_up
    words = ["--limit", site.web, *settings(mayfly_agent_memory_max="60%")]
    done = site.lab.playbook("ec2_backup", *words)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    entry = site.lab.report("ec2_backup")["resources"][site.web]
    assert entry["image"]["id"] == baked
    (why,) = [each["reason"] for each in entry["placement"] if each["subject"] == f"image {baked}"]
    assert "with this transfer agent" in why
    done_of = {
        name: outcome(done.stdout, name) for name in ("Add the agent's user", "Unpack the agent", "agent's service")
    }
    assert list(done_of.values()) == ["skipping", "skipping", "changed"]
    assert site.workers() == site.temporary() == []


@pytest.mark.faults
def test_what_a_killed_bake_has_left_is_removed_and_old_ones_when_asked(backed_up: Site, baked: str) -> None:
    site = backed_up
    for each in (baked, *snapshots(site)):
        retag(site, each, mayfly__worker_image="0" * 64)
    done = site.lab.playbook("ec2_backup", "--check", "--limit", site.web)
    assert f"configured live: {baked}, baked from it, has another transfer agent" in done.stdout
    command = ["ansible-playbook", "-i", "inventories/lab/worker_images.yml", "playbooks/worker_image.yml", *ONE]
    with faulty(site, "slow", "--call", "CreateImage", "--seconds", "8"):
        playbook = subprocess.Popen(
            site.lab.words("exec", "--", *command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, cwd=ROOT, env=site.lab.variables(), start_new_session=True,
        )  # fmt: skip
        ends = time.monotonic() + 240
        while len(images(site)) < 2:
            assert time.monotonic() < ends, "no image is being made"
            time.sleep(0.5)
        os.killpg(playbook.pid, signal.SIGKILL)
        playbook.wait(30)
    site.lab.report("worker_image")  # its keeper has ended
    assert site.workers() == site.temporary() == []
    assert (list(images(site)), len(snapshots(site))) == ([baked], 1)
    output = bake(site, "-e", "mayfly_image_remove_old=true")
    assert outcome(output, "Unpack the agent") == "changed"  # never baked upon what was baked
    (new,) = images(site)
    assert new != baked
    assert len(snapshots(site)) == 1
    site.lab.aws("ec2", "deregister-image", "--image-id", new, "--delete-associated-snapshots")
