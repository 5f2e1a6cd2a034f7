# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes between a request and its answer, in the words of each service."""

from __future__ import annotations

import time

import pytest
from mayfly_lab.faults import Faults, Request
from mayfly_lab.gate import Gate
from mayfly_lab.refusals import failure
from mayfly_lab.sessions import Session, Sessions
from mayfly_lab.web import NoAnswer

USER, SESSION = "AKIA111122223333ABCD", "ASIA111122223333ABCD"


@pytest.fixture
def faults(tmp_path):
    return Faults(tmp_path)


@pytest.fixture
def gate(tmp_path, faults):
    return Gate(faults, Sessions(tmp_path / "sessions"))


def asked(service: str, call: str = "Call", *resources: str) -> Request:
    return Request(service, call, "111122223333", "us-east-1", resources)


def code(refusal) -> tuple[str, int] | None:
    return refusal and (refusal.code, refusal.status)


WORDS = {
    "ec2": [("RequestLimitExceeded", 503), ("RequestExpired", 400), ("InternalError", 500)],
    "sts": [("Throttling", 400), ("ExpiredToken", 403), ("InternalFailure", 500)],
    "iam": [("Throttling", 400), ("ExpiredToken", 403), ("InternalFailure", 500)],
    "kms": [("ThrottlingException", 400), ("ExpiredTokenException", 400), ("KMSInternalException", 500)],
    "ssm": [("ThrottlingException", 400), ("ExpiredTokenException", 400), ("InternalServerError", 500)],
    "s3": [("SlowDown", 503), ("ExpiredToken", 400), ("InternalError", 500)],
    "ebs": [("ThrottlingException", 400), ("ExpiredTokenException", 403), ("InternalServerException", 500)],
}


@pytest.mark.parametrize("service", WORDS)
def test_each_service_has_its_own_words(gate, faults, service):
    for kind, expected in zip(("throttle", "expired-credentials", "error"), WORDS[service], strict=True):
        faults.add(kind, times=1, service=service)
        other = "s3" if service != "s3" else "ec2"
        assert gate.enter(asked(other), SESSION) is None
        assert code(gate.enter(asked(service), SESSION)) == expected
        assert gate.enter(asked(service), SESSION) is None


def test_a_user_has_no_session_that_could_expire(gate, faults):
    faults.add("expired-credentials")
    assert gate.enter(asked("ec2"), USER) is None


def test_a_session_expires_in_every_process(tmp_path, gate):
    Sessions(tmp_path / "sessions").begin(SESSION, Session(time.time() + 0.2))
    assert gate.enter(asked("ec2"), SESSION) is None
    time.sleep(0.25)
    assert code(gate.enter(asked("ec2"), SESSION)) == ("RequestExpired", 400)
    assert code(Gate(Faults(tmp_path), Sessions(tmp_path / "sessions")).enter(asked("s3"), SESSION)) == (
        "ExpiredToken",
        400,
    )
    assert gate.enter(asked("ec2"), USER) is None


def test_a_rate_lets_as_many_through_as_it_says(gate, faults):
    faults.add("throttle", rate=4)
    passed = [gate.enter(asked("ebs"), USER) is None for _ in range(10)]
    assert passed == [True] * 4 + [False] * 6
    time.sleep(0.55)
    assert [gate.enter(asked("ebs"), USER) is None for _ in range(3)] == [True, True, False]


def test_a_rate_below_one_a_second_lets_one_through(gate, faults):
    faults.add("throttle", rate=0.5)
    assert [gate.enter(asked("ebs"), USER) is None for _ in range(2)] == [True, False]


def test_a_snapshot_is_throttled_by_itself_and_only_its_blocks(gate, faults):
    faults.add("throttle", snapshot="snap-1")
    refusal = gate.enter(asked("ebs", "GetSnapshotBlock", "snap-1"), USER)
    assert (refusal.code, refusal.reason) == ("RequestThrottledException", "RESOURCE_LEVEL_THROTTLE")
    assert gate.enter(asked("ebs", "GetSnapshotBlock", "snap-2"), USER) is None
    assert gate.enter(asked("ebs", "ListSnapshotBlocks", "snap-1"), USER) is None


def test_a_slow_answer_waits_where_it_is_asked_to(gate, faults):
    for before, waits in ((True, (True, False)), (None, (False, True))):
        faults.add("slow", times=1, seconds=0.2, before=before)
        began = time.monotonic()
        gate.enter(asked("ec2"), USER)
        middle = time.monotonic()
        gate.leave(asked("ec2"), 200)
        assert (middle - began > 0.15, time.monotonic() - middle > 0.15) == waits


def test_no_answer(gate, faults):
    faults.add("time-out", times=1, seconds=7)
    with pytest.raises(NoAnswer) as caught:
        gate.enter(asked("ec2"), USER)
    assert caught.value.seconds == 7
    faults.add("lost-answer", times=1)
    assert gate.enter(asked("ec2"), USER) is None
    gate.leave(asked("ec2"), 400)  # an error is no answer worth losing
    with pytest.raises(NoAnswer) as caught:
        gate.leave(asked("ec2"), 200)
    assert caught.value.seconds == 0
    gate.leave(asked("ec2"), 200)


@pytest.mark.parametrize(
    ("service", "wanted", "expected"),
    [
        ("ec2", {"code": "UnauthorizedOperation"}, ("UnauthorizedOperation", 403)),
        ("ec2", {"code": "InvalidSubnetID.NotFound"}, ("InvalidSubnetID.NotFound", 400)),
        ("ec2", {"status": 503}, ("Unavailable", 503)),
        ("ec2", {"code": "Odd", "status": 418}, ("Odd", 418)),
        ("kms", {"status": 503}, ("ServiceUnavailable", 503)),
        ("s3", {"status": 503}, ("SlowDown", 503)),
        ("s3", {"code": "NoSuchKey"}, ("NoSuchKey", 404)),
        ("ebs", {"status": 400}, ("InvalidRequest", 400)),
        ("ebs", {"code": "InternalServerException"}, ("InternalServerException", 500)),
    ],
)
def test_code_and_status_go_with_one_another(service, wanted, expected):
    values = {"code": None, "status": None, "message": None, "reason": None, **wanted}
    assert code(failure(service, **values)) == expected
