# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to KMS, and what services do with a key for their caller."""

from __future__ import annotations

import base64
import json

import pytest
from mayfly_lab.iam import kms

from tests.unit.lab.iam.world import ACCOUNT, KEY, KEYS, OPEN_KEY, PLACE, shown

ID = KEY.rpartition("/")[2]
ALIAS = f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/mayfly"
BLOB = base64.b64encode(ID.encode() + bytes(40)).decode()


def checks(call: str, **value):
    return kms.checks(call, value, PLACE, KEYS)


@pytest.mark.parametrize("name", [ID, KEY, "alias/mayfly", ALIAS])
def test_a_key_is_found_by_its_names(name):
    assert kms.find(name, PLACE, KEYS) == KEY
    assert kms.find(name.replace("1111111", "2222222").replace("mayfly", "other"), PLACE, KEYS) is None


CALLS = [
    ("Decrypt", {"CiphertextBlob": BLOB}, [f"kms:Decrypt {KEY}"]),
    ("GenerateDataKey", {"KeyId": "alias/mayfly"}, [f"kms:GenerateDataKey {KEY}"]),
    ("DescribeKey", {"KeyId": ID}, [f"kms:DescribeKey {KEY}"]),
    ("DescribeKey", {"KeyId": "alias/there-is-none"}, []),
    ("CreateGrant", {"KeyId": ID, "Operations": ["Decrypt"]}, [f"kms:CreateGrant {KEY}"]),
    (
        "ReEncrypt",
        {"CiphertextBlob": BLOB, "DestinationKeyId": ID},
        [f"kms:ReEncryptFrom {KEY}", f"kms:ReEncryptTo {KEY}"],
    ),
    (
        "CreateAlias",
        {"AliasName": "alias/new", "TargetKeyId": ID},
        [f"kms:CreateAlias {ALIAS.replace('mayfly', 'new')}", f"kms:CreateAlias {KEY}"],
    ),
    ("ListKeys", {}, ["kms:ListKeys *"]),
    ("CreateKey", {}, ["kms:CreateKey *"]),
]


@pytest.mark.parametrize(("call", "value", "wanted"), CALLS)
def test_the_actions_of_a_call(call, value, wanted):
    assert [shown(check) for check in checks(call, **value)] == wanted


def test_the_conditions_of_a_call():
    (check,) = checks("GenerateDataKey", KeyId="alias/mayfly", EncryptionContext={"resource": "i-0a"})
    assert check.resource_policy == OPEN_KEY
    assert check.context["kms:CallerAccount"] == ACCOUNT
    assert check.context["kms:RequestAlias"] == "alias/mayfly"
    assert check.context["kms:ResourceAliases"] == ["alias/mayfly"]
    assert check.context["kms:EncryptionContext:resource"] == "i-0a"
    assert check.context["kms:EncryptionContextKeys"] == ["resource"]
    assert check.context["aws:ResourceTag/team"] == "backup"
    assert "kms:ViaService" not in check.context


def test_the_conditions_of_a_grant():
    (check,) = checks("CreateGrant", KeyId=ID, Operations=["Decrypt"], GranteePrincipal="arn:x")
    assert check.context["kms:GrantIsForAWSResource"] == "false"
    assert (check.context["kms:GrantOperations"], check.context["kms:GranteePrincipal"]) == (["Decrypt"], "arn:x")


def test_a_grant_is_a_statement_of_the_keys_policy():
    grant = {"id": "g-1", "grantee": "arn:aws:iam::1:role/r", "operations": ["Decrypt"], "constraints": {}}
    narrow = {**grant, "constraints": {"EncryptionContextSubset": {"a": "b"}}}
    keys = {KEY: {**KEYS[KEY], "grants": [grant, narrow]}}
    (check,) = kms.checks("Decrypt", {"CiphertextBlob": BLOB}, PLACE, keys)
    _, one, other = json.loads(check.resource_policy or "")["Statement"]
    assert (one["Principal"], one["Action"]) == ({"AWS": "arn:aws:iam::1:role/r"}, ["kms:Decrypt"])
    assert "Condition" not in one
    assert other["Condition"] == {"StringEquals": {"kms:EncryptionContext:a": "b"}}


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (None, ["kms:GenerateDataKeyWithoutPlaintext", "kms:CreateGrant"]),
        (KEY, ["kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:CreateGrant"]),
    ],
)
def test_what_ebs_does_for_whoever_makes_an_encrypted_volume(source, wanted):
    found = kms.for_volume(KEY, source, PLACE, KEYS)
    assert [check.action for check in found] == wanted
    assert {check.context["kms:ViaService"] for check in found} == {"ec2.us-east-1.amazonaws.com"}
    assert [check.context.get("kms:GrantIsForAWSResource") for check in found][-1] == "true"


def test_the_keys_that_aws_manages_are_everybodys():
    keys = {KEY: {**KEYS[KEY], "aliases": ["alias/aws/ebs"]}}
    assert kms.for_volume(KEY, None, PLACE, keys) == []
    assert kms.for_blocks("alias/there-is-none", PLACE, keys) == []
