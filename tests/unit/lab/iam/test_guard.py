# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service asks before it answers: who, whether policies count at all, what is written down."""

from __future__ import annotations

import json
import time

import pytest
from mayfly_lab.accounts import new_access_key_id
from mayfly_lab.iam import denials
from mayfly_lab.iam.checks import Check
from mayfly_lab.iam.commands import told
from mayfly_lab.iam.decisions import Decisions
from mayfly_lab.iam.engine import Outcome
from mayfly_lab.iam.guard import Guard, conditions
from mayfly_lab.iam.switch import Switch
from mayfly_lab.refusals import Refusal
from mayfly_lab.sessions import Session, Sessions

from tests.unit.lab.iam.world import ACCOUNT, EC2, OTHER, allow, caller, policy

COMMON = conditions("us-east-1", "10.255.0.10")
ROLE = f"arn:aws:iam::{ACCOUNT}:role/worker"
USER = f"arn:aws:iam::{ACCOUNT}:user/reader"
ROOT = f"arn:aws:iam::{ACCOUNT}:user/administrator"
KEYS = {name: new_access_key_id(ACCOUNT, temporary=name == "session") for name in ("session", "reader", "root")}
DELETE = Check("ec2:DeleteVolume", f"{EC2}volume/vol-0a", ACCOUNT)


@pytest.fixture
def folder(switched, tmp_path):
    """The folder of a guard, beside the one whose switch is on."""
    (tmp_path / "engine.sock").symlink_to(switched / "engine.sock")
    return tmp_path


@pytest.fixture
def guard(folder):
    sessions = Sessions(folder / "sessions")
    sessions.begin(KEYS["session"], Session(time.time() + 60, ROLE, "s1", policy(allow("ec2:*")), {"a": "b"}))
    write(folder, policy(allow("ec2:Delete*")))
    return Guard(folder, sessions)


def write(folder, text: str) -> None:
    plain = {"tags": {}, "boundary": []}
    value = {
        "users": {
            USER: {**plain, "id": "AIDA1", "name": "reader", "policies": []},
            ROOT: {**plain, "id": "AIDA2", "name": "administrator", "policies": []},
        },
        "roles": {ROLE: {**plain, "id": "AROA1", "policies": [["own", text]], "trust": "{}", "tags": {"team": "x"}}},
        "access_keys": {KEYS["reader"]: USER, KEYS["root"]: ROOT},
        "administrators": [ROOT],
        "keys": {},
    }
    unfinished = folder / "unfinished"
    unfinished.write_text(json.dumps(value))
    unfinished.replace(folder / "identities.json")


def asked(guard: Guard, key: str, *checks: Check, service: str = "ec2") -> Refusal | None:
    who = guard.caller(service, KEYS[key])
    assert not isinstance(who, Refusal)
    return guard.refusal(service, "DeleteVolume", who, checks or [DELETE], COMMON)


def test_who_asks(guard):
    found = guard.caller("ec2", KEYS["session"])
    assert (found.arn, found.account) == (f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/s1", ACCOUNT)
    assert found.context["aws:PrincipalArn"] == ROLE
    assert (found.context["aws:userid"], found.context["aws:PrincipalTag/team"]) == ("AROA1:s1", "x")
    assert found.context["aws:PrincipalTag/a"] == "b"
    assert found.session_policy == policy(allow("ec2:*"))
    reader = guard.caller("ec2", KEYS["reader"])
    assert (reader.arn, reader.context["aws:username"]) == (USER, "reader")
    nobody = guard.caller("ec2", new_access_key_id(ACCOUNT, temporary=True))
    assert isinstance(nobody, Refusal)
    assert nobody.code == "AuthFailure"


def test_a_denial_is_what_aws_answers(guard):
    assert asked(guard, "session") is None
    refusal = asked(guard, "reader")
    assert (refusal.status, refusal.code) == (403, "UnauthorizedOperation")
    assert refusal.message.startswith(
        "You are not authorized to perform this operation. "
        f"User: {USER} is not authorized to perform: ec2:DeleteVolume on resource: {EC2}volume/vol-0a "
        "because no identity-based policy allows the ec2:DeleteVolume action. Encoded authorization failure message: "
    )
    other = Check("kms:ListKeys", "*", ACCOUNT)
    assert asked(guard, "reader", other, service="kms") == Refusal(
        400,
        "AccessDeniedException",
        f"User: {USER} is not authorized to perform: kms:ListKeys "
        "because no identity-based policy allows the kms:ListKeys action",
    )


def test_one_denial_is_enough_and_the_first_is_told(guard):
    denied = Check("ec2:CreateVolume", f"{EC2}volume/*", ACCOUNT)
    assert "ec2:CreateVolume" in asked(guard, "session", DELETE, denied).message


def test_a_guess_at_a_resource_counts_when_it_is_right(guard, folder):
    write(folder, policy(allow("*")))
    volume = Check("ec2:DeleteSubnet", f"{EC2}volume/vol-0a", ACCOUNT, open=True)
    subnet = Check("ec2:DeleteSubnet", f"{EC2}subnet/subnet-0a", ACCOUNT, open=True)
    assert asked(guard, "session", volume, subnet) is None
    assert "because the lab cannot decide it" in asked(guard, "session", volume).message


def test_the_administrator_of_an_account_is_free_in_it_and_nowhere_else(guard):
    assert asked(guard, "root") is None
    closed = policy({**allow("s3:*", effect="Deny"), "Principal": "*"})
    own = Check("s3:GetObject", "arn:aws:s3:::data/k", ACCOUNT, {}, closed)
    assert asked(guard, "root", own, service="s3").code == "AccessDenied"
    lifted = Check("s3:DeleteBucketPolicy", "arn:aws:s3:::data", ACCOUNT, {}, closed)
    assert asked(guard, "root", lifted, service="s3") is None
    assert asked(guard, "root", Check("s3:GetObject", "arn:aws:s3:::data/k", OTHER), service="s3") is not None


def test_a_changed_policy_counts_at_once(guard, folder):
    assert asked(guard, "session") is None
    write(folder, policy(allow("s3:*")))
    assert asked(guard, "session") is not None


def test_policies_count_while_the_switch_is_on(guard, folder):
    assert not guard.enforces
    (folder / "enforced").touch()
    assert guard.enforces


def test_nothing_is_allowed_while_nobody_decides(folder, guard):
    (folder / "engine.sock").unlink()
    assert asked(guard, "session").status == 500


@pytest.fixture
def switch(tmp_path):
    made = Switch(tmp_path / "other", tmp_path / "log")
    yield made
    made.turn(False)


def test_who_has_asked_before_is_decided_about_after_a_new_start_too(tmp_path, guard, switch):
    (tmp_path / "engine.sock").unlink()
    (tmp_path / "engine.sock").symlink_to(tmp_path / "other/engine.sock")
    for number in range(2):
        switch.turn(True)
        assert (tmp_path / "other/enforced").exists()
        other = Check("ec2:DeleteVolume", f"{EC2}volume/vol-{number}", ACCOUNT)
        assert asked(guard, "session", other) is None
        switch.turn(False)
    assert switch.services() == {}
    assert not (tmp_path / "other/enforced").exists()


def test_every_decision_is_written_down_but_an_administrators(guard, folder):
    asked(guard, "root")
    asked(guard, "session")
    asked(guard, "reader")
    known = Decisions(folder)
    assert [entry["allowed"] for entry in known.recent(10, denied=False)] == [True, False]
    (denial,) = known.recent(10, denied=True)
    assert (denial["caller"], denial["action"], denial["resource"]) == (USER, DELETE.action, DELETE.resource)
    first = next(told(denial))
    assert first[9:] == f"denied  ec2:DeleteVolume on {DELETE.resource} to {USER} (DeleteVolume)"


def test_the_files_of_decisions_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("mayfly_lab.iam.decisions._MOST_BYTES", 2000)
    known = Decisions(tmp_path)
    for number in range(100):
        known.add([{"number": number, "allowed": number % 2 == 0, "text": "x" * 50}])
    assert sum(path.stat().st_size for path in tmp_path.glob("*.jsonl")) < 4 * 2200
    assert [entry["number"] for entry in known.recent(3, denied=False)] == [97, 98, 99]
    assert [entry["number"] for entry in known.recent(2, denied=True)] == [97, 99]


NO, YES = "ImplicitlyDenied", "Allowed"


@pytest.mark.parametrize(
    ("result", "parts", "owner", "wanted"),
    [
        (NO, {"identity": NO}, ACCOUNT, "because no identity-based policy allows the s3:GetObject action"),
        (NO, {"identity": YES, "session": NO}, ACCOUNT, "because no session policy allows the s3:GetObject action"),
        (NO, {"identity": NO, "session": NO}, ACCOUNT, "because no session policy allows the s3:GetObject action"),
        (
            NO,
            {"identity": YES, "boundary": NO},
            ACCOUNT,
            "because no permissions boundary allows the s3:GetObject action",
        ),
        (
            NO,
            {"identity": YES, "resource": NO},
            ACCOUNT,
            "because no resource-based policy allows the s3:GetObject action",
        ),
        (
            NO,
            {"identity": YES, "resource": "NotApplicable"},
            OTHER,
            "because no resource-based policy allows the s3:GetObject action",
        ),
        (
            "ExplicitlyDenied",
            {"identity": "ExplicitlyDenied"},
            ACCOUNT,
            "with an explicit deny in an identity-based policy",
        ),
        (
            "ExplicitlyDenied",
            {"identity": YES, "resource": "ExplicitlyDenied"},
            ACCOUNT,
            "with an explicit deny in a resource-based policy",
        ),
        (
            "ExplicitlyDenied",
            {"identity": YES, "session": "ExplicitlyDenied"},
            ACCOUNT,
            "with an explicit deny in a session policy",
        ),
    ],
)
def test_the_reason_of_a_denial(result, parts, owner, wanted):
    check = Check("s3:GetObject", "arn:aws:s3:::data/k", owner)
    assert denials.reason(caller(), check, Outcome(result, parts)) == wanted
