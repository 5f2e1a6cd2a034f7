# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors as the EBS direct APIs write them."""

from __future__ import annotations

import json
import re

_SNAPSHOT_ID = re.compile(r"snap-[0-9a-f]{1,59}")


class DirectError(Exception):
    """An error answer: HTTP status, exception, AWS's reason and a message."""

    def __init__(self, status: int, name: str, reason: str | None, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.status = status
        self.name = name
        self.reason = reason
        self.message = message

    def document(self) -> bytes:
        """The JSON body."""
        return json.dumps({"Message": self.message, **({"Reason": self.reason} if self.reason else {})}).encode()


def invalid(reason: str, message: str) -> DirectError:
    """400 ValidationException."""
    return DirectError(400, "ValidationException", reason, message)


def check_id(snapshot_id: object) -> None:
    """Raises 400 for what cannot be the id of a snapshot."""
    if not isinstance(snapshot_id, str) or not _SNAPSHOT_ID.fullmatch(snapshot_id):
        raise invalid("INVALID_SNAPSHOT_ID", f"{snapshot_id} is no id of a snapshot.")


def not_found(snapshot_id: str) -> DirectError:
    """404: no such snapshot."""
    message = f"The snapshot '{snapshot_id}' does not exist."
    return DirectError(404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND", message)


def denied(message: str) -> DirectError:
    """403: not this account's."""
    return DirectError(403, "AccessDeniedException", "UNAUTHORIZED_ACCOUNT", message)
