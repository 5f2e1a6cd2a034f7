# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's accounts, and how a request tells which one it belongs to.

An access key id of the lab carries its account (AWS's own do too, in another encoding), so every process knows the
caller without asking another one.
"""

from __future__ import annotations

import re
import secrets
import string

BACKUP = "111122223333"
PRODUCTION = "444455556666"
ACCOUNTS = {"backup": BACKUP, "production": PRODUCTION}

_KEY = re.compile(r"A[KS]IA(\d{12})[A-Z]{4}")
_CREDENTIAL = re.compile(r"(?:Credential=|X-Amz-Credential=)([A-Z0-9]+)(?:/|%2F)", re.IGNORECASE)


class UnknownAccessKey(ValueError):
    """An access key id that is not of the lab (AWS: InvalidClientTokenId)."""


def new_access_key_id(account: str, *, temporary: bool) -> str:
    """An access key id of a user (AKIA) or of a session (ASIA) of ``account`` (12 digits)."""
    suffix = "".join(secrets.choice(string.ascii_uppercase) for _ in range(4))
    return f"{'ASIA' if temporary else 'AKIA'}{account}{suffix}"


def account_of(access_key_id: str) -> str:
    """The 12-digit account of an access key id; raises UnknownAccessKey."""
    match = _KEY.fullmatch(access_key_id)
    if not match:
        raise UnknownAccessKey(f"the access key id {access_key_id!r} is not one of this lab")
    return match.group(1)


def access_key_of(authorization: str) -> str | None:
    """The access key id in an Authorization header or a presigned query string, None when unsigned."""
    match = _CREDENTIAL.search(authorization)
    return match.group(1) if match else None
