# SPDX-License-Identifier: GPL-3.0-or-later
"""What policies say, by the process that evaluates them."""

from __future__ import annotations

import json

import pytest
from mayfly_lab.iam import ebs, ec2, kms, named, s3
from mayfly_lab.iam.checks import Check
from mayfly_lab.iam.engine import Engine
from mayfly_lab.iam.guard import conditions
from mayfly_lab.iam.parameters import Parameters

from tests.unit.lab.iam import test_ec2, test_kms, test_launches, test_other_services, test_s3
from tests.unit.lab.iam.world import ACCOUNT, EC2, KEY, KEYS, OTHER, PLACE, WORLD, allow, caller, policy

COMMON = conditions("us-east-1", "10.255.0.10")
TERMINATE = Check("ec2:TerminateInstances", f"{EC2}instance/i-0a", ACCOUNT, {"aws:ResourceTag/run id": "r1"})
RUN = Check("ec2:RunInstances", f"{EC2}instance/*", ACCOUNT, {"aws:RequestTag/run": "r1", "aws:TagKeys": ["run", "b"]})
GET = Check("s3:GetObject", "arn:aws:s3:::data/a/k", ACCOUNT)
ROLE = f"arn:aws:iam::{ACCOUNT}:role/worker"


def decided(engine: Engine, who, check: Check) -> str:
    return engine.decide(who, [check], COMMON)[0].result


def tagged(value: str, operator: str = "StringEquals"):
    return {operator: {"aws:ResourceTag/run id": value}}


@pytest.mark.parametrize(
    ("statements", "check", "wanted"),
    [
        ([], TERMINATE, "ImplicitlyDenied"),
        ([allow("*")], TERMINATE, "Allowed"),
        ([allow("ec2:Terminate*", f"{EC2}instance/i-0*")], TERMINATE, "Allowed"),
        ([allow("ec2:Terminate?nstances", "arn:aws:ec2:*:*:instance/i-0?")], TERMINATE, "Allowed"),
        ([allow("ec2:TerminateInstances", f"{EC2}instance/i-0b")], TERMINATE, "ImplicitlyDenied"),
        ([allow("ec2:TerminateInstances", condition=tagged("r1"))], TERMINATE, "Allowed"),
        ([allow("ec2:TerminateInstances", condition=tagged("r2"))], TERMINATE, "ImplicitlyDenied"),
        ([allow("ec2:TerminateInstances", condition=tagged("r*", "StringLike"))], TERMINATE, "Allowed"),
        ([allow("*"), allow("ec2:Terminate*", effect="Deny")], TERMINATE, "ExplicitlyDenied"),
        ([allow("*"), allow("*", condition=tagged("r1", "StringNotEquals"), effect="Deny")], TERMINATE, "Allowed"),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], TERMINATE, "Allowed"),
        ([{"Effect": "Allow", "NotAction": "ec2:*", "Resource": "*"}], TERMINATE, "ImplicitlyDenied"),
        ([{"Effect": "Allow", "Action": "*", "NotResource": f"{EC2}instance/*"}], TERMINATE, "ImplicitlyDenied"),
        ([allow("*", condition={"StringEquals": {"aws:RequestedRegion": "eu-west-1"}})], TERMINATE, "ImplicitlyDenied"),
        ([allow("*", condition={"IpAddress": {"aws:SourceIp": "10.255.0.0/16"}})], TERMINATE, "Allowed"),
        ([allow("*", condition={"Null": {"aws:ResourceTag/other": "true"}})], TERMINATE, "Allowed"),
        ([allow("*", condition={"DateGreaterThan": {"aws:CurrentTime": "2099-01-01"}})], RUN, "ImplicitlyDenied"),
        ([allow("ec2:RunInstances", f"{EC2}instance/*")], RUN, "Allowed"),
        ([allow("ec2:RunInstances", f"{EC2}instance/i-*")], RUN, "ImplicitlyDenied"),
        ([allow("*", condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["run", "b", "c"]}})], RUN, "Allowed"),
        ([allow("*", condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["run"]}})], RUN, "ImplicitlyDenied"),
        ([allow("s3:GetObject", "arn:aws:s3:::data/a/*")], GET, "Allowed"),
        ([allow("s3:GetObject", "arn:aws:s3:::data/${aws:PrincipalAccount}/*")], GET, "ImplicitlyDenied"),
    ],
)  # fmt: skip
def test_identity_policies(engine, statements, check, wanted):
    assert decided(engine, caller(*statements), check) == wanted


@pytest.mark.parametrize(
    ("key", "wanted"), [("111122223333/k", "Allowed"), ("a/k", "ImplicitlyDenied"), ("111122223333/*[?", "Allowed")]
)
def test_a_variable_in_a_policy_and_a_star_in_a_request(engine, key, wanted):
    who = caller(allow("s3:GetObject", "arn:aws:s3:::data/${aws:PrincipalAccount}/*"))
    assert decided(engine, who, Check("s3:GetObject", f"arn:aws:s3:::data/{key}", ACCOUNT)) == wanted


@pytest.mark.parametrize(
    ("limits", "part"),
    [
        ({"session": policy(allow("s3:*"))}, "session"),
        ({"boundary": policy(allow("s3:*"))}, "boundary"),
    ],
)
def test_what_narrows_a_caller(engine, limits, part):
    (outcome,) = engine.decide(caller(allow("*"), **limits), [TERMINATE], COMMON)
    assert (outcome.result, outcome.parts[part]) == ("ImplicitlyDenied", "ImplicitlyDenied")
    assert decided(engine, caller(allow("*"), **limits), GET) == "Allowed"
    assert decided(engine, caller(**limits), GET) == "ImplicitlyDenied", "it gives nothing by itself"


def trusting(principal: str, **condition):
    statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
    return policy({**statement, **({"Condition": condition} if condition else {})})


@pytest.mark.parametrize(
    ("owner", "trust", "may", "wanted"),
    [
        (ACCOUNT, trusting(ACCOUNT), True, "Allowed"),
        (ACCOUNT, trusting(ACCOUNT), False, "ImplicitlyDenied"),
        (ACCOUNT, trusting(ROLE), False, "Allowed"),
        (ACCOUNT, trusting(OTHER), True, "ImplicitlyDenied"),
        (OTHER, trusting(ACCOUNT), True, "Allowed"),
        (OTHER, trusting(ROLE), False, "ImplicitlyDenied"),
        (OTHER, trusting(ROLE), True, "Allowed"),
        (OTHER, trusting(ACCOUNT, StringEquals={"sts:ExternalId": "f"}), True, "ImplicitlyDenied"),
        (OTHER, trusting(ACCOUNT, StringEquals={"sts:ExternalId": "e"}), True, "Allowed"),
    ],
)
def test_roles_that_are_assumed(engine, owner, trust, may, wanted):
    check = Check("sts:AssumeRole", f"arn:aws:iam::{owner}:role/r", owner, {"sts:ExternalId": "e"}, trust)
    assert decided(engine, caller(*([allow("sts:AssumeRole")] if may else [])), check) == wanted


def test_a_role_is_not_assumed_without_the_external_id_it_wants(engine):
    trust = trusting(ACCOUNT, StringEquals={"sts:ExternalId": "e"})
    check = Check("sts:AssumeRole", f"arn:aws:iam::{OTHER}:role/r", OTHER, {}, trust)
    assert decided(engine, caller(allow("sts:AssumeRole")), check) == "ImplicitlyDenied"


@pytest.mark.parametrize(
    ("owner", "bucket", "allowed", "wanted"),
    [
        (ACCOUNT, None, True, "Allowed"),
        (OTHER, None, True, "ImplicitlyDenied"),
        (OTHER, policy({**allow("s3:*"), "Principal": {"AWS": ROLE}}), True, "Allowed"),
        (OTHER, policy({**allow("s3:*"), "Principal": {"AWS": ROLE}}), False, "ImplicitlyDenied"),
        (ACCOUNT, policy({**allow("s3:*"), "Principal": {"AWS": ROLE}}), False, "Allowed"),
        (ACCOUNT, policy({**allow("s3:*", effect="Deny"), "Principal": "*"}), True, "ExplicitlyDenied"),
    ],
)
def test_buckets(engine, owner, bucket, allowed, wanted):
    check = Check("s3:GetObject", "arn:aws:s3:::data/k", owner, {}, bucket)
    assert decided(engine, caller(*([allow("s3:GetObject")] if allowed else [])), check) == wanted


ENCRYPTED = {"StringEquals": {"kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::data"}}


@pytest.mark.parametrize(
    ("statements", "encryption", "wanted"),
    [
        ([], {}, "ImplicitlyDenied"),
        ([allow("kms:Decrypt", KEY)], {}, "Allowed"),
        ([allow("kms:Decrypt", KEY, ENCRYPTED)], {}, "ImplicitlyDenied"),
        ([allow("kms:Decrypt", KEY, ENCRYPTED)], {"aws:s3:arn": "arn:aws:s3:::data"}, "Allowed"),
        ([allow("kms:Decrypt", KEY, ENCRYPTED)], {"aws:s3:arn": "arn:aws:s3:::other"}, "ImplicitlyDenied"),
    ],
)
def test_keys(engine, statements, encryption, wanted):
    (check,) = kms.checks("Decrypt", {"KeyId": KEY, "EncryptionContext": encryption}, PLACE, KEYS)
    assert decided(engine, caller(*statements), check) == wanted


def test_a_key_whose_policy_names_nobody_is_nobodys(engine):
    keys = {
        KEY: {**KEYS[KEY], "policy": policy({**allow("kms:*"), "Principal": {"AWS": f"arn:aws:iam::{OTHER}:root"}})}
    }
    (check,) = kms.checks("Decrypt", {"KeyId": KEY}, PLACE, keys)
    assert decided(engine, caller(allow("kms:*")), check) == "ImplicitlyDenied"


def test_a_denial_tells_what_was_in_the_way(engine):
    statements = [{"Sid": "Own", **allow("ec2:TerminateInstances", condition=tagged("r2"))}, allow("s3:*")]
    (outcome,) = engine.decide(caller(*statements), [TERMINATE], COMMON)
    (near,) = outcome.near
    assert near["statement"] == "identity policy own, Own"
    assert near["obstacles"] == ["wants StringEquals aws:ResourceTag/run id: r2"]
    (denied,) = engine.decide(caller(allow("*"), {"Sid": "No", **allow("ec2:*", effect="Deny")}), [TERMINATE], COMMON)
    assert denied.denying == ["identity policy own, No"]


def test_what_cannot_be_decided_is_denied(engine):
    broken = caller({"Effect": "Allow", "Action": "ec2:*"})
    wrong = [(broken, TERMINATE), (caller(allow("*")), Check("ec2:There", "*", ACCOUNT))]
    for who, check in wrong:
        (outcome,) = engine.decide(who, [check], COMMON)
        assert (outcome.result, outcome.allowed) == ("Error", False)
        assert outcome.error


def every_check() -> list[Check]:
    """Those of all requests in the tables of the other tests."""
    bucket = s3.Bucket("data", ACCOUNT)
    found = [each for call, pairs, _ in test_ec2.CALLS for each in ec2.checks(call, Parameters(pairs), PLACE, WORLD)]
    for pairs, _ in test_launches.LAUNCHES:
        found += ec2.checks("RunInstances", Parameters([test_launches.IMAGE, *pairs]), PLACE, WORLD)
    found += [each for call, more, _ in test_s3.CALLS for each in test_s3.checks(call, bucket=bucket, **more)]
    found += [each for call, value, _ in test_kms.CALLS for each in kms.checks(call, value, PLACE, KEYS)]
    for call, snapshots, value, _ in test_other_services.EBS_CALLS:
        found += ebs.checks(call, [ebs.Snapshot(each) for each in snapshots], value, PLACE, KEYS)
    for service, call, pairs, _ in test_other_services.NAMED_CALLS:
        found += named.checks(service, call, Parameters(pairs.items()), PLACE, lambda _: {"a": "b"})
    return [*found, s3.seeing(bucket), s3.deletion("k", "1", bucket)]


def test_the_data_of_the_engine_has_every_action_and_resource(engine):
    checks = every_check()
    assert len(checks) > 140
    outcomes = engine.decide(caller(allow("*")), checks, COMMON)
    wrong = [
        (check.action, check.resource, outcome.error or outcome.result)
        for check, outcome in zip(checks, outcomes, strict=True)
        if not outcome.allowed and not (check.open and outcome.knows_no_such)
    ]
    assert wrong == []


def test_no_condition_of_ec2s_is_made_up(engine):
    checks = [check for check in every_check() if check.action.startswith(("ec2:", "ebs:"))]
    outcomes = engine.decide(caller(allow("*")), checks, {})
    made_up = {key for outcome in outcomes for key in outcome.ignored}
    assert made_up <= {"ec2:VolumeSize", "ec2:Encrypted"}, json.dumps(sorted(made_up))
