# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults on request: one list for every service of the lab, in one file of its run folder.

The file is replaced as a whole and changed under a lock, so a count is exact whichever process uses it up. While
nobody has asked for a fault a service pays for one stat.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mayfly_lab import locks

FILTERS = ("service", "call", "account", "region", "resource")
THINGS = ("instance", "snapshot", "volume", "security-group")


class FaultError(ValueError):
    """A fault that there is not, or that cannot be asked for."""


@dataclass(frozen=True)
class Kind:
    """What a kind of fault does, the options it takes beside the filters, and those it cannot do without."""

    purpose: str
    options: tuple[str, ...] = ()
    required: tuple[str, ...] = ()


_LAUNCH = ("type", "zone", "market")
MARKETS = ("on-demand", "spot")
KINDS = {
    "error": Kind("any error of AWS, in the service's own form", ("code", "status", "message", "reason")),
    "throttle": Kind("the service's own throttling error, above a rate or always", ("rate", "snapshot")),
    "time-out": Kind("no answer: the connection is held (60 s), then closed; nothing is done", ("seconds",)),
    "lost-answer": Kind("it is done, then the connection is closed without an answer"),
    "slow": Kind(
        "it is done, and answered seconds later (with --before: done only then)", ("seconds", "before"), ("seconds",)
    ),
    "capacity": Kind("RunInstances: InsufficientInstanceCapacity", _LAUNCH),
    "vcpu-limit": Kind("RunInstances: VcpuLimitExceeded, of Spot MaxSpotInstanceCountExceeded", _LAUNCH),
    "spot-price": Kind("RunInstances on the Spot market: SpotMaxPriceTooLow", ("type", "zone")),
    "ends-by-itself": Kind(
        "an accepted launch ends while it is pending (after 0.7 s), with a StateReason",
        (*_LAUNCH, "reason", "message", "seconds"),
    ),
    "slow-boot": Kind("the host of a launch starts seconds late", (*_LAUNCH, "seconds"), ("seconds",)),
    "no-ssh": Kind("the host of a launch runs neither its user data nor sshd", _LAUNCH),
    "expired-credentials": Kind("sessions of roles count as expired"),
    "short-sessions": Kind("AssumeRole's sessions end after seconds, whatever was asked", ("seconds",), ("seconds",)),
    "not-found-yet": Kind(
        "what was made less than seconds ago is unknown to calls by id and left out of lists",
        ("thing", "seconds"),
        ("seconds",),
    ),
    "stale-tags": Kind("Describe calls show and filter by the tags of seconds ago", ("seconds",), ("seconds",)),
    "snapshot-missing": Kind("EBS direct does not know a snapshot it started less than 120 s ago", ("seconds",)),
    "corrupt": Kind("a block of EBS direct is not what its checksum says", ("snapshot", "index")),
    "retrieval-time": Kind(
        "RestoreObject: an archived object is there after seconds, not hours", ("seconds",), ("seconds",)
    ),
    "group-busy": Kind(
        "a security group cannot be deleted until seconds after the end of its instances", ("seconds",), ("seconds",)
    ),
    "short-tokens": Kind("page and block tokens of EBS direct end after seconds", ("seconds",), ("seconds",)),
    "empty-pages": Kind("the first page of a list of EBS direct's is empty"),
}


@dataclass(frozen=True)
class Request:
    """What a service was asked; ``resources`` are the ids, names and keys in it."""

    service: str = ""
    call: str = ""
    account: str = ""
    region: str = ""
    resources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fault:
    """One fault. ``left``: how many answers it still spoils, None without an end. Filters are shell patterns.

    ``met``: how many it has spoiled; of one without an end, whether it has spoiled any.
    """

    identity: str
    kind: str
    left: int | None = None
    service: str | None = None
    call: str | None = None
    account: str | None = None
    region: str | None = None
    resource: str | None = None
    code: str | None = None
    status: int | None = None
    message: str | None = None
    reason: str | None = None
    seconds: float | None = None
    before: bool = False
    rate: float | None = None  # requests a second
    snapshot: str | None = None
    index: int | None = None
    type: str | None = None
    zone: str | None = None
    market: str | None = None
    thing: str | None = None
    met: int = 0

    def concerns(self, request: Request) -> bool:
        """Whether it is about such a request, whatever it names."""
        return all(
            pattern is None or fnmatchcase(value, pattern)
            for pattern, value in (
                (self.service, request.service),
                (self.call, request.call),
                (self.account, request.account),
                (self.region, request.region),
            )
        )

    def names(self, *resources: str) -> bool:
        """Whether one of ``resources`` is what it is about."""
        return all(
            pattern is None or any(fnmatchcase(each, pattern) for each in resources)
            for pattern in (self.resource, self.snapshot)
        )

    def fits(self, instance_type: str, zone: str, market: str) -> bool:
        """Whether it is about launches of this type in this Availability Zone on this market."""
        place = fnmatchcase(instance_type, self.type or "*") and fnmatchcase(zone, self.zone or "*")
        return place and self.market in (None, market)

    def __str__(self) -> str:
        left = "always" if self.left is None else f"{self.left} left"
        met = f", met {self.met} times" if self.met and self.left is not None else ", met" if self.met else ""
        named = [
            f"{each.name}={getattr(self, each.name)}"
            for each in fields(self)
            if each.name not in ("identity", "kind", "left", "met") and getattr(self, each.name) != each.default
        ]
        return " ".join([self.identity, self.kind, *named, f"{left}{met}"])


class Faults:
    """The faults of a lab; ``run`` is its run folder."""

    def __init__(self, run: Path) -> None:
        self._path = run / "faults.json"
        self._name = str(self._path)
        self._lock_path = run / "faults.lock"
        self._guard = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._known: tuple[Fault, ...] = ()

    def all(self) -> tuple[Fault, ...]:
        """Every fault, in the order in which they were asked for; those used up too."""
        try:
            found = os.stat(self._name)  # noqa: PTH116 - asked at every request, and a Path costs more than the call
        except FileNotFoundError:
            return ()
        seen = (found.st_mtime_ns, found.st_ino)
        with self._guard:
            if seen != self._seen:
                self._known = tuple(self._read()[1])
                self._seen = seen
            return self._known

    def add(self, kind: str, times: int | None = None, **options: Any) -> Fault:
        """Ask for a fault, ``times`` times or always; raises FaultError for options that the kind does not take."""
        known = KINDS.get(kind)
        if known is None:
            raise FaultError(f"there is no fault {kind!r}: {', '.join(KINDS)}")
        given = {name: value for name, value in options.items() if value is not None}
        unknown = sorted(given.keys() - {*FILTERS, *known.options})
        missing = sorted(set(known.required) - given.keys())
        if unknown or missing:
            raise FaultError(f"{kind} takes no {', '.join(unknown)}" if unknown else f"{kind} needs {missing[0]}")
        if times is not None and times < 1:
            raise FaultError("a fault happens once or more")
        with self._changing() as (number, faults):
            fault = Fault(f"f{number}", kind, times, **given)
            faults.append(fault)
        return fault

    def clear(self, *identities: str) -> None:
        """Take faults back, all of them when none is named; raises FaultError for one that there is not."""
        with self._changing() as (_, faults):
            missing = set(identities) - {fault.identity for fault in faults}
            if missing:
                raise FaultError(f"there is no fault {', '.join(sorted(missing))}")
            faults[:] = [fault for fault in faults if identities and fault.identity not in identities]

    def active(self, kind: str, request: Request) -> list[Fault]:
        """The faults of a kind that concern a request, whatever it names, and are not used up."""
        return [fault for fault in self.all() if fault.kind == kind and fault.left != 0 and fault.concerns(request)]

    def use(self, fault: Fault) -> bool:
        """Count one answer that a fault spoils; False when another process has used it up meanwhile."""
        if fault.left is None and fault.met:
            return True
        with self._changing() as (_, faults):
            for place, each in enumerate(faults):
                if each.identity == fault.identity and each.left != 0:
                    faults[place] = replace(each, left=each.left and each.left - 1, met=each.met + 1)
                    return True
        return False

    def take(self, kind: str, request: Request, where: Callable[[Fault], bool] | None = None) -> Fault | None:
        """The first fault of a kind that this request meets, counted; None where there is none."""
        for fault in self.active(kind, request):
            if fault.names(*request.resources) and (where is None or where(fault)) and self.use(fault):
                return fault
        return None

    def _read(self) -> tuple[int, list[Fault]]:
        """(number of the next fault, faults)"""
        try:
            value = json.loads(self._path.read_text())
        except FileNotFoundError:
            return 1, []
        return value["next"], [Fault(**each) for each in value["faults"]]

    @contextmanager
    def _changing(self) -> Iterator[tuple[int, list[Fault]]]:
        with locks.held(self._lock_path):
            number, faults = self._read()
            before = list(faults)
            yield number, faults
            if faults != before:
                self._write(number + (len(faults) > len(before)), faults)

    def _write(self, number: int, faults: list[Fault]) -> None:
        unfinished = self._path.with_suffix(f".new{os.getpid()}-{threading.get_ident()}")
        unfinished.write_text(json.dumps({"next": number, "faults": [asdict(fault) for fault in faults]}))
        # The time of a file's change tells versions apart, so it must grow with each, however short after one another.
        last = self._path.stat().st_mtime_ns if self._path.exists() else 0
        moment = max(time.time_ns(), last + 1)
        os.utime(unfinished, ns=(moment, moment))
        unfinished.replace(self._path)
