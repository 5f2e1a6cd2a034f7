# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots, volumes and instances that are waited for: one request for all hosts of a run, not one each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from . import aws
from .errors import KeeperError

_KINDS = {
    "instance": ("describe_instances", "Reservations", "InstanceId", "running"),
    "snapshot": ("describe_snapshots", "Snapshots", "SnapshotId", "completed"),
    "volume": ("describe_volumes", "Volumes", "VolumeId", "available"),
    "image": ("describe_images", "Images", "ImageId", "available"),
}
_FIRST_SECONDS = 1.0
_LONGEST_SECONDS = 15.0
_FAILED = ("error", "failed", "invalid", "deleting", "deleted", "deregistered")

Client = Callable[[str, str, str], Any]
Place = tuple[str, str, str]
Description = Mapping[str, Any]


class Watching:
    """Waits for states, and looks. ``client`` gives the client of a service for (account, Region, service).

    ``pause`` sleeps so many seconds, and raises KeeperError when the run is ending.
    """

    def __init__(self, client: Client, pause: Callable[[float], None]) -> None:
        self._client = client
        self._pause = pause
        self._wanted: dict[Place, dict[str, int]] = {}
        self._seen: dict[Place, dict[str, Description | None]] = {}
        self._asked: dict[Place, float] = {}
        self._lock = threading.Lock()
        self._asking: dict[Place, threading.Lock] = {}

    def wait(
        self, what: str, place: tuple[str, str], kind: str, ids: Iterable[str], timeout: float, *, setting: str
    ) -> None:
        """Return when all ``ids`` of a ``kind`` (snapshot, volume, image) in an account and Region are ready for use.

        Those that are not found yet are waited for as well. Raises KeeperError ``Failed…`` when one has failed, and
        ``…Timeout`` after ``timeout`` seconds, which ``setting`` says; ``what`` names the resource for people.
        """
        key, state = (*place, kind), _KINDS[kind][3]
        wanted = sorted(ids)
        ends = time.monotonic() + timeout
        pause = _FIRST_SECONDS
        with self._wanting(key, wanted):
            while True:
                seen = self._look(key, wanted, pause)
                states = {each: (seen.get(each) or {}).get("State") for each in wanted}
                failed = [each for each in wanted if states[each] in _FAILED]
                if failed:
                    message = f"{what}: {', '.join(failed)} failed on AWS's side."
                    raise KeeperError(f"{kind.capitalize()}Failed", message)
                missing = [each for each in wanted if states[each] != state]
                if not missing:
                    return
                if time.monotonic() > ends:
                    message = f"{what}: {', '.join(missing)} were not {state} after {timeout:.0f} s."
                    raise KeeperError(f"{kind.capitalize()}Timeout", message, f"See {setting}.")
                self._pause(pause)
                pause = min(_LONGEST_SECONDS, pause * 1.5)

    def known(self, place: tuple[str, str], kind: str, ids: Iterable[str], fresh: float) -> list[Description]:
        """AWS's descriptions of these, at most so many seconds old; of those that it tells at the moment.

        Raises botocore's errors.
        """
        key, wanted = (*place, kind), list(ids)
        with self._wanting(key, wanted):
            seen = self._look(key, wanted, fresh)
        return [found for each in wanted if (found := seen.get(each)) is not None]

    @contextmanager
    def instance(self, place: tuple[str, str], instance_id: str) -> Iterator[Callable[[float], Description | None]]:
        """What gives AWS's description of an instance, at most so many seconds old, while it is looked at.

        None when AWS gives none at the moment: too young to be known, or throttled. Raises botocore's errors.
        """
        key = (*place, "instance")
        with self._wanting(key, [instance_id]):
            yield lambda fresh: self._look(key, [instance_id], fresh).get(instance_id)

    @contextmanager
    def _wanting(self, key: Place, ids: Iterable[str]) -> Iterator[None]:
        """Meanwhile, whoever asks for anything there asks for these as well."""
        wanted = list(ids)
        with self._lock:
            counts = self._wanted.setdefault(key, {})
            for each in wanted:
                counts[each] = counts.get(each, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                for each in wanted:
                    counts[each] -= 1
                    if not counts[each]:
                        del counts[each]

    def _look(self, key: Place, own: Iterable[str], fresh: float) -> Mapping[str, Description | None]:
        """The ``own`` and all else that is waited for there, at most ``fresh`` seconds old; None for what AWS hides."""
        with self._lock:
            asking = self._asking.setdefault(key, threading.Lock())
        with asking:
            known = self._seen.get(key, {})
            if time.monotonic() - self._asked.get(key, 0.0) < fresh and known.keys() >= set(own):
                return known
            with self._lock:
                wanted = sorted(self._wanted[key])
            self._seen[key] = self._describe(key, wanted)
            self._asked[key] = time.monotonic()
            return self._seen[key]

    def _describe(self, key: Place, ids: list[str]) -> dict[str, Description | None]:
        account, region, kind = key
        call, listed, name, _ = _KINDS[kind]
        seen: dict[str, Description | None] = dict.fromkeys(ids)
        try:
            ec2 = self._client(account, region, "ec2")
            for chunk in aws.chunks(ids):  # as a filter: an id that is not known yet is left out, not an error
                filters = [{"Name": f"{kind}-id", "Values": chunk}]
                for page in aws.pages(ec2, call, listed, Filters=filters):
                    for each in page["Instances"] if kind == "instance" else [page]:
                        seen[each[name]] = each
        except (BotoCoreError, ClientError) as error:
            if not aws.is_passing(error):
                raise
        return seen
