# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page is about: what the playbook tells it, as JSON, before it starts.

{version: 1, source: {name, id}, hosts: [names and addresses it is reached at], token_sha256, idle_seconds,
lifetime_seconds, put_back: [keep, overwrite], volumes: [{id, name, path, file_system, device, size, restore_point,
note}]}. A volume without a path is there, and cannot be shown; its note says why. ``put_back`` is empty where nobody
would do it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = 1
PUT_BACK = ("keep", "overwrite")
_IDENTITY = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Seven days, in seconds: the longest that a worker lives.
_LONGEST = 604_800


@dataclass(frozen=True)
class VolumeDescription:
    """A file system, mounted read-only at ``path``, "" where it is not; ``size`` in bytes."""

    id: str
    name: str
    path: str = ""
    file_system: str = ""
    device: str = ""
    size: int = 0
    restore_point: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if not _IDENTITY.fullmatch(self.id):
            raise ValueError(f"the id of a volume is {self.id!r}")
        if self.path and not self.path.startswith("/"):
            raise ValueError(f"the path of {self.id} is {self.path!r}")


@dataclass(frozen=True)
class Description:
    """See the module. Raises ValueError for what is out of bounds."""

    source: Mapping[str, str]
    hosts: tuple[str, ...]
    token_sha256: bytes
    idle_seconds: float
    lifetime_seconds: float
    volumes: tuple[VolumeDescription, ...]
    put_back: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.token_sha256) != 32:
            raise ValueError("token_sha256 is no SHA-256")
        if not (0 < self.idle_seconds <= _LONGEST and 0 < self.lifetime_seconds <= _LONGEST):
            raise ValueError(f"idle_seconds and lifetime_seconds are from 1 to {_LONGEST}")
        if not self.hosts:
            raise ValueError("hosts is empty")
        if len({each.id for each in self.volumes}) != len(self.volumes):
            raise ValueError("two volumes have one id")
        if not set(self.put_back) <= set(PUT_BACK):
            raise ValueError(f"put_back is {self.put_back}, not of {PUT_BACK}")


def read_description(path: Path) -> Description:
    """From its file; raises OSError, and ValueError for what is none."""
    try:
        value: Any = json.loads(path.read_text())
        if value["version"] != VERSION:
            raise ValueError(f"its version is {value['version']!r}, not {VERSION}")
        return Description(
            source={key: str(value["source"][key]) for key in ("name", "id")},
            hosts=tuple(str(each).lower() for each in value["hosts"]),
            token_sha256=bytes.fromhex(value["token_sha256"]),
            idle_seconds=float(value["idle_seconds"]),
            lifetime_seconds=float(value["lifetime_seconds"]),
            volumes=tuple(VolumeDescription(**each) for each in value["volumes"]),
            put_back=tuple(value.get("put_back", ())),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} describes no file recovery: {error!r}") from error
