# SPDX-License-Identifier: GPL-3.0-or-later
"""Users, roles and keys with their policies, in one file: the control plane writes it, every service reads it.

The file is replaced as a whole whenever one of them changes; a service pays one stat for knowing that none has.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from mayfly_lab.iam import callers
from mayfly_lab.iam.callers import Caller
from mayfly_lab.sessions import Sessions

EMPTY: dict[str, Any] = {"users": {}, "roles": {}, "access_keys": {}, "administrators": [], "keys": {}}


class Identities:
    """What the file says; its form is that of `mayfly_lab.control.publishing`."""

    def __init__(self, path: Path, sessions: Sessions) -> None:
        self._path = path
        self._name = str(path)
        self._sessions = sessions
        self._guard = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._known = EMPTY

    def all(self) -> dict[str, Any]:
        """Everything, as it is now."""
        try:
            found = os.stat(self._name)  # noqa: PTH116 - asked at every request, and a Path costs more than the call
        except FileNotFoundError:
            return EMPTY
        seen = (found.st_mtime_ns, found.st_ino)
        with self._guard:
            if seen != self._seen:
                self._known = json.loads(self._path.read_text())
                self._seen = seen
            return self._known

    def caller(self, access_key_id: str) -> Caller | None:
        """Who an access key id stands for; None for nobody."""
        known = self.all()
        session = self._sessions.find(access_key_id)
        if session:
            role = known["roles"].get(session.role_arn)
            return callers.of_session(session, role) if role else None
        arn = known["access_keys"].get(access_key_id)
        user = known["users"].get(arn)
        return callers.of_user(arn, user, administrator=arn in known["administrators"]) if user else None

    def trust(self, role_arn: str) -> str | None:
        """The trust policy of a role; None for a role that there is not."""
        role = self.all()["roles"].get(role_arn)
        return role["trust"] if role else None
