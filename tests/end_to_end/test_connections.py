# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups whose workers cannot be dialled from the control node: over a bastion, and over Session Manager's command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.labs import ROOT, Lab

from .conftest import Site

pytestmark = pytest.mark.timeout(600)
PROFILE = "mayfly-session-manager"  # the name that the rights of runs allow to be given
CLI = Path(sys.executable).with_name("aws")  # whatever stands before it on PATH
DIAL = "import socket, sys; socket.create_connection((sys.argv[1], 22), timeout=3)"
# Does what the AWS CLI and the service do together: with the credentials of its environment it finds the worker, and
# passes its input and output on to the worker's SSH server, from a host beside it.
AWS = """\
#!{python}
import json, os, re, sys
words = ["aws", *sys.argv[1:]]
if words[1] != "ssm":
    os.execv({cli!r}, words)
with open({log!r}, "a") as log:
    print(json.dumps({{"words": words, "key": os.environ["AWS_ACCESS_KEY_ID"]}}), file=log)
match = re.fullmatch(
    "aws ssm start-session --region us-east-1 --target (i-[0-9a-f]+)"
    " --document-name AWS-StartSSHSession --parameters portNumber=22",
    " ".join(words),
)
assert match and not any(os.environ[each] in " ".join(words) for each in os.environ if "SECRET" in each)
assert "AWS_PROFILE" not in os.environ and os.environ["AWS_SESSION_TOKEN"]
import boto3
ec2 = boto3.client("ec2", region_name="us-east-1")
found = ec2.describe_instances(InstanceIds=[match[1]])["Reservations"][0]["Instances"][0]
assert found["IamInstanceProfile"]["Arn"].endswith("/{profile}")
jump = {jump!r}
os.execvp(jump[0], [*jump[:-1], "-W", found["PrivateIpAddress"] + ":22", jump[-1]])
"""


@pytest.fixture(scope="module")
def ready(site: Site) -> Site:
    """The site with a repository."""
    done = site.lab.playbook("repository_create")
    assert done.returncode == 0, done.stdout[-3000:]
    return site


@pytest.fixture(scope="module")
def closed(ready: Site) -> dict[str, Any]:
    """Settings for workers in the production account that let nobody but db-1 in, which is in the same VPC."""
    seed, bastion = ready.seed, ready.seed["sources"]["db-1"]["address"]
    (network,) = [each for each in seed["networks"] if each["account"] == seed["accounts"]["production"]["id"]]
    words = ("--group-name", "closed", "--description", "SSH from the bastion", "--vpc-id", network["vpc_id"])
    group = ready.lab.aws("ec2", "create-security-group", *words, profile="production")["GroupId"]
    rule = ("--group-id", group, "--protocol", "tcp", "--port", "22", "--cidr", f"{bastion}/32")
    ready.lab.aws("ec2", "authorize-security-group-ingress", *rule, profile="production")
    networks = [{**network, "security_group_ids": [group]}]
    return {"mayfly_networks": networks, "mayfly_worker_account": "production"}


@pytest.fixture(scope="module")
def bastion(ready: Site) -> dict[str, Any]:
    """``mayfly_bastion``: db-1."""
    address = ready.seed["sources"]["db-1"]["address"]
    host_key = ready.lab.exec("ssh-keyscan", "-t", "ed25519", address).partition(" ")[2].strip()
    return {
        "host": address,
        "user": ready.seed["source_user"],
        "private_key": Path(ready.seed["source_key"]).read_text(),
        "host_key": host_key,
        "cidr": f"{address}/32",
    }


def backed_up_unreachable(site: Site, *words: str) -> dict[str, Any]:
    """The report of web-1 after a backup, during which its worker was dialled from the control node in vain."""
    command = ["ansible-playbook", "-i", "inventories/lab/ec2.aws_ec2.yml", "playbooks/ec2_backup.yml"]
    words = (*site.lab.words("exec", "--", *command), "--limit", site.web, *words)
    with subprocess.Popen(
        words, cwd=ROOT, env=site.lab.variables(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as playbook:
        dialled = ""
        while playbook.poll() is None and not dialled:
            entry = worker_of(site)
            if entry is not None:
                done = site.lab.run("exec", "--", "python", "-c", DIAL, entry["address"])
                dialled = done.stderr.strip().splitlines()[-1] if done.returncode else "it answers"
            time.sleep(0.2)
        output, _ = playbook.communicate(timeout=300)
    assert playbook.returncode == 0, output[-6000:]
    assert dialled == "TimeoutError: timed out"
    assert site.temporary() == []
    report: dict[str, Any] = site.lab.report("ec2_backup")["resources"][site.web]
    return report


def worker_of(site: Site) -> dict[str, Any] | None:
    """The worker of web-1 that a run under way has logged in to."""
    for path in site.lab.runs.glob("*/report.json"):
        report = json.loads(path.read_text())
        entry = report["resources"].get(site.web, {})
        if report["ended"] is None and any(each["name"] == "Configuring" for each in entry.get("stages", ())):
            worker: dict[str, Any] = entry["worker"]
            return worker
    return None


def test_a_bastion_that_shows_another_host_key_is_told_before_anything_is_made(
    ready: Site, closed: dict[str, Any], bastion: dict[str, Any], settings: Any
) -> None:
    wrong = {**bastion, "host_key": Path(f"{ready.seed['source_key']}.pub").read_text()}
    words = settings(**closed, mayfly_worker_connection="bastion", mayfly_bastion=wrong)
    done = ready.lab.playbook("ec2_backup", "--limit", ready.web, *words)
    assert done.returncode == 2, done.stdout[-6000:]
    assert "cannot be logged in to: " in done.stdout
    assert "Host key verification failed" in done.stdout
    assert "PRIVATE KEY" not in done.stdout
    assert ready.temporary() == []


def test_a_backup_over_a_bastion(ready: Site, closed: dict[str, Any], bastion: dict[str, Any], settings: Any) -> None:
    words = settings(**closed, mayfly_worker_connection="bastion", mayfly_bastion=bastion)
    report = backed_up_unreachable(ready, *words)
    assert report["status"] == "Succeeded"
    assert report["worker"]["account"] == ready.seed["accounts"]["production"]["id"]


@pytest.fixture
def sessions(ready: Site, bastion: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of the AWS CLI on PATH, and the file that it writes its calls into."""
    jump = ["ssh", "-F", "none", "-i", ready.seed["source_key"], "-o", "BatchMode=yes"]
    jump += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    jump += ["-o", "LogLevel=ERROR", f"{bastion['user']}@{bastion['host']}"]
    text = AWS.format(python=sys.executable, cli=str(CLI), log=str(tmp_path / "sessions"), profile=PROFILE, jump=jump)
    for name, content in (("aws", text), ("session-manager-plugin", "#!/bin/sh\n")):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "sessions"


def test_a_backup_over_the_command_of_session_manager(
    ready: Site, closed: dict[str, Any], sessions: Path, settings: Any
) -> None:
    """The service itself is not to be had here: a program in the place of the CLI passes the stream on."""
    lab = ready.lab
    role = ("--role-name", PROFILE, "--assume-role-policy-document", trust("ec2.amazonaws.com"))
    own(lab, "iam", "create-role", *role)
    own(lab, "iam", "create-instance-profile", "--instance-profile-name", PROFILE)
    both = ("--instance-profile-name", PROFILE, "--role-name", PROFILE)
    own(lab, "iam", "add-role-to-instance-profile", *both)
    source = ("--source-region", "us-east-1", "--source-image-id", debian(ready), "--name", "with-an-agent")
    image = own(lab, "ec2", "copy-image", *source)["ImageId"]
    accounts = {name: {**each, "worker_instance_profile": PROFILE} for name, each in ready.seed["accounts"].items()}
    words = settings(
        **closed,
        mayfly_worker_connection="session_manager",
        mayfly_accounts=accounts,
        mayfly_worker_image={"id": image},
    )
    report = backed_up_unreachable(ready, *words)
    assert report["status"] == "Succeeded"
    begun = [json.loads(line) for line in sessions.read_text().splitlines()]
    assert {each["words"][6] for each in begun} == {report["worker"]["instance_id"]}
    assert all(each["key"].startswith("ASIA") for each in begun)


def own(lab: Lab, *words: str) -> Any:
    """The answer of `aws WORDS` in the production account, by the CLI itself."""
    return json.loads(lab.exec(str(CLI), "--profile", "production", "--region", "us-east-1", *words) or "null")


def trust(service: str) -> str:
    """Who may assume a role."""
    allowed = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [allowed]})


def debian(site: Site) -> str:
    """The lab's image, as Debian publishes it."""
    wanted = ("--filters", "Name=name,Values=debian-12-a*", "Name=architecture,Values=x86_64")
    found = own(site.lab, "ec2", "describe-images", *wanted)["Images"]
    return str(found[0]["ImageId"])
