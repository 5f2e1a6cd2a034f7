# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run has made beside its workers: kept account of, marked as alive until the run's end removes it."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from . import aws
from .errors import KeeperError
from .things import Thing

log = logging.getLogger(__name__)

LEASE_TAG = "mayfly:lease-ends"
_TEMPORARY_TAGS = ("mayfly:temporary", LEASE_TAG)
_MARK_SECONDS = 120.0
_LOOK_SECONDS = 1.0
Place = tuple[str, str]


class Notes(Protocol):
    """What outlives this keeper: the journal."""

    def note_place(self, place: Place) -> None:
        """Keep a place."""

    def handed_over(self) -> set[str]:
        """Ids of what the run has handed over."""

    def note_handed_over(self, ids: Iterable[str]) -> None:
        """Keep these as handed over."""

    def forget_handed_over(self, ids: Iterable[str]) -> None:
        """These were not handed over."""


class Temporaries:
    """The temporary things of a run, and the places (account, Region) where it has made any."""

    def __init__(self, notes: Notes) -> None:
        """``notes`` are told of each place before anything is made there, and of what is handed over before it is."""
        self._notes = notes
        self._things: dict[str, Thing] = {}
        self._handed_over = notes.handed_over()
        self._places: set[Place] = set()
        self._lock = threading.Lock()

    def watch(self, account: str, region: str) -> None:
        """Something is going to be made there, perhaps without our hearing of it: its end looks there by tags."""
        place = (account, region)
        with self._lock:
            if place in self._places:
                return
            self._places.add(place)
        self._notes.note_place(place)

    def places(self) -> list[Place]:
        """Where to look."""
        with self._lock:
            return sorted(self._places)

    def add(self, account: str, region: str, thing_id: str, kind: str) -> None:
        """Take note of a thing at once when it was made; of one that was handed over, no more."""
        with self._lock:
            if thing_id not in self._handed_over and thing_id not in self._things:
                self._things[thing_id] = Thing(kind, thing_id, account, region, created=datetime.now(UTC))

    def get(self, thing_id: str) -> Thing | None:
        """What is known of a thing that is there now."""
        with self._lock:
            return self._things.get(thing_id)

    def forget(self, thing_id: str) -> None:
        """It is gone."""
        with self._lock:
            self._things.pop(thing_id, None)

    def all(self) -> list[Thing]:
        """What is there now."""
        with self._lock:
            return list(self._things.values())

    def hand_over(self, ec2: Any, ids: Iterable[str], keys: Iterable[str] = _TEMPORARY_TAGS) -> None:
        """Give things to the user: without the tags that make them temporary, they are never removed again.

        ``keys`` are the tags that are taken away, those two among them. The things leave the account first: a
        describe that is answered late may show the tags for a while. The notes come before everything: another keeper
        that takes over in the middle leaves them to the reaper rather than delete what the user has been given.
        """
        listed = sorted(ids)
        self._notes.note_handed_over(listed)
        with self._lock:
            self._handed_over.update(listed)
            known = {each: self._things.pop(each) for each in listed if each in self._things}
        tags = [{"Key": key} for key in sorted(keys)]
        try:
            aws.of_young(lambda: ec2.delete_tags(Resources=listed, Tags=tags))
        except BaseException:
            with self._lock:
                self._handed_over.difference_update(listed)
                self._things.update(known)
            self._notes.forget_handed_over(listed)
            raise

    def was_handed_over(self, thing_id: str) -> bool:
        """Whether it is the user's now, whatever its tags say."""
        with self._lock:
            return thing_id in self._handed_over


class Marker:
    """Writes the lease's end into a tag of everything temporary, which is what the reaper reads."""

    def __init__(self, client: Callable[..., Any], things: Callable[[], Iterable[tuple[str, str, str]]]) -> None:
        """``client`` gives the client for (account, Region, service); ``things`` (account, Region, id) of what is
        temporary now.
        """
        self._client = client
        self._things = things
        self._lease = 600
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="lease-tags", daemon=True)

    def start(self) -> None:
        """Begin to mark."""
        self._thread.start()

    def stop(self) -> None:
        """Mark no more; returns at once."""
        self._stopped.set()

    def use_lease(self, seconds: int) -> None:
        """The longest lease that any host asked for counts."""
        self._lease = max(self._lease, seconds)

    def tag(self) -> dict[str, str]:
        """The tag for something made now."""
        ends = datetime.now(UTC) + timedelta(seconds=self._lease + _MARK_SECONDS)
        return {LEASE_TAG: ends.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def mark(self) -> None:
        """Write the tag to everything now. One thing that is gone does not keep the others from it."""
        places: dict[Place, list[str]] = defaultdict(list)
        for account, region, thing_id in self._things():
            places[account, region].append(thing_id)
        for (account, region), ids in places.items():
            try:
                self._mark_some(self._client(account, region, "ec2"), ids)
            except (BotoCoreError, ClientError, KeeperError):
                log.exception("the lease tags in account %s, %s were not written", account, region)

    def _mark_some(self, ec2: Any, ids: list[str]) -> None:
        tags = [{"Key": key, "Value": value} for key, value in self.tag().items()]
        for chunk in aws.chunks(ids):
            try:
                ec2.create_tags(Resources=chunk, Tags=tags)
            except ClientError as error:
                if not aws.is_gone(error) or len(chunk) == 1:
                    log.warning("the lease tags of %s were not written: %s", ", ".join(chunk), error)
                    continue
                half = len(chunk) // 2
                self._mark_some(ec2, chunk[:half])
                self._mark_some(ec2, chunk[half:])

    def _loop(self) -> None:
        due = time.monotonic() + _MARK_SECONDS
        while not self._stopped.wait(_LOOK_SECONDS):
            if time.monotonic() >= due:
                due = time.monotonic() + _MARK_SECONDS
                try:
                    self.mark()
                except Exception:  # the thread must go on: the next time comes
                    log.exception("the lease tags were not written")
