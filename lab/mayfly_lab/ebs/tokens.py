# SPDX-License-Identifier: GPL-3.0-or-later
"""Page and block tokens: signed, for one caller and place, and they expire."""

from __future__ import annotations

import base64
import hmac
import os
import time
from hashlib import sha256
from pathlib import Path

# https://docs.aws.amazon.com/ebs/latest/APIReference/API_ListSnapshotBlocks.html: a page's token lasts 60 minutes;
# https://docs.aws.amazon.com/ebs/latest/userguide/readsnapshots.html: a block's seven days.
PAGE_SECONDS = 3600
BLOCK_SECONDS = 7 * 86400
_SIGNATURE = 16


class TokenRefused(Exception):
    """A token that is forged, of another place, or too old."""


class Tokens:
    """Makes and reads tokens; the key lies in a file, so that they outlive the process."""

    def __init__(self, key_file: Path) -> None:
        if not key_file.exists():
            key_file.write_bytes(os.urandom(32))
        self._key = key_file.read_bytes()

    def make(self, place: str, value: int, seconds: float) -> str:
        """A token that carries a number for a place."""
        body = value.to_bytes(8, "big") + int((time.time() + seconds) * 1000).to_bytes(8, "big")
        return base64.b64encode(body + self._sign(place, body)).decode()

    def read(self, place: str, token: str) -> int:
        """The number; raises TokenRefused."""
        try:
            raw = base64.b64decode(token, validate=True)
        except ValueError as error:
            raise TokenRefused(str(error)) from error
        body, signature = raw[:16], raw[16:]
        if not hmac.compare_digest(signature, self._sign(place, body)):
            raise TokenRefused("it is not for this")
        if int.from_bytes(body[8:], "big") < time.time() * 1000:
            raise TokenRefused("it has expired")
        return int.from_bytes(body[:8], "big")

    def _sign(self, place: str, body: bytes) -> bytes:
        return hmac.new(self._key, place.encode() + b"\0" + body, sha256).digest()[:_SIGNATURE]
