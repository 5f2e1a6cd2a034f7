# SPDX-License-Identifier: GPL-3.0-or-later
"""The WSGI application: moto's, behind a check of who asks, one request at a time."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

from moto.ec2.models import ec2_backends
from moto.moto_server.werkzeug_app import create_backend_app

from mayfly_lab import accounts, refusals
from mayfly_lab.addresses import service_at
from mayfly_lab.control import authorization, consistency, errors, lifecycle, picture, pricing, publishing
from mayfly_lab.control.state import LOCK, Lab, Now
from mayfly_lab.faults import Request
from mayfly_lab.gate import Gate
from mayfly_lab.iam.guard import conditions
from mayfly_lab.iam.parameters import Parameters as Flat
from mayfly_lab.refusals import Refusal

log = logging.getLogger(__name__)
Environment = dict[str, Any]
Parameters = list[tuple[str, str]]
StartResponse = Callable[..., Any]
_MAXIMUM_BODY = 8 << 20
_READING = ("Describe", "Get", "List")
_FOR_HOSTS = ("AttachVolume", "CreateImage", "CreateSnapshots", "DetachVolume")
_OWN = {"pricing": pricing.application}  # what moto does not have


class Application:
    """Every service of the control plane; which one, tells the address that was called."""

    def __init__(self, services: tuple[str, ...], gate: Gate) -> None:
        self._applications = {
            service: _OWN.get(service) or create_backend_app(service)  # type: ignore[arg-type]
            for service in services
        }
        self._gate = gate

    def __call__(self, environ: Environment, start_response: StartResponse) -> Iterable[bytes]:
        service, region = service_at(environ["mayfly.address"])
        began = time.monotonic()
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > _MAXIMUM_BODY:
            return _say(start_response, service, Refusal(413, "RequestTooLarge", "The request is too long."))
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = io.BytesIO(body)
        key = accounts.access_key_of(environ.get("HTTP_AUTHORIZATION", "") or environ.get("QUERY_STRING", ""))
        if key is None:
            missing = "Request is missing Authentication Token"
            return _say(start_response, service, Refusal(403, "MissingAuthenticationToken", missing))
        try:
            account = accounts.account_of(key)
        except accounts.UnknownAccessKey:
            return _say(start_response, service, refusals.unknown_caller(service))
        call, parameters = read(environ, body)
        request = Request(service, call, account, region, tuple(value for _, value in parameters))
        refusal = self._gate.enter(request, key)
        if refusal:
            return _say(start_response, service, refusal)
        common = conditions(region, environ.get("REMOTE_ADDR", ""), environ.get("HTTP_USER_AGENT", ""))
        refusal, key_refused = authorization.enter(request, Flat(parameters), body, key, common)
        if refusal:
            return _say(start_response, service, refusal)
        line, headers, answer = self._answer(environ, Now(request, key_refused=key_refused), parameters)
        self._gate.leave(request, int(line.split()[0]))
        log.info("%s %s %s %.0f ms", service, call, line, (time.monotonic() - began) * 1000)
        start_response(line, headers)
        return [answer]

    def _answer(self, environ: Environment, now: Now, parameters: Parameters) -> errors.Answer:
        request = now.request
        started: list[Any] = []

        def start(*line_and_headers: Any) -> Any:
            started[:] = line_and_headers

        if request.call in _FOR_HOSTS:
            lifecycle.await_hosts(request.resources)
        with LOCK:
            Lab.now = now
            if request.service == "ec2":
                backend = ec2_backends[request.account][request.region]
                with consistency.lagging(backend, request, parameters):
                    answer = b"".join(self._applications["ec2"](environ, start))
                if not request.call.startswith(_READING):
                    picture.apply()
            else:
                answer = b"".join(self._applications[request.service](environ, start))
                if publishing.concerns(request.service, request.call):
                    publishing.publish()
            refusal = Lab.now.refusal
        if refusal:
            return errors.written(request.service, refusal)
        return started[0], started[1], answer


def read(environ: Environment, body: bytes) -> tuple[str, Parameters]:
    """(call, its parameters in the order of the request; of JSON, every text in it)"""
    target = environ.get("HTTP_X_AMZ_TARGET")
    if target:
        try:
            return str(target).rpartition(".")[2], list(_texts("", json.loads(body or b"{}")))
        except ValueError:  # moto tells the caller
            return str(target).rpartition(".")[2], []
    found = parse_qs(body.decode(errors="replace"), keep_blank_values=True)
    call = found.pop("Action", ["?"])[0]
    found.pop("Version", None)
    return call, [(name, value) for name, values in found.items() for value in values]


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _texts(f"{name}.{key}" if name else key, each)
    elif isinstance(value, list):
        for number, each in enumerate(value, 1):
            yield from _texts(f"{name}.{number}", each)


def _say(start_response: StartResponse, service: str, refusal: Refusal) -> Iterable[bytes]:
    line, headers, body = errors.written(service, refusal)
    start_response(line, headers)
    return [body]
