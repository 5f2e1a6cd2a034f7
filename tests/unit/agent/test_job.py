# SPDX-License-Identifier: GPL-3.0-or-later
"""The job as the controller sends it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from mayfly_agent.errors import AgentError
from mayfly_agent.job import Target, read_job

ARN = "arn:aws:kms:us-east-1:444455556666:key/1"


def write(folder: Path, target: dict[str, Any] | None, **parts: Any) -> Path:
    value = {
        "version": 1,
        "operation": "restore",
        "run": "run",
        "deadline": "2026-11-24T00:00:00+00:00",
        "resource": {"account": "444455556666", "region": "us-east-1", "kind": "ec2", "id": "i-1", "name": "web-1"},
        "repository": {"bucket": "bucket", "prefix": "", "region": "us-east-1"},
        "resource_key": base64.b64encode(b"k" * 32).decode(),
        "concurrency": 4,
        "retry_timeout": 60,
        "source_region": "us-east-1",
        "target": target,
        **parts,
    }
    path = folder / "job.json"
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize(
    ("sent", "target"),
    [
        (None, None),
        ({"region": "us-east-1"}, Target("us-east-1", {}, {})),
        (
            {"region": "us-east-1", "tags": {"a": "b"}, "encryption": {"vol-1": ARN, "vol-2": ""}},
            Target("us-east-1", {"a": "b"}, {"vol-1": ARN, "vol-2": ""}),
        ),
    ],
    ids=["a backup", "no encryption", "two keys"],
)
def test_the_target_says_which_volumes_are_encrypted(
    tmp_path: Path, sent: dict[str, Any] | None, target: Target | None
) -> None:
    assert read_job(write(tmp_path, sent)).target == target


@pytest.mark.parametrize(
    "target",
    [
        {"region": "us-east-1", "encryption": {"vol-1": None}},
        {"region": "us-east-1", "encryption": {"vol-1": True}},
        {"region": "us-east-1", "encryption": ["vol-1"]},
        {"region": "us-east-1", "encryption": None},
        {"region": "us-east-1", "tags": {"a": 1}},
        {"region": "us-east-1", "kms_key_id": ARN},
        {"encryption": {}},
    ],
    ids=repr,
)
def test_a_target_that_is_misunderstood_is_no_job(tmp_path: Path, target: dict[str, Any]) -> None:
    """Else a volume that was encrypted could come back as one that is not."""
    with pytest.raises(AgentError) as raised:
        read_job(write(tmp_path, target))
    assert raised.value.code == "BadJob"


@pytest.mark.parametrize("parts", [{"version": 2}, {"resource_key": "!"}, {"deadline": "soon"}], ids=repr)
def test_what_cannot_be_read_is_no_job(tmp_path: Path, parts: dict[str, Any]) -> None:
    with pytest.raises(AgentError, match=r"job\.json"):
        read_job(write(tmp_path, None, **parts))


def test_it_says_how_long_a_request_is_repeated(tmp_path: Path) -> None:
    assert read_job(write(tmp_path, None)).retry_timeout == 60
