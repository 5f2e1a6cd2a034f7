# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of snapshots and volumes that are waited for: one request for all hosts of a run, not one each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from . import aws
from .errors import KeeperError

_KINDS = {
    "snapshot": ("describe_snapshots", "Snapshots", "SnapshotId", "completed"),
    "volume": ("describe_volumes", "Volumes", "VolumeId", "available"),
    "image": ("describe_images", "Images", "ImageId", "available"),
}
_FIRST_SECONDS = 1.0
_LONGEST_SECONDS = 15.0
_FAILED = ("error", "failed", "invalid", "deleting", "deleted", "deregistered")

Client = Callable[[str, str, str], Any]
Place = tuple[str, str, str]


class Watching:
    """Waits for states. ``client`` gives the client of a service for (account, Region, service).

    ``pause`` sleeps so many seconds, and raises KeeperError when the run is ending.
    """

    def __init__(self, client: Client, pause: Callable[[float], None]) -> None:
        self._client = client
        self._pause = pause
        self._wanted: dict[Place, dict[str, int]] = {}
        self._states: dict[Place, dict[str, str]] = {}
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
        with self._lock:
            counts = self._wanted.setdefault(key, {})
            for each in wanted:
                counts[each] = counts.get(each, 0) + 1
        ends = time.monotonic() + timeout
        pause = _FIRST_SECONDS
        try:
            while True:
                states = self._look(key, pause)
                failed = [each for each in wanted if states.get(each) in _FAILED]
                if failed:
                    message = f"{what}: {', '.join(failed)} failed on AWS's side."
                    raise KeeperError(f"{kind.capitalize()}Failed", message)
                missing = [each for each in wanted if states.get(each) != state]
                if not missing:
                    return
                if time.monotonic() > ends:
                    message = f"{what}: {', '.join(missing)} were not {state} after {timeout:.0f} s."
                    raise KeeperError(f"{kind.capitalize()}Timeout", message, f"See {setting}.")
                self._pause(pause)
                pause = min(_LONGEST_SECONDS, pause * 1.5)
        finally:
            with self._lock:
                for each in wanted:
                    counts[each] -= 1
                    if not counts[each]:
                        del counts[each]

    def _look(self, key: Place, fresh: float) -> Mapping[str, str]:
        """The states of all that is waited for there, at most ``fresh`` seconds old."""
        with self._lock:
            asking = self._asking.setdefault(key, threading.Lock())
        with asking:
            with self._lock:
                wanted = sorted(self._wanted[key])
            known = self._states.get(key, {})
            if time.monotonic() - self._asked.get(key, 0.0) < fresh and set(wanted) <= set(known):
                return known
            self._states[key] = self._describe(key, wanted)
            self._asked[key] = time.monotonic()
            return self._states[key]

    def _describe(self, key: Place, ids: list[str]) -> dict[str, str]:
        account, region, kind = key
        call, listed, name, _ = _KINDS[kind]
        states = dict.fromkeys(ids, "")
        try:
            ec2 = self._client(account, region, "ec2")
            for chunk in aws.chunks(ids):  # as a filter: an id that is not known yet is left out, not an error
                filters = [{"Name": f"{kind}-id", "Values": chunk}]
                for each in aws.pages(ec2, call, listed, Filters=filters):
                    states[each[name]] = each["State"]
        except (BotoCoreError, ClientError) as error:
            if not aws.is_passing(error):
                raise
        return states
