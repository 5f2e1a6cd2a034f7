# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may ask: the recovery's one token is exchanged for a session, and guesses are few.

Only digests are kept, and compared in constant time; neither the token nor a cookie is ever told to anybody else.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from .refusals import Refused

# __Host-: only over TLS, only for this very host, for all of it (RFC 6265bis)
COOKIE = "__Host-mayfly"
LONGEST_TOKEN = 256
MOST_SESSIONS = 32
# Wrong tokens a minute. The token has so many bits that these only keep logs short.
WRONG_BY_ADDRESS = 5
WRONG_BY_ALL = 30
_MINUTE = 60.0
_MOST_ADDRESSES = 1024


@dataclass(frozen=True)
class Session:
    """A browser that has shown the token; ``name`` is what logs call it."""

    name: str
    address: str


class Rates:
    """How often something has happened in the last minute, by whom and in all."""

    def __init__(self, each: int, together: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._each = each
        self._clock = clock
        self._all: deque[float] = deque(maxlen=together)
        self._by: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, who: str) -> int:
        """Seconds until it may happen again, 0 when it may now."""
        now = self._clock()
        full = [seen for seen in (self._all, self._by.get(who, deque())) if seen and len(seen) == seen.maxlen]
        return max([0, *(int(seen[0] + _MINUTE - now) + 1 for seen in full if seen[0] + _MINUTE > now)])

    def count(self, who: str) -> None:
        """It has happened."""
        now = self._clock()
        self._all.append(now)
        self._by.setdefault(who, deque(maxlen=self._each)).append(now)
        self._by.move_to_end(who)
        if len(self._by) > _MOST_ADDRESSES:
            self._by.popitem(last=False)


class Sessions:
    """All browsers that have shown the token."""

    def __init__(self, token_sha256: bytes, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = token_sha256
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._wrong = Rates(WRONG_BY_ADDRESS, WRONG_BY_ALL, clock)
        self._opened = 0

    def open(self, token: object, address: str) -> tuple[str, Session]:
        """A new cookie for whoever shows the token; the oldest session ends when there are too many.

        Raises Refused: 429 for who has guessed too often, 401 for another token.
        """
        wait = self._wrong.wait(address)
        if wait:
            raise Refused(429, "Too many wrong links have been tried. Wait a minute.", wait)
        given = token.encode() if isinstance(token, str) and len(token) <= LONGEST_TOKEN and token.isascii() else b""
        if not hmac.compare_digest(hashlib.sha256(given).digest(), self._token):
            self._wrong.count(address)
            raise Refused(401, "This link does not open this recovery.")
        self._opened += 1
        cookie = secrets.token_urlsafe(32)
        session = Session(f"browser-{self._opened}", address)
        self._sessions[_digest(cookie)] = session
        if len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return cookie, session

    def find(self, cookie: str) -> Session | None:
        """Whose cookie it is. It is looked up by its digest, so what the look-up takes tells nothing of it."""
        return self._sessions.get(_digest(cookie)) if cookie else None


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode()).digest()
