# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of retention: one resource after the other, and what is told of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mayfly_agent import operations
from mayfly_agent.errors import AgentError
from mayfly_agent.repository import repository
from mayfly_agent.repository_jobs import Chosen, RetentionJob
from mayfly_agent.retention import Retention
from mayfly_agent.status import Status

from tests.unit.agent.lines import KEY, NAME
from tests.unit.agent.repository.points import OTHER, write_point
from tests.unit.agent.repository.points import key_of as key_of_other
from tests.unit.agent.retention.aging import AgingObjects
from tests.unit.agent.retention.sweeps import three_points
from tests.unit.agent.transfers import job


def run(store: AgingObjects, folder: Path, *resources: Chosen) -> dict:
    common = job(resources=resources, live_share=60)
    del common["resource_key"]
    with Status(folder / "status.json") as status:
        return Retention(RetentionJob(**common), store, status).run()["retention"]


def test_what_fails_of_one_resource_leaves_others_alone(tmp_path: Path) -> None:
    store, contents = three_points(tmp_path)
    first, second, third = contents
    write_point(store, OTHER, {"vol-1": {0: 1}})
    store.put(f"{OTHER.path}/marks/archived/x", b"")
    broken = Chosen(OTHER, key_of_other(OTHER))
    done = run(store, tmp_path, broken, Chosen(NAME, KEY, frozenset([first, second])))
    assert (done["failed"], done["points_deleted"], done["packs_rewritten"]) == (1, 2, 1)
    assert done["resources"][OTHER.path]["error"]["code"] == "RepositoryFormat"
    told = done["resources"][NAME.path]
    assert (told["points_deleted"], told["error"]) == ([first, second], None)
    assert list(repository.list_points(store, NAME)) == [third]
    counted = json.loads((tmp_path / "status.json").read_text())["units"]["repository"]
    assert (counted["resources_done"], counted["resources_total"], counted["points_deleted"]) == (2, 2, 2)


def test_what_is_about_all_of_them_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _contents = three_points(tmp_path)

    def unreachable(_key: str) -> None:
        raise AgentError("S3Unreachable", "no")

    monkeypatch.setattr(store, "get", unreachable)
    with pytest.raises(AgentError, match="no"):
        run(store, tmp_path, Chosen(NAME, KEY), Chosen(OTHER, KEY))


def test_the_job_is_read() -> None:
    value = {
        "run": "r",
        "seconds_left": 60,
        "retry_timeout": 300,
        "resource": {"account": "111122223333", "region": "eu-central-1", "kind": "repository", "id": "b.x"},
        "repository": {"bucket": "b", "prefix": "x", "region": "eu-central-1"},
        "resources": [
            {"account": "444455556666", "region": "us-east-1", "kind": "ec2", "id": "i-1"}
            | {"resource_key": "a2tr", "remove": ["p"]}
        ],
        "live_share": 60,
        "concurrency": 4,
    }
    parsed = operations.OPERATIONS["retention"].parse(value)
    assert parsed.resources == (Chosen(NAME, b"kkk", frozenset(["p"])),)
    for share in (-1, 91):
        with pytest.raises(ValueError, match="live_share"):
            RetentionJob.parse({**value, "live_share": share})
