# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS's answers mean, and how long one asks again."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import aws
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.keeper.fakes import Script, refused

URL = "https://ec2.eu-central-1.amazonaws.com"
# error, throttled, doubtful, gone
MEANINGS: list[tuple[Exception, bool, bool, bool]] = [
    (refused("RequestLimitExceeded", 503), True, False, False),
    (refused("RequestLimitExceeded", 400), True, False, False),
    (refused("Throttling"), True, False, False),
    (refused("ThrottlingException"), True, False, False),
    (refused("RequestThrottled"), True, False, False),
    (refused("RequestThrottledException"), True, False, False),
    (refused("ConcurrentSnapshotLimitExceeded"), True, False, False),
    (refused("SnapshotCreationPerVolumeRateExceeded"), True, False, False),
    (refused("InternalError", 500), False, True, False),
    (refused("Unavailable", 503), False, True, False),
    (ReadTimeoutError(endpoint_url=URL), False, True, False),
    (ConnectTimeoutError(endpoint_url=URL), False, True, False),
    (ConnectionClosedError(endpoint_url=URL), False, True, False),
    (EndpointConnectionError(endpoint_url=URL), False, True, False),
    (ResponseParserError("not XML"), False, True, False),
    (refused("InvalidInstanceID.NotFound"), False, False, True),
    (refused("InvalidGroup.NotFound"), False, False, True),
    (refused("InvalidSnapshotID.Malformed"), False, False, False),
    (refused("InvalidPermission.NotFound"), False, False, False),
    (refused("UnauthorizedOperation", 403), False, False, False),
    (refused("InvalidParameterValue"), False, False, False),
    (NoCredentialsError(), False, False, False),
    (ParamValidationError(report="x"), False, False, False),
    (ClientError({"Error": {}}, "Call"), False, False, False),
]


@pytest.mark.parametrize(("error", "throttled", "doubtful", "gone"), MEANINGS, ids=[repr(row[0]) for row in MEANINGS])
def test_an_error_means(error: Exception, throttled: bool, doubtful: bool, gone: bool) -> None:
    assert aws.is_throttled(error) is throttled
    assert aws.is_doubtful(error) is doubtful
    assert aws.is_passing(error) is (throttled or doubtful)
    assert aws.is_gone(error) is gone
    assert aws.is_final(error) is (aws.code_of(error) == "UnauthorizedOperation")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (refused("X"), "X", "No."),
        (ClientError({"Error": {}}, "Call"), "Unknown", ""),
        (ReadTimeoutError(endpoint_url=URL), "ReadTimeoutError", f'Read timeout on endpoint URL: "{URL}"'),
    ],
)
def test_an_error_has_a_code_and_a_message(error: Exception, code: str, message: str) -> None:
    assert (aws.code_of(error), aws.message_of(error)) == (code, message)


@given(st.integers(1, 100_000))
def test_no_pause_is_shorter_or_longer_than_said(attempt: int) -> None:
    assert 0.2 <= aws.backoff(attempt) <= min(20.0, 0.5 * 2 ** min(attempt, 10))


def test_pauses_grow_and_are_not_the_same_for_all() -> None:
    random.seed(7)
    means = [sum(aws.backoff(attempt) for _ in range(200)) / 200 for attempt in range(1, 7)]
    assert means == sorted(means)
    assert len({aws.backoff(5) for _ in range(20)}) > 10


def passing(error: Exception) -> bool:
    """Whether it is worth another try."""
    return aws.is_passing(error)


@pytest.mark.usefixtures("quick")
class TestAskingAgain:
    def test_ends_with_the_first_answer(self) -> None:
        call, pauses = Script(refused("Throttling"), refused("InternalError", 500), "answer", "later"), []
        assert aws.retrying(call, seconds=10, again=passing, pause=pauses.append) == "answer"
        assert (call.count, pauses) == (3, [0.002, 0.002])

    def test_waits_longer_each_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(aws, "backoff", lambda attempt: attempt / 1000)
        pauses: list[float] = []
        call = Script(*[refused("Throttling")] * 3, "answer")
        aws.retrying(call, seconds=10, again=passing, pause=pauses.append)
        assert pauses == [0.001, 0.002, 0.003]

    def test_ends_with_an_error_that_does_not_pass(self) -> None:
        call = Script(refused("Throttling"), refused("UnauthorizedOperation", 403), "answer")
        with pytest.raises(ClientError, match="UnauthorizedOperation"):
            aws.retrying(call, seconds=10, again=passing)
        assert call.count == 2

    def test_ends_with_the_last_error_when_the_time_is_up(self) -> None:
        call, began = Script(refused("Throttling")), time.monotonic()
        with pytest.raises(ClientError, match="Throttling"):
            aws.retrying(call, seconds=0.05, again=passing)
        assert 0.04 <= time.monotonic() - began < 5
        assert call.count > 3

    def test_does_not_hide_a_mistake(self) -> None:
        call = Script(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            aws.retrying(call, seconds=10, again=lambda _error: True)
        assert call.count == 1

    def test_may_be_given_up_by_a_pause(self) -> None:
        def gives_up(seconds: float) -> None:
            raise InterruptedError

        with pytest.raises(InterruptedError):
            aws.retrying(Script(refused("Throttling")), seconds=10, again=passing, pause=gives_up)

    def test_waits_for_what_is_new(self) -> None:
        call = Script(refused("InvalidSnapshot.NotFound"), refused("Throttling"), "answer")
        assert aws.of_young(call) == "answer"

    def test_does_not_wait_for_ever_for_what_never_comes(self) -> None:
        with pytest.raises(ClientError, match="NotFound"):
            aws.of_young(Script(refused("InvalidSnapshot.NotFound")))

    @pytest.mark.parametrize("error", [refused("UnauthorizedOperation", 403), NoCredentialsError()], ids=repr)
    def test_does_not_wait_for_what_is_refused(self, error: Exception) -> None:
        call = Script(error, "answer")
        with pytest.raises((ClientError, BotoCoreError)):
            aws.of_young(call)
        assert call.count == 1


@given(st.lists(st.text(max_size=3), max_size=30), st.integers(1, 7))
def test_chunks_hold_every_id_once_in_order(ids: list[str], size: int) -> None:
    chunks = list(aws.chunks(ids, size))
    assert [each for chunk in chunks for each in chunk] == ids
    assert all(0 < len(chunk) <= size for chunk in chunks)


def test_every_page_is_read() -> None:
    class Paged:
        def get_paginator(self, call: str) -> Any:
            assert call == "describe_volumes"
            return self

        def paginate(self, **arguments: Any) -> list[dict[str, list[int]]]:
            assert arguments == {"Filters": []}
            return [{"Volumes": [1, 2]}, {"Volumes": []}, {"Volumes": [3]}]

    assert list(aws.pages(Paged(), "describe_volumes", "Volumes", Filters=[])) == [1, 2, 3]


def test_filters_ask_for_all_tags() -> None:
    assert aws.tag_filters({"mayfly:run": "r", "x": "y"}) == [
        {"Name": "tag:mayfly:run", "Values": ["r"]},
        {"Name": "tag:x", "Values": ["y"]},
    ]
