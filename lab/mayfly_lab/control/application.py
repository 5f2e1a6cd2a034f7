# SPDX-License-Identifier: GPL-3.0-or-later
"""The WSGI application: moto's, behind a check of who asks, one request at a time."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import create_backend_app

from mayfly_lab import accounts
from mayfly_lab.addresses import service_at
from mayfly_lab.control import identity, picture
from mayfly_lab.control.state import LOCK

log = logging.getLogger(__name__)
Environment = dict[str, Any]
StartResponse = Callable[..., Any]
_MAXIMUM_BODY = 8 << 20
_JSON_SERVICES = ("kms", "ssm")
_READING = ("Describe", "Get", "List")


class Application:
    """Every service of the control plane; which one, tells the address that was called."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self._applications = {service: create_backend_app(service) for service in services}  # type: ignore[arg-type]

    def __call__(self, environ: Environment, start_response: StartResponse) -> Iterable[bytes]:
        service, _ = service_at(environ["mayfly.address"])
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > _MAXIMUM_BODY:
            return _refuse(
                service, start_response, "413 Payload Too Large", "RequestTooLarge", "The request is too long."
            )
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = io.BytesIO(body)
        refusal = _unknown_caller(environ)
        if refusal:
            return _refuse(service, start_response, "403 Forbidden", *refusal)
        action = _action(environ, body)
        began = time.monotonic()
        status = ""

        def started(line: str, headers: Any, *rest: Any) -> Any:
            nonlocal status
            status = line
            return start_response(line, headers, *rest)

        with LOCK:
            answer = list(self._applications[service](environ, started))
            if service == "ec2" and not action.startswith(_READING):
                picture.apply()
        log.info("%s %s %s %.0f ms", service, action, status, (time.monotonic() - began) * 1000)
        return answer


def _action(environ: Environment, body: bytes) -> str:
    target = environ.get("HTTP_X_AMZ_TARGET")
    if target:
        return str(target).rpartition(".")[2]
    return parse_qs(body.decode(errors="replace")).get("Action", ["?"])[0]


def _unknown_caller(environ: Environment) -> tuple[str, str] | None:
    """(code, message) when the caller is nobody, or a session that has ended."""
    key = accounts.access_key_of(environ.get("HTTP_AUTHORIZATION", "") or environ.get("QUERY_STRING", ""))
    if key is None:
        return "MissingAuthenticationToken", "Request is missing Authentication Token"
    try:
        accounts.account_of(key)
    except accounts.UnknownAccessKey:
        return "InvalidClientTokenId", "The security token included in the request is invalid."
    if identity.has_expired(key):
        return "ExpiredToken", "The security token included in the request is expired"
    return None


def _refuse(service: str, start_response: StartResponse, status: str, code: str, message: str) -> Iterable[bytes]:
    if service in _JSON_SERVICES:
        body = json.dumps({"__type": code, "message": message}).encode()
        kind = "application/x-amz-json-1.1"
    elif service == "ec2":
        inner = f"<Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
        body, kind = f"<Response>{inner}<RequestID>0</RequestID></Response>".encode(), "text/xml"
    else:
        inner = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        body, kind = f"<ErrorResponse>{inner}<RequestId>0</RequestId></ErrorResponse>".encode(), "text/xml"
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
