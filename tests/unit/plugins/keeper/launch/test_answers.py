# SPDX-License-Identifier: GPL-3.0-or-later
"""What each answer of RunInstances means: another candidate, another try, a doubt to settle, or the end."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import launch
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError

from tests.unit.plugins.keeper.fakes import CANDIDATE

URL = "https://ec2.eu-central-1.amazonaws.com"
INSTANCE = {"InstanceId": "i-0123456789abcdef0", "State": {"Name": "pending"}}
PARAMETERS = launch.request(CANDIDATE, ["sg-1"], "#!/bin/sh\n", {"Name": "worker"}, "the-token")


def refused(code: str, message: str = "No.", status: int = 400) -> ClientError:
    """AWS's answer with an error."""
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "RunInstances")


THROTTLED = refused("RequestLimitExceeded", "Request limit exceeded.", 503)
BROKEN = refused("InternalError", "An internal error has occurred", 500)
CAPACITY = refused("InsufficientInstanceCapacity", "We currently do not have sufficient capacity.", 500)
LOST = ReadTimeoutError(endpoint_url=URL)
LOST_ANSWERS = {
    "a read time-out": LOST,
    "a connection that was closed": ConnectionClosedError(endpoint_url=URL),
    "a connection that was not made": EndpointConnectionError(endpoint_url=URL),
    "a connection that took too long": ConnectTimeoutError(endpoint_url=URL),
    "an answer that is no XML": ResponseParserError("not XML"),
    "an internal error": BROKEN,
    "an error without a text": refused("Unavailable", "", 503),
}
EXPIRED = refused("RequestExpired", "Request has expired.")


class Ec2:
    """Answers RunInstances as its script says; the last answer is given for ever.

    ``found`` is what DescribeInstances answers to the launch's token: an instance, an error, or None for nothing.
    """

    def __init__(self, *script: Any, found: Any = None) -> None:
        self.script = list(script)
        self.found = found if isinstance(found, list) else [found]
        self.asked: list[str] = []
        self.looked = 0

    def run_instances(self, **parameters: Any) -> dict[str, Any]:
        self.asked.append(repr(parameters))
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, Exception):
            raise answer
        return {"Instances": [answer]}

    def describe_instances(self, **parameters: Any) -> dict[str, Any]:
        assert parameters == {"Filters": [{"Name": "client-token", "Values": ["the-token"]}]}
        answer = self.found[min(self.looked, len(self.found) - 1)]
        self.looked += 1
        if isinstance(answer, Exception):
            raise answer
        return {"Reservations": [{"Instances": [answer]}] if answer else []}


class Clock:
    """Takes note of pauses, and sleeps not at all; raises at the pause of that number."""

    def __init__(self, gives_up_at: int = 10**6) -> None:
        self.pauses: list[float] = []
        self.gives_up_at = gives_up_at

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) == self.gives_up_at:
            raise KeeperError("Canceled", "The launch was canceled.")


def launched(ec2: Ec2, clock: Clock | None = None) -> dict[str, Any]:
    """Launch, and check that every try was the very same request."""
    try:
        return launch.run_instances(ec2, dict(PARAMETERS), (clock or Clock()).pause)
    finally:
        assert set(ec2.asked) == {repr(PARAMETERS)}


def test_a_clear_answer_is_taken_at_once() -> None:
    clock = Clock()
    assert launched(Ec2(INSTANCE), clock) == INSTANCE
    assert clock.pauses == []


@pytest.mark.parametrize("code", sorted(launch.FAILOVER_CODES))
@pytest.mark.parametrize("status", [400, 500, 503])
def test_want_of_capacity_moves_on_to_another_candidate_at_once(code: str, status: int) -> None:
    ec2, clock = Ec2(refused(code, "Not here.", status)), Clock()
    with pytest.raises(launch.CandidateFailed) as caught:
        launched(ec2, clock)
    assert (caught.value.code, caught.value.message) == (code, "Not here.")
    assert str(caught.value) == f"{code}: Not here."
    assert (len(ec2.asked), clock.pauses) == (1, [])


def test_the_codes_that_move_on_are_these() -> None:
    assert {
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "Unsupported",
        "UnsupportedOperation",
        "VcpuLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "SpotMaxPriceTooLow",
        "InsufficientFreeAddressesInSubnet",
        "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
    } == launch.FAILOVER_CODES


YOUNG_GROUP = refused("InvalidGroup.NotFound", "The security group 'sg-1' does not exist")
YOUNG_PROFILE = refused("InvalidParameterValue", "Value (mayfly) for parameter iamInstanceProfile.name is invalid.")
THROTTLING = ("RequestLimitExceeded", "Throttling", "ThrottlingException", "RequestThrottled")
TRIED_AGAIN = {
    **{f"{code}, {status}": refused(code, "", status) for code in THROTTLING for status in (400, 503)},
    "a young security group": YOUNG_GROUP,
    "a young instance profile": YOUNG_PROFILE,
    "a young instance profile, in words": refused("InvalidParameterValue", "Invalid IAM Instance Profile name"),
}


@pytest.mark.parametrize("error", TRIED_AGAIN.values(), ids=TRIED_AGAIN.keys())
def test_what_passes_by_itself_is_waited_for(error: ClientError) -> None:
    clock = Clock()
    ec2 = Ec2(error, error, INSTANCE)
    assert launched(ec2, clock) == INSTANCE
    assert (len(ec2.asked), len(clock.pauses)) == (3, 2)


@pytest.mark.parametrize("error", TRIED_AGAIN.values(), ids=TRIED_AGAIN.keys())
def test_what_does_not_pass_ends_without_a_doubt(error: ClientError) -> None:
    ec2 = Ec2(error)
    with pytest.raises(KeeperError) as caught:
        launched(ec2)
    code = error.response["Error"]["Code"]
    assert caught.value.code == ("Throttled" if "hrottl" in code or "Limit" in code else code)
    assert not isinstance(caught.value, launch.LaunchDoubtful)
    assert len(ec2.asked) == 8


@pytest.mark.parametrize("lost", LOST_ANSWERS.values(), ids=LOST_ANSWERS.keys())
class TestALostAnswer:
    def test_is_settled_by_the_very_same_request(self, lost: Exception) -> None:
        ec2, clock = Ec2(lost, INSTANCE), Clock()
        assert launched(ec2, clock) == INSTANCE
        assert (len(ec2.asked), len(clock.pauses)) == (2, 1)

    def test_is_settled_by_its_token_when_no_clear_one_comes(self, lost: Exception) -> None:
        ec2 = Ec2(lost, found=INSTANCE)
        assert launched(ec2) == INSTANCE
        assert (len(ec2.asked), ec2.looked) == (8, 1)

    def test_stays_a_doubt_when_nothing_is_found_either(self, lost: Exception) -> None:
        ec2 = Ec2(lost)
        with pytest.raises(launch.LaunchDoubtful) as caught:
            launched(ec2)
        assert caught.value.code == "LaunchDoubtful"
        assert caught.value.remedy
        assert (len(ec2.asked), ec2.looked) == (8, 5)

    def test_stays_a_doubt_when_aws_only_throttles_from_then_on(self, lost: Exception) -> None:
        with pytest.raises(launch.LaunchDoubtful):
            launched(Ec2(THROTTLED, lost, THROTTLED))

    def test_is_settled_by_want_of_capacity(self, lost: Exception) -> None:
        """With its token, a launch that had come through would have been answered as such."""
        with pytest.raises(launch.CandidateFailed):
            launched(Ec2(lost, CAPACITY))

    def test_stays_a_doubt_when_the_next_try_is_refused(self, lost: Exception) -> None:
        """Expired credentials say nothing of what the first try has done."""
        with pytest.raises(launch.LaunchDoubtful) as caught:
            launched(Ec2(lost, EXPIRED))
        assert caught.value.code == "RequestExpired"

    def test_is_settled_by_its_token_when_the_next_try_is_refused(self, lost: Exception) -> None:
        assert launched(Ec2(lost, EXPIRED, found=[None, THROTTLED, BROKEN, INSTANCE])) == INSTANCE


def test_a_lost_answer_is_no_excuse_to_look_when_aws_refuses_that_too() -> None:
    with pytest.raises(ClientError, match="RequestExpired"):
        launched(Ec2(LOST, EXPIRED, found=EXPIRED))


def test_a_pause_while_looking_may_give_up() -> None:
    ec2, clock = Ec2(LOST, EXPIRED), Clock(gives_up_at=3)
    with pytest.raises(launch.LaunchDoubtful, match="canceled"):
        launched(ec2, clock)
    assert ec2.looked == 2


ENDED = refused("IdempotentInstanceTerminated", "The instance for this token has been terminated.")


def test_an_instance_that_has_ended_before_its_answer_came_is_read_by_its_reason() -> None:
    reason = {"Code": "Server.InsufficientInstanceCapacity", "Message": "Insufficient capacity"}
    with pytest.raises(launch.CandidateFailed) as caught:
        launched(Ec2(LOST, ENDED, found={**INSTANCE, "StateReason": reason}))
    assert caught.value.code == "Server.InsufficientInstanceCapacity"


def test_an_instance_that_has_ended_while_its_first_answer_was_throttled_is_read_by_its_reason() -> None:
    reason = {"Code": "Client.InternalError", "Message": "Client error on launch"}
    with pytest.raises(KeeperError) as caught:
        launched(Ec2(THROTTLED, ENDED, found={**INSTANCE, "StateReason": reason}))
    assert caught.value.code == "WorkerEnded"
    assert "KMS key" in caught.value.remedy


FOUND = {
    "in an answer": [INSTANCE],
    "when it is asked for again": [LOST, INSTANCE],
    "by its token after a refusal": [LOST, EXPIRED],
    "by its token in the end": [LOST],
}


@pytest.mark.parametrize("answers", FOUND.values(), ids=FOUND.keys())
@pytest.mark.parametrize(("state", "ended"), [("pending", False), ("shutting-down", True), ("terminated", True)])
def test_an_instance_that_is_found_may_have_ended_by_itself(answers: list[Any], state: str, ended: bool) -> None:
    """Then it has no address any more, and its reason decides."""
    reason = {"Code": "Server.InsufficientInstanceCapacity", "Message": "Insufficient capacity"}
    found = {**INSTANCE, "State": {"Name": state}, "StateReason": reason}
    ec2 = Ec2(*[found if each is INSTANCE else each for each in answers], found=found)
    if not ended:
        assert launched(ec2) == found
        return
    with pytest.raises(launch.CandidateFailed) as caught:
        launched(ec2)
    assert caught.value.code == "Server.InsufficientInstanceCapacity"


def test_an_instance_that_has_ended_and_is_not_found_is_no_worker() -> None:
    with pytest.raises(KeeperError) as caught:
        launched(Ec2(ENDED))
    assert caught.value.code == "IdempotentInstanceTerminated"


FINAL = [
    ("UnauthorizedOperation", 403, "mayfly_accounts"),
    ("AccessDenied", 403, "mayfly_accounts"),
    ("InvalidAMIID.NotFound", 400, "mayfly_worker_image"),
    ("InvalidAMIID.Malformed", 400, "mayfly_worker_image"),
    ("RequestExpired", 400, ""),
    ("InvalidSubnetID.NotFound", 400, ""),
    ("InvalidParameterValue", 400, ""),
    ("IdempotentParameterMismatch", 400, ""),
]


@pytest.mark.parametrize(("code", "status", "remedy"), FINAL)
def test_anything_else_is_final_and_names_the_setting(code: str, status: int, remedy: str) -> None:
    ec2 = Ec2(refused(code, "It is wrong.", status))
    with pytest.raises(KeeperError) as caught:
        launched(ec2)
    assert type(caught.value) is KeeperError
    assert caught.value.code == code
    assert "It is wrong." in caught.value.message
    assert remedy in caught.value.remedy
    assert bool(caught.value.remedy) == bool(remedy)
    assert (len(ec2.asked), ec2.looked) == (1, 0)


def test_an_instance_profile_that_may_not_be_used_is_not_waited_for() -> None:
    ec2 = Ec2(refused("UnauthorizedOperation", "not authorized to pass iamInstanceProfile", 403))
    with pytest.raises(KeeperError) as caught:
        launched(ec2)
    assert (caught.value.code, len(ec2.asked)) == ("UnauthorizedOperation", 1)


@pytest.mark.parametrize("first", [THROTTLED, LOST, YOUNG_PROFILE], ids=["throttled", "lost", "young profile"])
def test_a_pause_that_raises_gives_up(first: Exception) -> None:
    ec2 = Ec2(first)
    with pytest.raises(KeeperError, match="canceled") as caught:
        launched(ec2, Clock(gives_up_at=2))
    assert caught.value.code == "Canceled"
    assert isinstance(caught.value, launch.LaunchDoubtful) == (first is LOST)
    assert len(ec2.asked) == 2


def test_pauses_grow_up_to_a_bound() -> None:
    for _ in range(50):
        clock = Clock()
        with pytest.raises(KeeperError):
            launched(Ec2(THROTTLED), clock)
        assert len(clock.pauses) == 7
        for number, pause in enumerate(clock.pauses, 1):
            assert 0.2 <= pause <= min(20.0, 0.5 * 2**number)


ENDS = [
    ("Server.InsufficientInstanceCapacity", "Insufficient capacity", "candidate"),
    ("Server.InternalError", "Internal error on launch", "candidate"),
    ("Client.InternalError", "Client error on launch", "key"),
    ("Client.InvalidKMSKey.InvalidState", "The key is disabled", "key"),
    ("Client.UserInitiatedShutdown", "User initiated shutdown", "final"),
    ("Client.InstanceInitiatedShutdown", "Instance initiated shutdown", "final"),
    ("Client.VolumeLimitExceeded", "Volume limit exceeded", "final"),
]


@pytest.mark.parametrize(("code", "message", "meaning"), ENDS)
def test_an_accepted_launch_that_ends_by_itself_is_read_by_its_reason(code: str, message: str, meaning: str) -> None:
    instance = {"InstanceId": "i-1", "StateReason": {"Code": code, "Message": message}}
    error = launch.ended_by_itself(instance)
    if meaning == "candidate":
        assert isinstance(error, launch.CandidateFailed)
        assert (error.code, error.message) == (code, message)
        return
    assert isinstance(error, KeeperError)
    assert error.code == "WorkerEnded"
    assert f"i-1 ended by itself while it started ({code}: {message})" in error.message
    assert ("KMS key" in error.remedy) == (meaning == "key")


@pytest.mark.parametrize("instance", [{"InstanceId": "i-1"}, {"InstanceId": "i-1", "StateReason": None}, {}])
def test_an_end_without_a_reason_is_final(instance: dict[str, Any]) -> None:
    error = launch.ended_by_itself(instance)
    assert isinstance(error, KeeperError)
    assert "AWS gave no reason" in error.message
