# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions of roles: a small file for each access key id, written by STS, read by every service."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Session:
    """A session that ends at ``ends`` (seconds since the epoch); ``policy`` is what narrows it, ``tags`` its own."""

    ends: float
    role_arn: str = ""
    name: str = ""
    policy: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    began: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))


class Sessions:
    """The sessions in one folder; one never changes, so what was read once is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Session] = {}

    def begin(self, access_key_id: str, session: Session) -> None:
        """Write a session down."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        unfinished = self._folder / f".{access_key_id}-{os.getpid()}"
        unfinished.write_text(json.dumps(asdict(session)))
        unfinished.replace(self._folder / access_key_id)

    def find(self, access_key_id: str) -> Session | None:
        """The session of an access key id; None for a user's key, and for one that nobody knows."""
        if not access_key_id.startswith("ASIA"):
            return None
        if access_key_id not in self._known:
            try:
                self._known[access_key_id] = Session(**json.loads((self._folder / access_key_id).read_text()))
            except FileNotFoundError:
                return None
        return self._known[access_key_id]

    def has_expired(self, access_key_id: str) -> bool:
        """Whether this is a session's key whose time is over; a user's key has no end."""
        session = self.find(access_key_id)
        return session is not None and session.ends <= time.time()
