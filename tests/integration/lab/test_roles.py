# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles of iam/mayfly.yaml with IAM enforced: what is not this deployment's, or not this worker's, is denied.

Each call that is denied stands beside one that differs in nothing else and is allowed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils import permissions, rights
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import policies

from tests import roles
from tests.integration.lab.calls import Calls
from tests.integration.lab.things import image, launch, meets, terminate
from tests.labs import Lab

pytest_plugins = ["tests.integration.lab.faulty"]
pytestmark = pytest.mark.timeout(180)
ACCOUNT, REGION, ZONE = "111122223333", "us-east-1", "us-east-1a"
BUCKET, RESOURCE = "repository", "111122223333/us-east-1/ec2/i-1"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": ACCOUNT}}],
    }
)
NO_REFERENCES = policies.Snapshots([], {})
OURS = {"mayfly:deployment": "default", "mayfly:temporary": "true"}
OF_ANOTHER = {**OURS, "mayfly:deployment": "another"}
HANDED_OVER = {"mayfly:deployment": "default"}
REFERENCE = {**HANDED_OVER, "mayfly:reference": "point"}
NOTHING: dict[str, str] = {}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab in which IAM counts from the beginning."""
    if os.geteuid() != 0:
        pytest.fail("the lab needs root")
    made = Lab(tmp_path_factory.mktemp("lab") / "state")
    done = made.run("up", "--enforce-iam", wait=600)
    assert done.returncode == 0, done.stderr
    yield made
    made.run("down")


@dataclass(frozen=True)
class Session:
    """Calls with the credentials of a session."""

    calls: Calls
    keys: dict[str, Any]

    def may(self, service: str, call: str, **arguments: Any) -> bool:
        """Whether it may; what is refused in another way than for want of a right is raised."""
        code = {"ec2": "UnauthorizedOperation", "ebs": "AccessDeniedException"}.get(service, "AccessDenied")
        return not meets(code, 403, lambda: self.calls(service, call, keys=self.keys, **arguments))

    def assume(self, name: str, policy: dict[str, Any] | None = None) -> Session:
        """A session of a role, narrowed by a policy."""
        narrowed = {"Policy": policies.text_of(policy)} if policy else {}
        words = {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/{name}", "RoleSessionName": "tried", **narrowed}
        return Session(self.calls, self.calls("sts", "assume_role", keys=self.keys, **words)["Credentials"])


@pytest.fixture(scope="module")
def run(calls: Calls) -> Session:
    """The role of runs, as a run has it; the worker's role and another one are there too, and the bucket."""
    key = calls("kms", "create_key")["KeyMetadata"]["Arn"]
    calls("s3", "create_bucket", Bucket=BUCKET)
    values = {
        "AWS::Partition": "aws",
        "AWS::AccountId": ACCOUNT,
        "AWS::URLSuffix": "amazonaws.com",
        "Deployment": "default",
        "Bucket": BUCKET,
        "Prefix": "mayfly/",
        "RepositoryKey": key,
        "SessionManagerRoleName": "session-manager",
        **roles.flags(rights.BACKUP_ACCOUNT, rights.WORKER_DEPLOYMENT, rights.PRODUCTION_ACCOUNT),
        "WorkerRoleName": "worker",
        "RestoredRoles": "restored-*",
    }
    given = {"run": permissions.RUN, "worker": permissions.WORKER, "admin": None}
    for name, role in given.items():
        calls("iam", "create_role", RoleName=name, AssumeRolePolicyDocument=TRUST)
        if role is not None:
            document = json.dumps(roles.document(role, values))
            calls("iam", "put_role_policy", RoleName=name, PolicyName="own", PolicyDocument=document)
    return Session(calls, {}).assume("run")


def specifications(tags: dict[str, str], *kinds: str) -> list[dict[str, Any]]:
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    return [{"ResourceType": kind, "Tags": listed} for kind in kinds] if tags else []


def snapshot(calls: Calls, tags: dict[str, str]) -> str:
    """A completed snapshot."""
    volume = calls("ec2", "create_volume", Size=1, AvailabilityZone=ZONE)["VolumeId"]
    made = calls("ec2", "create_snapshot", VolumeId=volume, TagSpecifications=specifications(tags, "snapshot"))
    ends = time.monotonic() + 60
    while calls("ec2", "describe_snapshots", SnapshotIds=[made["SnapshotId"]])["Snapshots"][0]["State"] != "completed":
        assert time.monotonic() < ends
        time.sleep(0.2)
    return str(made["SnapshotId"])


def test_a_run_terminates_the_workers_of_its_deployment_alone(run: Session, calls: Calls) -> None:
    for tags in (NOTHING, OF_ANOTHER, HANDED_OVER, OURS):
        made = launch(calls, TagSpecifications=specifications(tags, "instance"))["InstanceId"]
        allowed = tags == OURS
        assert run.may("ec2", "terminate_instances", InstanceIds=[made]) == allowed, tags
        if not allowed:
            terminate(calls, made)


def test_a_run_deletes_its_snapshots_and_references_alone(run: Session, calls: Calls) -> None:
    """One that was handed over is the user's; a reference is replaced by the next backup."""
    for tags in (NOTHING, OF_ANOTHER, HANDED_OVER, REFERENCE, OURS):
        made = snapshot(calls, tags)
        assert run.may("ec2", "delete_snapshot", SnapshotId=made) == (tags in (REFERENCE, OURS)), tags


def test_a_run_launches_nothing_without_its_tags(run: Session, calls: Calls) -> None:
    words = {"ImageId": image(calls), "InstanceType": "c6a.large", "MinCount": 1, "MaxCount": 1}
    kinds = ("instance", "volume", "network-interface")
    denied = [
        (NOTHING, kinds),
        (OF_ANOTHER, kinds),
        (HANDED_OVER, kinds),
        *((OURS, tuple(each for each in kinds if each != left_out)) for left_out in kinds),
    ]
    for tags, tagged in denied:
        made = specifications(tags, *tagged)
        assert not run.may("ec2", "run_instances", TagSpecifications=made, **words), (tags, tagged)
    assert run.may("ec2", "run_instances", TagSpecifications=specifications(OURS, *kinds), **words)
    wanted = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    found = calls("ec2", "describe_instances", Filters=wanted)["Reservations"]
    terminate(calls, *(each["InstanceId"] for group in found for each in group["Instances"]))


def test_a_run_assumes_the_role_of_workers_alone(run: Session) -> None:
    words = {"RoleSessionName": "tried"}
    assert run.may("sts", "assume_role", RoleArn=f"arn:aws:iam::{ACCOUNT}:role/worker", **words)
    assert not run.may("sts", "assume_role", RoleArn=f"arn:aws:iam::{ACCOUNT}:role/admin", **words)


def test_a_worker_reads_its_own_snapshots_alone(run: Session, calls: Calls) -> None:
    mine, neighbours, foreign = (snapshot(calls, tags) for tags in (OURS, OURS, OF_ANOTHER))
    narrow = policies.read_policy("aws", REGION, policies.Snapshots([mine], {}), NO_REFERENCES, [])
    worker = run.assume("worker", narrow)
    assert worker.may("ebs", "list_snapshot_blocks", SnapshotId=mine)
    assert not worker.may("ebs", "list_snapshot_blocks", SnapshotId=neighbours)
    assert not worker.may("ebs", "list_changed_blocks", FirstSnapshotId=neighbours, SecondSnapshotId=mine)
    assert not worker.may("ebs", "start_snapshot", VolumeSize=1)
    # Nor could a mistake in the policy that narrows it give it what is not of this deployment.
    both = policies.Snapshots([neighbours, foreign], {})
    wide = run.assume("worker", policies.read_policy("aws", REGION, both, NO_REFERENCES, []))
    assert wide.may("ebs", "list_snapshot_blocks", SnapshotId=neighbours)
    assert not wide.may("ebs", "list_snapshot_blocks", SnapshotId=foreign)


def test_a_worker_writes_below_the_prefix_of_its_resource_alone(run: Session, calls: Calls) -> None:
    mine, neighbours = f"mayfly/{RESOURCE}/packs/p", f"mayfly/{RESOURCE}9/packs/p"
    outside = f"other/{RESOURCE}/packs/p"
    for key in (mine, neighbours, outside):
        calls("s3", "put_object", Bucket=BUCKET, Key=key, Body=b"data")
    worker = run.assume("worker", policies.repository_policy("aws", BUCKET, "mayfly", RESOURCE, write=True))
    reader = run.assume("worker", policies.repository_policy("aws", BUCKET, "mayfly", RESOURCE, write=False))
    for key, allowed in ((mine, True), (neighbours, False), (outside, False)):
        assert worker.may("s3", "get_object", Bucket=BUCKET, Key=key) == allowed, key
        assert worker.may("s3", "put_object", Bucket=BUCKET, Key=key, Body=b"new") == allowed, key
        assert worker.may("s3", "list_objects_v2", Bucket=BUCKET, Prefix=key.removesuffix("p")) == allowed, key
    assert reader.may("s3", "get_object", Bucket=BUCKET, Key=mine)
    assert not reader.may("s3", "put_object", Bucket=BUCKET, Key=mine, Body=b"new")
    assert not worker.may("s3", "delete_object", Bucket=BUCKET, Key=mine)
    assert run.may("s3", "delete_object", Bucket=BUCKET, Key=mine)
    # Nor could a mistake in the policy that narrows it lead it out of the repository.
    wide = run.assume("worker", policies.repository_policy("aws", BUCKET, "other", RESOURCE, write=True))
    assert not wide.may("s3", "put_object", Bucket=BUCKET, Key=outside, Body=b"new")
