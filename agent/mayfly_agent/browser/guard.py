# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands before every request: host, rate, session, origin; and what goes with every answer: headers, the log."""

from __future__ import annotations

import time
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .life import Life
from .refusals import CutOff, Refused
from .requests_log import RequestsLog
from .sessions import COOKIE, Rates, Session, Sessions

# No HSTS: with a certificate that browsers do not know, it would take away the way to accept it.
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
}
# What files of the volume may do when a browser shows one by itself: nothing.
CONTENT_POLICY = "default-src 'none'; sandbox"
# Requests a minute: of one session, and of strangers, who have nothing to ask for but the page itself.
_OF_SESSION = 1200
_OF_STRANGERS = 120
_OF_ALL_STRANGERS = 600


class Guard:
    """The outermost of the application. Handlers find the session in ``request.state.session``, and say in
    ``request.state.noted`` what was asked for, for the log."""

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...], sessions: Sessions, life: Life, log: RequestsLog) -> None:
        self._app = app
        self._hosts = hosts
        self._sessions = sessions
        self._life = life
        self._log = log
        self._of_sessions = Rates(_OF_SESSION, _OF_SESSION * 4)
        self._of_strangers = Rates(_OF_STRANGERS, _OF_ALL_STRANGERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI calls it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        began = time.monotonic()
        headers = Headers(scope=scope)
        session = self._sessions.find(_cookie(headers.getlist("cookie")))
        address = str((scope.get("client") or ("unknown",))[0])
        noted: dict[str, object] = {}
        scope.setdefault("state", {}).update(session=session, noted=noted, address=address)
        sent = {"status": 0, "bytes": 0}

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent["status"] = message["status"]
                found = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    found.setdefault(name, value)
            else:
                sent["bytes"] += len(message.get("body", b""))
                if session is not None and noted.get("action") != "watch":
                    self._life.used()
            await send(message)

        try:
            self._check(scope, headers, session, address)
            await self._app(scope, receive, answer)
        except Refused as refused:
            noted["action"] = "refused"
            await refusing(refused)(scope, receive, answer)
        except CutOff:
            noted["cut_off"] = True
        finally:
            if noted.get("action") != "watch":  # the page asks every few seconds how far things are
                who = session or scope["state"].get("opened")
                seconds = round(time.monotonic() - began, 3)
                self._log.write(
                    who.name if who else "",
                    address,
                    {"method": scope["method"][:8], **noted, **sent, "seconds": seconds},
                )

    def _check(self, scope: Scope, headers: Headers, session: Session | None, address: str) -> None:
        """Raises Refused for what is not let through."""
        rates, who = (self._of_strangers, address) if session is None else (self._of_sessions, session.name)
        wait = rates.wait(who)
        if wait:
            raise Refused(429, "That was too much at once.", wait)
        rates.count(who)
        if _host(headers.get("host", "")) not in self._hosts:
            raise Refused(421, "This page does not answer to that name.")
        if self._log.full:
            raise Refused(503, "The log of requests is full, and nothing is done without it.")
        if scope["method"] not in ("GET", "POST"):
            raise Refused(405, "Only GET and POST are known here.")
        if not scope["path"].startswith("/api/"):
            return
        if self._life.over.is_set():
            raise Refused(410, "This recovery has ended.")
        # Of another site's page, a browser says so; what is no browser says nothing.
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Refused(403, "Another site has no business here.")
        if scope["method"] == "POST" and (
            headers.get("content-type", "") != "application/json"
            or headers.get("origin", f"https://{headers.get('host')}") != f"https://{headers.get('host')}"
        ):
            raise Refused(403, "Only this page itself may ask for that.")
        if session is None and scope["path"] != "/api/session":
            raise Refused(401, "Open the link of this recovery first.")


def refusing(refused: Refused) -> JSONResponse:
    """The answer that a refusal is."""
    headers = {"retry-after": str(refused.wait)} if refused.wait else {}
    return JSONResponse({"error": refused.message}, refused.status, headers)


def _host(value: str) -> str:
    name, _, port = value.rpartition(":")
    return (name if name and port.isdigit() else value).strip("[]").lower()


def _cookie(headers: list[str]) -> str:
    try:
        morsel = SimpleCookie("; ".join(headers)).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""
