# SPDX-License-Identifier: GPL-3.0-or-later
"""One machine of the lab, whatever runs it."""

from __future__ import annotations

import os
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from mayfly_lab import cgroups


@dataclass(frozen=True)
class Place:
    """Where a machine lives."""

    instance_id: str
    private_ip: str
    folder: Path
    lab: str  # the name of its lab among control groups


@dataclass
class Host(ABC):
    """A running machine. ``attach`` and ``detach`` are called by one thread at a time."""

    shutdown_seconds: ClassVar[float]  # of an orderly power-off, which is then done by force

    place: Place
    process: subprocess.Popen[bytes]
    lock: threading.Lock = field(default_factory=threading.Lock)
    ending: bool = False  # it was asked to end, or made to
    frozen: bool = False  # on request, not for the moment of a snapshot
    lost: bool = False  # it dies, by itself or on request, and EC2 does not notice
    released: threading.Event = field(default_factory=threading.Event)  # nothing of it is left

    @property
    def instance_id(self) -> str:
        return self.place.instance_id

    @property
    @abstractmethod
    def disks(self) -> Collection[str]:
        """Names (xvdf) of what is attached."""

    @abstractmethod
    def leader(self) -> int:
        """The process id of the machine's own process 1; raises an error where there is none."""

    @abstractmethod
    def attach(self, name: str, volume_id: str, volume: Path) -> None:
        """Give the machine a disk under /dev/NAME, and under its volume's id as /dev/disk/by-id has it."""

    @abstractmethod
    def detach(self, name: str) -> None:
        """Take a disk from the machine; raises KeyError."""

    @abstractmethod
    def press_power_button(self) -> None:
        """Ask the machine's process 1 for an orderly power-off."""

    def wait(self) -> int:
        """Until the machine has ended; 0 when it did so in order."""
        return self.process.wait()

    @abstractmethod
    def release(self) -> None:
        """Remove what the machine, which has ended, has left."""

    def kill(self) -> None:
        """End the machine at once."""
        self.ending = True
        cgroups.kill(self.place.lab, self.instance_id)
        self.process.kill()


def spawn(place: Place, words: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start a machine: a shell's ``exec WORDS`` in control groups of its own, its console in a file of its folder."""
    enter = "".join(f"echo $$ > {group}/cgroup.procs; " for group in cgroups.create(place.lab, place.instance_id))
    with (place.folder / "console.log").open("ab") as console:
        return subprocess.Popen(
            ["bash", "-c", f"{enter}ulimit -c 0; exec {words}"],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            cwd=place.folder,
            env={**os.environ, **environment},
        )
