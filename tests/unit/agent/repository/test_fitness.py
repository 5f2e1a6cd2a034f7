# SPDX-License-Identifier: GPL-3.0-or-later
"""Which stores a repository may be made in: those that keep every promise, and no others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from mayfly_agent.errors import AgentError
from mayfly_agent.objects import IfMatch, IfNoneMatch, Lock, Named, ObjectInfo, Refusals, Refused, Stored
from mayfly_agent.repository.fitness import check_fit

from tests.unit.agent.memory import Condition, ForgetfulObjects, MemoryObjects, OverwritingObjects


class CreatesOnly(MemoryObjects):
    """Knows If-None-Match, and takes no notice of If-Match."""

    def put(self, key: str, body: bytes, condition: Condition = None, lock: Lock | None = None) -> str:
        return super().put(key, body, condition if isinstance(condition, IfNoneMatch) else None)


class Unknowing(MemoryObjects):
    """Says that it does not know one of the conditions."""

    def __init__(self, kind: type[IfMatch] | type[IfNoneMatch]) -> None:
        super().__init__()
        self._kind = kind

    def put(self, key: str, body: bytes, condition: Condition = None, lock: Lock | None = None) -> str:
        if isinstance(condition, self._kind):
            raise AgentError("NotImplemented", f"{self._kind.__name__}: A header you provided is not implemented")
        return super().put(key, body, condition)


class NeverReplaces(MemoryObjects):
    """Refuses every If-Match, also for the object that is there."""

    def put(self, key: str, body: bytes, condition: Condition = None, lock: Lock | None = None) -> str:
        return super().put(key, body, IfMatch("another") if isinstance(condition, IfMatch) else condition)


class Lagging(MemoryObjects):
    """Lists what was there a put ago."""

    def list(self, prefix: str, *, versions: bool = False) -> Iterator[ObjectInfo]:
        return (each for each in super().list(prefix, versions=versions) if self.puts.count(each.key) > 2)


class Stale(MemoryObjects):
    """Reads what an object was at first."""

    def __init__(self) -> None:
        super().__init__()
        self._first: dict[str, bytes] = {}

    def put(self, key: str, body: bytes, condition: Condition = None, lock: Lock | None = None) -> str:
        made = super().put(key, body, condition)
        self._first.setdefault(key, body)
        return made

    def get(self, key: str) -> Stored:
        found = super().get(key)
        return Stored(self._first[key], found.etag, found.modified, found.date)


class WithoutParts(MemoryObjects):
    """Gives out whole objects."""

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        return self.body(key)


class Keeping(MemoryObjects):
    """Says that it has deleted, and has not."""

    def delete_many(self, objects: Iterable[Named]) -> Refusals:
        return []


class Refusing(MemoryObjects):
    """Does not delete what it is asked to."""

    def delete_many(self, objects: Iterable[Named]) -> Refusals:
        return [Refused(key, version, "AccessDenied", "no rights") for key, version in objects]


@pytest.mark.parametrize("store", [MemoryObjects(), ForgetfulObjects()], ids=lambda each: type(each).__name__)
def test_a_store_that_keeps_its_promises_is_fit_and_left_as_it_was(store: MemoryObjects) -> None:
    check_fit(store)
    assert store.objects == {}


@pytest.mark.parametrize(
    ("store", "said"),
    [
        (OverwritingObjects(), "If-None-Match"),
        (Unknowing(IfNoneMatch), "IfNoneMatch"),
        (CreatesOnly(), "If-Match"),
        (Unknowing(IfMatch), "IfMatch"),
        (NeverReplaces(), "by its ETag"),
        (Stale(), "show at once"),
        (WithoutParts(), "Range"),
        (Lagging(), "list at once"),
        (Keeping(), "DeleteObjects"),
        (Refusing(), "no rights"),
    ],
    ids=lambda each: each if isinstance(each, str) else type(each).__name__,
)
def test_one_that_does_not_is_refused_with_what_it_did(store: MemoryObjects, said: str) -> None:
    with pytest.raises(AgentError) as raised:
        check_fit(store)
    assert raised.value.code == "StoreUnfit"
    assert "conditional puts" in raised.value.remedy
    assert said in raised.value.message
    if not isinstance(store, Keeping | Refusing):
        assert store.objects == {}
