# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of EC2 that answers what a test says, with the API's own model to judge both sides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

REGION = "eu-central-1"


@pytest.fixture(scope="session")
def _ec2() -> Any:
    keys = {"aws_access_key_id": "AKIA111122223333TEST", "aws_secret_access_key": "not-a-secret"}
    return boto3.client("ec2", region_name=REGION, **keys)


@pytest.fixture
def ec2(_ec2: Any) -> Iterator[Stubber]:
    """The client's stub; everything it was given must have been asked for in the end."""
    with Stubber(_ec2) as stub:
        yield stub
        stub.assert_no_pending_responses()


@pytest.fixture
def at_once() -> Callable[[int, Callable[[], Any]], list[Any]]:
    """Call a function from so many threads at once; the results."""

    def run(count: int, function: Callable[[], Any]) -> list[Any]:
        with ThreadPoolExecutor(count) as pool:
            return [each.result() for each in [pool.submit(function) for _ in range(count)]]

    return run
