# SPDX-License-Identifier: GPL-3.0-or-later
"""Which archived sets there are, which of them may go, and that what goes goes whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import repositories, sets
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context, Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.operations import archive_sets, find
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Settings
from mayfly_agent.objects import Lock, ObjectInfo
from mayfly_agent.repository import keys, layout, repository
from mayfly_agent.repository.layout import ResourceName
from mayfly_agent.sweep import GRACE

from tests.unit.agent.memory import Killed
from tests.unit.agent.repository.points import MASTER, OTHER, RESOURCE, key_of, manifest, write_point
from tests.unit.agent.retention.aging import AgingObjects

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


class Archives(AgingObjects):
    """Packs of sets are archived."""

    def list(self, prefix: str, *, versions: bool = False) -> Iterator[ObjectInfo]:
        for each in super().list(prefix, versions=versions):
            yield replace(each, storage_class="GLACIER") if layout.is_pack(each.key) else each


@pytest.fixture(params=[False, True], ids=["plain", "versioned"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Archives:
    """A repository of two resources."""
    made = Archives(versioned=request.param)
    info, _ = repository.create(made, lambda identity: [keys.wrap_with_recovery_key(MASTER, b"r" * 32, identity)])
    for name in (RESOURCE, OTHER):
        write_point(made, name, {})
    opened = repositories.Opened(made, info, {1: MASTER})  # type: ignore[arg-type]
    monkeypatch.setattr(archive_sets, "open_repository", lambda _context, _setting: opened)
    return made


@pytest.fixture
def context(tmp_path: Path) -> Context:
    run = Run("the-run", tmp_path, tmp_path, Report(tmp_path, "the-run"))
    return Context(run, "example_repository", False, Settings.from_call({}), None)


def put_set(store: Archives, digits: str = "0123abcd", name: ResourceName = RESOURCE, *, whole: bool = True) -> str:
    """A set with two packs of 1000 bytes, and its name."""
    made = layout.archive_name(manifest(name).id, digits)
    folder = layout.archive_folder(name, made)
    for number in range(2):
        store.put(f"{folder}/{layout.pack_key(name, bytes([number]) * 16)}", bytes(1000))
    if whole:
        key = layout.point_key(name, manifest(name).id)
        store.put(f"{folder}/{key}", repository.seal_manifest(manifest(name), key_of(name), key))
    return made


def run(context: Context, *absent: str, unfinished: bool = False, **more: Any) -> dict[str, Any]:
    arguments = {"repository": {}, "absent": list(absent), "remove_unfinished": unfinished, "resources": [], **more}
    return archive_sets.list_sets(context, arguments)


def left(store: Archives) -> set[str]:
    """Names of the sets of which anything is there, versions and markers included."""
    return {key.split("/archives/")[1].split("/")[0] for key in store.everything() if "/archives/" in key}


def test_all_are_listed_with_what_it_costs_to_delete_them_early(store: Archives, context: Context) -> None:
    whole, part = put_set(store), put_set(store, "1" * 8, OTHER, whole=False)
    store.now += 30 * DAY
    found = run(context)
    assert (found["sets_total"], found["unfinished"], found["removed"]) == (2, 1, 0)
    told = {each["name"]: each for each in found["sets"]}
    assert [told[each]["whole"] for each in (whole, part)] == [True, False]
    assert told[part]["storage_classes"] == {"GLACIER": 2000}
    assert (told[part]["days_left"], told[part]["state"]) == (60, "kept")
    assert (found["changed"], left(store)) == (False, {whole, part})
    assert [each["name"] for each in run(context, resources=[OTHER.id])["sets"]] == [part]


def test_one_that_is_named_goes_whole_and_no_other(store: Archives, context: Context) -> None:
    first, second = put_set(store), put_set(store, "1" * 8)
    others = {key for key in store.everything() if first not in key}
    store.now += GRACE
    found = run(context, first, "20261124T000000Z-x.00000000")
    assert (found["changed"], found["removed"], found["not_there"]) == (True, 1, ["20261124T000000Z-x.00000000"])
    assert (left(store), store.everything()) == ({second}, others)
    assert not run(context, first)["changed"]


def test_nothing_goes_in_check_mode(store: Archives, context: Context) -> None:
    made = put_set(store)
    store.now += GRACE
    found = run(replace(context, check=True), made)
    assert (found["changed"], found["removed"], left(store)) == (True, 1, {made})


@pytest.mark.parametrize("whole", [True, False])
def test_one_that_a_run_may_still_write_to_stays(store: Archives, context: Context, whole: bool) -> None:
    """By its oldest object, whatever was added to it later; and the others go all the same."""
    old = put_set(store, "1" * 8)
    store.now += DAY
    made = put_set(store, whole=whole)
    store.now += GRACE - SECOND
    with pytest.raises(KeeperError, match="may still write") as raised:
        run(context, made, old)
    assert (raised.value.code, left(store)) == ("SetInUse", {made})
    store.now += SECOND
    assert run(context, made)["removed"] == 1


def test_what_was_never_finished_goes_when_nobody_can_go_on_with_it(store: Archives, context: Context) -> None:
    whole, part = put_set(store), put_set(store, "1" * 8, whole=False)
    store.now += GRACE - SECOND
    assert run(context, unfinished=True)["removed"] == 0
    store.now += SECOND
    assert (run(context)["removed"], run(context, unfinished=True)["removed"]) == (0, 1)
    assert left(store) == {whole}
    assert part not in left(store)


def test_one_whose_manifest_somebody_has_deleted_is_not_taken_for_unfinished(store: Archives, context: Context) -> None:
    made = put_set(store)
    store.delete(f"{layout.archive_folder(RESOURCE, made)}/{layout.point_key(RESOURCE, manifest().id)}")
    store.now += GRACE
    assert run(context, unfinished=True)["removed"] == int(not store.versioned)
    assert run(context, made)["removed"] == int(store.versioned)
    assert left(store) == set()


@pytest.mark.parametrize("what", ["/points/", "/packs/"])
@pytest.mark.parametrize("until", [timedelta(days=400), None], ids=["for a time", "until it is lifted"])
def test_one_that_is_locked_stays_whole(store: Archives, context: Context, what: str, until: timedelta | None) -> None:
    made = put_set(store)
    before = store.everything()
    lock = Lock(store.now + until, "COMPLIANCE") if until else Lock(None)
    store.locks |= {key: lock for key in before if made in key and what in key}
    store.now += GRACE
    with pytest.raises(KeeperError, match="locked") as raised:
        run(context, made)
    assert (raised.value.code, store.everything()) == ("SetLocked", before)
    if until:
        store.now += until
        assert run(context, made)["removed"] == 1


def test_a_deletion_that_was_killed_leaves_no_whole_set_and_goes_on(
    store: Archives, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = put_set(store)
    store.now += GRACE
    whole, batches = store.delete_many, []

    def dies(objects: Any) -> Any:
        batches.append(1)
        if len(batches) == 2:
            raise Killed
        return whole(objects)

    monkeypatch.setattr(store, "delete_many", dies)
    with pytest.raises(Killed):
        run(context, made)
    (told,) = run(context)["sets"]
    assert (told["whole"], left(store)) == (False, {made})
    assert run(context, unfinished=True)["removed"] == 1
    assert left(store) == set()


def test_what_is_refused_is_told(store: Archives, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    made = put_set(store)
    store.now += GRACE
    monkeypatch.setattr(sets, "why_kept", lambda *_: None)
    store.locks = dict.fromkeys((key for key in store.objects if "/packs/" in key), Lock(None))
    with pytest.raises(KeeperError, match="was not deleted whole") as raised:
        run(context, made)
    assert "docs/permissions.md" in raised.value.remedy


@pytest.mark.parametrize("name", ["latest", "20261124T013000Z-x", "a/b", ""])
def test_a_name_that_no_set_can_have_is_refused(store: Archives, context: Context, name: str) -> None:
    with pytest.raises(KeeperError) as raised:
        run(context, name)
    assert raised.value.code == "BadSetName"


def test_it_is_not_for_stores_that_are_not_awss(store: Archives, context: Context) -> None:
    with pytest.raises(KeeperError) as raised:
        run(context, repository={"endpoint_url": "https://s3.example.com"})
    assert raised.value.code == "NotAws"


def test_the_keeper_knows_it() -> None:
    assert find("archive_sets.list") is archive_sets.list_sets
