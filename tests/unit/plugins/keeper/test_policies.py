# SPDX-License-Identifier: GPL-3.0-or-later
"""What the session policies of a worker allow: its own resource and nothing beside, in every partition."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.policies import (
    ARCHIVED,
    BROUGHT_BACK,
    MARKED,
    Snapshots,
    check_policy,
    copy_policy,
    folders_policy,
    partition_of,
    read_policy,
    repository_policy,
    retention_policy,
    text_of,
    write_policy,
)

REGION = "eu-central-1"
RUN = "20261124T013000Z-a1b2c3"
RESOURCE = f"444455556666/{REGION}/ec2/i-0123456789abcdef0"
KEY = f"arn:aws:kms:{REGION}:444455556666:key/12345678-1234-1234-1234-123456789012"
# AssumeRole takes session policies of at most 2,048 characters in all
# (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
LONGEST = 2048
TAGS = {"mayfly:run": RUN, "mayfly:resource": "i-0123456789abcdef0"}
KEPT_TAGS = {"mayfly:reference": f"20261123T013000Z-{RUN}", "mayfly:resource": "i-0123456789abcdef0"}
NONE = Snapshots([], {})


def matches(pattern: str, text: str) -> bool:
    """IAM's matching: ``*`` is anything, ``?`` one character."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text) is not None


def allows(policy: dict[str, Any], action: str, resource: str, **context: str) -> bool:
    """Whether a policy allows a call; in names of the context two underscores stand for a colon."""
    known = {name.replace("__", ":"): value for name, value in context.items()}
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if any(matches(each, action) for each in statement["Action"])
        and any(matches(each, resource) for each in statement["Resource"])
        and all(fulfilled(*test, known) for test in statement.get("Condition", {}).items())
    }
    return effects == {"Allow"}


def fulfilled(kind: str, tests: dict[str, Any], known: dict[str, str]) -> bool:
    """Whether one kind of condition holds."""
    same = {"StringLike": matches, "StringEquals": str.__eq__}[kind]
    listed = {key: [values] if isinstance(values, str) else values for key, values in tests.items()}
    return all(key in known and any(same(each, known[key]) for each in values) for key, values in listed.items())


ALL = {
    "read": read_policy("aws", REGION, Snapshots(["snap-1", "snap-2"], TAGS), NONE, [KEY]),
    "compare": read_policy(
        "aws", REGION, Snapshots(["snap-1", "snap-2"], TAGS), Snapshots(["snap-0"], KEPT_TAGS), [KEY]
    ),
    "write": write_policy("aws", REGION, RUN),
    "backup": repository_policy("aws", "backups", "mayfly", RESOURCE, write=True),
    "locked backup": repository_policy("aws", "backups", "mayfly", RESOURCE, write=True, lock=True),
    "restore": repository_policy("aws", "backups", "mayfly", RESOURCE, write=False),
    "check": check_policy("aws", REGION),
}


@pytest.mark.parametrize("policy", ALL.values(), ids=ALL.keys())
class TestEveryPolicy:
    def test_is_json_of_the_current_version(self, policy: dict[str, Any]) -> None:
        parsed = json.loads(json.dumps(policy))
        assert parsed == policy
        assert parsed["Version"] == "2012-10-17"

    def test_names_actions_and_resources_in_lists(self, policy: dict[str, Any]) -> None:
        for statement in policy["Statement"]:
            assert statement["Effect"] == "Allow"
            assert set(statement) <= {"Effect", "Action", "Resource", "Condition"}
            assert statement["Action"]
            assert statement["Resource"]
            assert all(re.fullmatch(r"[a-z0-9]+:[A-Z][A-Za-z0-9]+\*?", each) for each in statement["Action"])

    def test_gives_a_wildcard_only_under_a_condition(self, policy: dict[str, Any]) -> None:
        for statement in policy["Statement"]:
            if any(each == "*" or each.endswith("snapshot/*") for each in statement["Resource"]):
                assert statement["Condition"]

    def test_lets_nothing_be_deleted(self, policy: dict[str, Any]) -> None:
        actions = [action for statement in policy["Statement"] for action in statement["Action"]]
        deletions = ("s3:DeleteObject", "ec2:DeleteSnapshot", "ec2:DeleteTags", "kms:ScheduleKeyDeletion")
        assert not [each for each in deletions if any(matches(action, each) for action in actions)]

    def test_fits_a_session(self, policy: dict[str, Any]) -> None:
        assert len(text_of(policy)) <= LONGEST


@pytest.mark.parametrize(
    ("action", "snapshot", "may"),
    [
        ("ebs:ListSnapshotBlocks", "snap-00000000000000000", True),
        ("ebs:ListSnapshotBlocks", "snap-00000000000000001", False),
        ("ebs:GetSnapshotBlock", "snap-00000000000000000", False),
        ("ebs:StartSnapshot", "snap-00000000000000000", False),
    ],
)
def test_a_check_asks_for_a_snapshot_that_there_is_not(action: str, snapshot: str, may: bool) -> None:
    assert allows(ALL["check"], action, f"arn:aws:ec2:{REGION}::snapshot/{snapshot}") is may


BUCKET = "arn:aws:s3:::backups"
OWN = f"{BUCKET}/mayfly/{RESOURCE}"
# action, resource, whether a backup may, whether a restore may
OBJECTS = [
    ("s3:GetObject", f"{OWN}/points/{RUN}", True, True),
    ("s3:PutObject", f"{OWN}/packs/00/1", True, False),
    ("s3:PutObject", f"{OWN}/lease", True, False),
    ("s3:GetObject", f"{BUCKET}/mayfly/repository.json", True, True),
    ("s3:PutObject", f"{BUCKET}/mayfly/repository.json", False, False),
    ("s3:GetObject", f"{BUCKET}/repository.json", False, False),
    ("s3:GetObject", f"{BUCKET}/mayfly/keys/1", False, False),
    ("s3:GetObject", OWN, False, False),
    ("s3:GetObject", f"{OWN}0/points/1", False, False),
    ("s3:GetObject", f"{BUCKET}/mayfly/444455556666/{REGION}/ec2/i-1/points/1", False, False),
    ("s3:PutObject", f"{BUCKET}/mayfly/444455556666/{REGION}/ec2/i-1/points/1", False, False),
    ("s3:GetObject", f"{BUCKET}/mayfly/111122223333/{REGION}/ec2/i-0123456789abcdef0/points/1", False, False),
    ("s3:GetObject", f"{BUCKET}/{RESOURCE}/points/1", False, False),
    ("s3:GetObject", f"{BUCKET}/elsewhere/mayfly/{RESOURCE}/points/1", False, False),
    ("s3:GetObject", f"arn:aws:s3:::backups-of-others/mayfly/{RESOURCE}/points/1", False, False),
    ("s3:DeleteObject", f"{OWN}/packs/00/1", False, False),
    ("s3:DeleteObjectVersion", f"{OWN}/packs/00/1", False, False),
    ("s3:PutObjectAcl", f"{OWN}/packs/00/1", False, False),
]


@pytest.mark.parametrize(("action", "resource", "backup", "restore"), OBJECTS)
def test_a_worker_reaches_its_own_resources_objects_alone(
    action: str, resource: str, backup: bool, restore: bool
) -> None:
    assert allows(ALL["backup"], action, resource) is backup
    assert allows(ALL["restore"], action, resource) is restore


LISTS = [
    (f"mayfly/{RESOURCE}/points/", True),
    (f"mayfly/{RESOURCE}/", True),
    (f"mayfly/{RESOURCE}", False),
    (f"mayfly/{RESOURCE}0/", False),
    ("mayfly/", False),
    ("", False),
    (f"{RESOURCE}/", False),
]


@pytest.mark.parametrize(("prefix", "allowed"), LISTS)
@pytest.mark.parametrize("name", ["backup", "restore"])
def test_a_worker_lists_its_own_objects_alone(name: str, prefix: str, allowed: bool) -> None:
    assert allows(ALL[name], "s3:ListBucket", BUCKET, s3__prefix=prefix) is allowed
    assert not allows(ALL[name], "s3:ListBucket", BUCKET)
    assert not allows(ALL[name], "s3:ListBucket", "arn:aws:s3:::others", s3__prefix=prefix)


@pytest.mark.parametrize(("prefix", "base"), [("", ""), ("/", ""), ("a/b", "a/b/"), ("/a/b/", "a/b/")])
def test_the_prefix_of_the_repository_is_the_base(prefix: str, base: str) -> None:
    policy = repository_policy("aws", "backups", prefix, RESOURCE, write=True)
    assert allows(policy, "s3:PutObject", f"{BUCKET}/{base}{RESOURCE}/lease")
    assert allows(policy, "s3:GetObject", f"{BUCKET}/{base}repository.json")
    assert allows(policy, "s3:ListBucket", BUCKET, s3__prefix=f"{base}{RESOURCE}/points/")
    assert not allows(policy, "s3:PutObject", f"{BUCKET}/other/{base}{RESOURCE}/lease")


@pytest.mark.parametrize("name", ["backup", "restore"])
def test_keys_serve_through_s3_alone(name: str) -> None:
    for through, allowed in ((f"s3.{REGION}.amazonaws.com", True), (f"ec2.{REGION}.amazonaws.com", False)):
        for action in ("kms:Decrypt", "kms:GenerateDataKey"):
            assert allows(ALL[name], action, KEY, kms__ViaService=through) is allowed
            assert not allows(ALL[name], action, KEY)


SNAPSHOT = f"arn:aws:ec2:{REGION}::snapshot"
READS = [
    ("ebs:GetSnapshotBlock", f"{SNAPSHOT}/snap-1", True),
    ("ebs:ListSnapshotBlocks", f"{SNAPSHOT}/snap-2", True),
    ("ebs:ListChangedBlocks", f"{SNAPSHOT}/snap-2", True),
    ("ebs:GetSnapshotBlock", f"{SNAPSHOT}/snap-3", False),
    ("ebs:GetSnapshotBlock", f"{SNAPSHOT}/snap-11", False),
    ("ebs:GetSnapshotBlock", "arn:aws:ec2:us-east-1::snapshot/snap-1", False),
    ("ebs:PutSnapshotBlock", f"{SNAPSHOT}/snap-1", False),
    ("ec2:DeleteSnapshot", f"{SNAPSHOT}/snap-1", False),
    ("ec2:ModifySnapshotAttribute", f"{SNAPSHOT}/snap-1", False),
    ("kms:Decrypt", KEY, True),
    ("kms:Decrypt", KEY.replace("9012", "9013"), False),
    ("kms:ReEncryptFrom", KEY, False),
]


@pytest.mark.parametrize(("action", "resource", "allowed"), READS)
def test_a_backups_worker_reads_its_own_snapshots_alone(action: str, resource: str, allowed: bool) -> None:
    assert allows(ALL["read"], action, resource) is allowed


COMPARES = [
    ("ebs:ListChangedBlocks", "snap-0", True),
    ("ebs:ListChangedBlocks", "snap-1", True),
    ("ebs:ListSnapshotBlocks", "snap-1", True),
    ("ebs:GetSnapshotBlock", "snap-1", True),
    ("ebs:GetSnapshotBlock", "snap-0", False),
    ("ebs:ListSnapshotBlocks", "snap-0", False),
    ("ebs:ListChangedBlocks", "snap-3", False),
]


@pytest.mark.parametrize(("action", "snapshot", "allowed"), COMPARES)
def test_a_backup_with_a_parent_compares_with_its_references_and_reads_nothing_of_them(
    action: str, snapshot: str, allowed: bool
) -> None:
    assert allows(ALL["compare"], action, f"{SNAPSHOT}/{snapshot}") is allowed


def test_without_keys_nothing_is_said_of_keys() -> None:
    assert "kms" not in json.dumps(read_policy("aws", REGION, Snapshots(["snap-1"], TAGS), NONE, []))


def test_a_restores_worker_makes_and_fills_snapshots_of_its_run_alone() -> None:
    policy, new = ALL["write"], f"{SNAPSHOT}/snap-9"
    asked, made = "aws__RequestTag/mayfly:run", "aws__ResourceTag/mayfly:run"
    assert allows(policy, "ebs:StartSnapshot", new, **{asked: RUN})
    assert allows(policy, "ec2:CreateTags", new, **{asked: RUN})
    for action in ("ebs:PutSnapshotBlock", "ebs:CompleteSnapshot"):
        assert allows(policy, action, new, **{made: RUN})
        assert not allows(policy, action, new, **{made: f"{RUN}4"})
        assert not allows(policy, action, new, **{asked: RUN})
        assert not allows(policy, action, new)
    for wrong in ({}, {asked: "another-run"}, {made: RUN}):
        assert not allows(policy, "ebs:StartSnapshot", new, **wrong)
        assert not allows(policy, "ec2:CreateTags", new, **wrong)
    assert not allows(policy, "ebs:StartSnapshot", "arn:aws:ec2:us-east-1::snapshot/snap-9", **{asked: RUN})
    assert not allows(policy, "ebs:GetSnapshotBlock", new, **{made: RUN})
    assert not allows(policy, "ec2:CreateTags", f"arn:aws:ec2:{REGION}:444455556666:instance/i-1", **{asked: RUN})


def test_keys_of_new_snapshots_serve_through_ec2_alone() -> None:
    for through, allowed in ((f"ec2.{REGION}.amazonaws.com", True), (f"s3.{REGION}.amazonaws.com", False)):
        for action in ("kms:GenerateDataKeyWithoutPlaintext", "kms:CreateGrant", "kms:Decrypt", "kms:Encrypt"):
            assert allows(ALL["write"], action, KEY, kms__ViaService=through) is allowed
            assert not allows(ALL["write"], action, KEY)


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_every_name_is_of_the_partition(partition: str) -> None:
    policies = [
        read_policy(partition, REGION, Snapshots(["snap-1"], TAGS), Snapshots(["snap-0"], KEPT_TAGS), []),
        write_policy(partition, REGION, RUN),
        repository_policy(partition, "backups", "mayfly", RESOURCE, write=True),
    ]
    for policy in policies:
        names = [name for statement in policy["Statement"] for name in statement["Resource"] if name != "*"]
        assert {name.split(":")[1] for name in names} == {partition}


@pytest.mark.parametrize(
    ("arn", "partition"),
    [
        ("arn:aws:iam::111122223333:role/mayfly", "aws"),
        ("arn:aws-cn:iam::111122223333:role/mayfly", "aws-cn"),
        ("arn:aws-us-gov:iam::111122223333:role/mayfly", "aws-us-gov"),
        (None, "aws"),
        ("", "aws"),
    ],
)
def test_a_roles_arn_tells_the_partition(arn: str | None, partition: str) -> None:
    assert partition_of(arn) == partition


def many(count: int, keys: int = 0, references: int = 0) -> dict[str, Any]:
    """The policy for the snapshots of so many volumes, with so many references."""
    arns = [f"arn:aws:kms:ap-southeast-1:444455556666:key/12345678-1234-1234-1234-12345678901{n}" for n in range(keys)]
    taken, kept = (
        [f"snap-{n:017x}" for n in range(start, start + of)] for start, of in ((0, count), (9000, references))
    )
    return read_policy("aws", "ap-southeast-1", Snapshots(taken, TAGS), Snapshots(kept, KEPT_TAGS), arns)


@pytest.mark.parametrize(("count", "keys", "references"), [(30, 0, 0), (22, 5, 0), (14, 0, 14), (10, 5, 10)])
def test_as_many_snapshots_as_a_session_holds_are_named_each(count: int, keys: int, references: int) -> None:
    policy = many(count, keys, references)
    assert len(text_of(policy)) <= LONGEST
    named = [len(each["Resource"]) for each in policy["Statement"]]
    assert named == [each for each in (count, references, keys) if each]
    assert not [each for each in policy["Statement"] if "Condition" in each]


def test_more_references_than_a_session_holds_are_bound_by_all_of_their_tags() -> None:
    policy = many(60, 10, 60)
    assert len(text_of(policy)) <= LONGEST
    name = "arn:aws:ec2:ap-southeast-1::snapshot/snap-1"
    own, kept = ({f"aws__ResourceTag/{key}": value for key, value in tags.items()} for tags in (TAGS, KEPT_TAGS))
    assert allows(policy, "ebs:GetSnapshotBlock", name, **own)
    assert allows(policy, "ebs:ListChangedBlocks", name, **own)
    assert allows(policy, "ebs:ListChangedBlocks", name, **kept)
    assert not allows(policy, "ebs:GetSnapshotBlock", name, **kept)
    for missing in kept:
        some = {key: value for key, value in kept.items() if key != missing}
        assert not allows(policy, "ebs:ListChangedBlocks", name, **some)


@pytest.mark.parametrize(("count", "keys"), [(31, 0), (60, 0), (60, 10), (1000, 10)])
def test_more_snapshots_than_that_are_bound_by_all_of_their_tags(count: int, keys: int) -> None:
    policy = many(count, keys)
    assert len(text_of(policy)) <= LONGEST
    name, other = "arn:aws:ec2:ap-southeast-1::snapshot/snap-1", {"aws__ResourceTag/mayfly:run": "another-run"}
    carried = {f"aws__ResourceTag/{key}": value for key, value in TAGS.items()}
    assert allows(policy, "ebs:GetSnapshotBlock", name, **carried)
    assert not allows(policy, "ebs:GetSnapshotBlock", name)
    assert not allows(policy, "ebs:GetSnapshotBlock", name, **{**carried, **other})
    for missing in carried:
        some = {key: value for key, value in carried.items() if key != missing}
        assert not allows(policy, "ebs:GetSnapshotBlock", name, **some)
    assert not allows(policy, "ebs:GetSnapshotBlock", "arn:aws:ec2:us-east-1::snapshot/snap-1", **carried)


def test_the_longest_names_of_bucket_and_prefix_fit_a_session() -> None:
    for prefix, lock in (("p" * 400, False), ("p" * 390, True)):
        policy = repository_policy("aws-us-gov", "b" * 63, prefix, RESOURCE, write=True, lock=lock)
        assert len(text_of(policy)) <= LONGEST


def test_who_locks_cannot_unlock() -> None:
    policy, key = ALL["locked backup"], f"{BUCKET}/mayfly/{RESOURCE}/packs/00/{'0' * 32}"
    assert allows(policy, "s3:PutObjectRetention", key)
    assert not allows(policy, "s3:PutObjectRetention", f"{BUCKET}/mayfly/repository.json")
    assert not allows(policy, "s3:BypassGovernanceRetention", key)
    assert not allows(ALL["backup"], "s3:PutObjectRetention", key)


RETAINED = f"{BUCKET}/mayfly/{RESOURCE}"
DELETIONS = [
    ("s3:DeleteObject", f"{RETAINED}/packs/00/{'0' * 32}", True),
    ("s3:DeleteObjectVersion", f"{RETAINED}/points/x", True),
    ("s3:PutObject", f"{RETAINED}/marks/condemned/x", True),
    ("s3:GetObject", f"{BUCKET}/mayfly/repository.json", True),
    ("s3:DeleteObject", f"{BUCKET}/mayfly/repository.json", False),
    ("s3:PutObject", f"{BUCKET}/mayfly/repository.json", False),
    ("s3:DeleteObjectVersion", f"{BUCKET}/mayfly/keys/{'0' * 32}.1", False),
    ("s3:GetObject", f"{BUCKET}/mayfly/keys/{'0' * 32}.1", False),
    ("s3:DeleteObject", f"{BUCKET}/mayfly/checks/{'0' * 16}", False),
    ("s3:DeleteObject", f"{BUCKET}/other/{RESOURCE}/points/x", False),
    ("s3:DeleteObject", f"{RETAINED}/archives/x/{RESOURCE}/packs/00/0", False),
    ("s3:DeleteObjectVersion", f"{RETAINED}/archives/x/{RESOURCE}/points/x", False),
]


@pytest.mark.parametrize(("action", "resource", "allowed"), DELETIONS)
def test_retention_deletes_in_the_folders_of_resources_alone(action: str, resource: str, allowed: bool) -> None:
    assert allows(retention_policy("aws", "backups", "mayfly"), action, resource) is allowed


COPIES = [
    ("s3:GetObject", f"{RETAINED}/packs/00/{'0' * 32}", True, True),
    ("s3:PutObject", f"{RETAINED}/points/x", False, True),
    ("s3:DeleteObject", f"{RETAINED}/points/x", False, False),
    ("s3:GetObject", f"{BUCKET}/mayfly/repository.json", True, True),
    ("s3:PutObject", f"{BUCKET}/mayfly/repository.json", False, False),
    ("s3:GetObject", f"{BUCKET}/mayfly/keys/{'0' * 32}.1", False, False),
    ("s3:PutObject", f"{BUCKET}/other/{RESOURCE}/points/x", False, False),
]


@pytest.mark.parametrize(("action", "resource", "source", "target"), COPIES)
def test_a_copy_reads_here_and_writes_there(action: str, resource: str, source: bool, target: bool) -> None:
    assert allows(copy_policy("aws", "backups", "mayfly", write=False), action, resource) is source
    assert allows(copy_policy("aws", "backups", "mayfly", write=True), action, resource) is target


@pytest.mark.parametrize("lock", [False, True])
def test_who_makes_points_locks_them_where_that_is_asked(lock: bool) -> None:
    copies = copy_policy("aws", "backups", "mayfly", write=True, lock=lock)
    archives = folders_policy("aws", "backups", "mayfly", ARCHIVED, lock=lock)
    for policy, there in ((copies, "packs/00/1"), (archives, f"archives/x/{RESOURCE}/packs/00/1")):
        assert allows(policy, "s3:PutObjectRetention", f"{RETAINED}/{there}") is lock
        assert not allows(policy, "s3:PutObjectRetention", f"{BUCKET}/mayfly/repository.json")
        assert not allows(policy, "s3:BypassGovernanceRetention", f"{RETAINED}/{there}")
        assert len(text_of(policy)) <= LONGEST


def test_retention_lists_folders_of_resources_alone() -> None:
    policy = retention_policy("aws", "backups", "mayfly")
    assert allows(policy, "s3:ListBucketVersions", BUCKET, s3__prefix=f"mayfly/{RESOURCE}/points/")
    assert not allows(policy, "s3:ListBucketVersions", BUCKET, s3__prefix="mayfly/keys/")
    assert len(text_of(policy)) <= LONGEST


CHECKS = [
    ("s3:GetObject", f"{RETAINED}/packs/00/0", True),
    ("s3:GetObject", f"{BUCKET}/mayfly/repository.json", True),
    ("s3:GetObject", f"{BUCKET}/mayfly/keys/{'0' * 32}.1", False),
    ("s3:PutObject", f"{RETAINED}/marks/damaged/x", True),
    ("s3:PutObject", f"{RETAINED}/marks/keep/x", False),
    ("s3:PutObject", f"{RETAINED}/packs/00/0", False),
    ("s3:DeleteObject", f"{RETAINED}/marks/damaged/x", False),
]


@pytest.mark.parametrize(
    ("folders", "resource", "allowed"),
    [
        (ARCHIVED, f"{RETAINED}/archives/x/{RESOURCE}/packs/00/0", True),
        (ARCHIVED, f"{RETAINED}/packs/00/0", False),
        (ARCHIVED, f"{RETAINED}/points/x", False),
        (BROUGHT_BACK, f"{RETAINED}/packs/00/0", True),
        (BROUGHT_BACK, f"{RETAINED}/points/x", True),
        (BROUGHT_BACK, f"{RETAINED}/marks/keep/x", True),
        (BROUGHT_BACK, f"{RETAINED}/marks/damaged/x", False),
        (BROUGHT_BACK, f"{RETAINED}/archives/x/y", False),
    ],
)
def test_archiving_writes_sets_alone_and_the_way_back_none(
    folders: tuple[str, ...], resource: str, allowed: bool
) -> None:
    policy = folders_policy("aws", "backups", "mayfly", folders)
    assert allows(policy, "s3:PutObject", resource) is allowed
    assert not allows(policy, "s3:DeleteObject", resource)
    assert len(text_of(policy)) <= LONGEST


@pytest.mark.parametrize(("action", "resource", "allowed"), CHECKS)
def test_a_health_check_reads_and_marks_alone(action: str, resource: str, allowed: bool) -> None:
    policy = folders_policy("aws", "backups", "mayfly", MARKED)
    assert allows(policy, action, resource) is allowed
    assert len(text_of(policy)) <= LONGEST
