# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS's answers mean, and how long one is patient with them: the one place for retries and waiters.

EC2 is eventually consistent (https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html): what has just
been made may not be found for a while, so ``…NotFound`` of something young means "not yet".
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as AwsConnectionError
from botocore.parsers import ResponseParserError

T = TypeVar("T")
Test = Callable[[Exception], bool]
Pause = Callable[[float], None]

# All that a call may raise.
ERRORS = (BotoCoreError, ClientError, ResponseParserError)
# How long a new id may be unknown somewhere.
YOUNG_SECONDS = 120.0
THROTTLING_CODES = frozenset(
    {
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "RequestThrottled",
        "RequestThrottledException",
        "SnapshotCreationPerVolumeRateExceeded",
        "ConcurrentSnapshotLimitExceeded",
    }
)
# However often it is asked, the answer stays: rights, and accounts that AWS does not serve.
FINAL_CODES = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "Blocked",
        "InvalidClientTokenId",
        "OptInRequired",
        "PendingVerification",
        "UnauthorizedAccess",
        "UnauthorizedOperation",
    }
)
_LONGEST_PAUSE = 20.0
# Ids in one request or one filter: half of what EC2 takes in CreateTags, all of what it takes in a filter.
CHUNK = 200


def code_of(error: Exception) -> str:
    """AWS's code of an error answer, the exception's name for one without an answer."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "Unknown"))
    return type(error).__name__


def message_of(error: Exception) -> str:
    """AWS's message, or the exception's."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Message", ""))
    return str(error)


def is_throttled(error: Exception) -> bool:
    """AWS has done nothing and wants to be asked again later."""
    return code_of(error) in THROTTLING_CODES


def is_gone(error: Exception) -> bool:
    """There is nothing of that id: deleted, or not known yet. An image that was deregistered is "unavailable"."""
    code = code_of(error)
    gone = code.endswith(".NotFound") or code == "InvalidAMIID.Unavailable"
    return isinstance(error, ClientError) and gone and code != "InvalidPermission.NotFound"


def is_final(error: Exception) -> bool:
    """AWS refuses it, and will do so again."""
    return code_of(error) in FINAL_CODES


def was_asked_before(error: Exception) -> bool:
    """botocore had asked before this answer came, so that an earlier try may have done what was asked."""
    return isinstance(error, ClientError) and error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0


def is_doubtful(error: Exception) -> bool:
    """No clear answer came: what was asked may have been done."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return int(status) >= 500 and not is_throttled(error)
    return isinstance(error, AwsConnectionError | HTTPClientError | ResponseParserError)


def is_passing(error: Exception) -> bool:
    """Worth another try of a call that may be repeated."""
    return is_throttled(error) or is_doubtful(error)


def backoff(attempt: int) -> float:
    """Seconds to wait before the attempt of that number (1, 2, …): doubled each time, with full jitter."""
    return random.uniform(0.2, min(_LONGEST_PAUSE, 0.5 * 2 ** min(attempt, 10)))  # noqa: S311 - jitter, not a secret


def retrying(call: Callable[[], T], *, seconds: float, again: Test, pause: Pause = time.sleep) -> T:
    """What ``call`` gives; after an error for which ``again`` holds, it is asked again until ``seconds`` have passed.

    The last error is raised then. ``pause`` sleeps, and may raise to give up.
    """
    ends = time.monotonic() + seconds
    attempt = 0
    while True:
        try:
            return call()
        except (BotoCoreError, ClientError) as error:
            attempt += 1
            wait = backoff(attempt)
            if not again(error) or time.monotonic() + wait > ends:
                raise
        pause(wait)


def of_young(call: Callable[[], T]) -> T:
    """What ``call`` gives; that something it names is not found means that it is too new."""
    return retrying(call, seconds=YOUNG_SECONDS, again=lambda error: is_gone(error) or is_passing(error))


def chunks(ids: Iterable[str], size: int = CHUNK) -> Iterable[list[str]]:
    """The ids in lists that one request takes."""
    listed = list(ids)
    for start in range(0, len(listed), size):
        yield listed[start : start + size]


def pages(client: Any, call: str, key: str, **arguments: Any) -> Iterable[dict[str, Any]]:
    """All entries of a paged call."""
    for page in client.get_paginator(call).paginate(**arguments):
        yield from page[key]


def tag_filters(tags: dict[str, str]) -> list[dict[str, Any]]:
    """Filters for things that carry all of these tags."""
    return [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
