# SPDX-License-Identifier: GPL-3.0-or-later
"""The WSGI application: which call of which account, and its answer."""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Callable, Iterable
from http.client import responses as reasons
from typing import Any
from urllib.parse import parse_qsl

from mayfly_lab import accounts
from mayfly_lab.blocks.files import BLOCK
from mayfly_lab.blocks.store import BlockStore
from mayfly_lab.ebs.errors import DirectError, check_id, invalid
from mayfly_lab.ebs.permission import Permission
from mayfly_lab.ebs.reading import Caller, Reading
from mayfly_lab.ebs.tokens import Tokens
from mayfly_lab.ebs.writing import SEALING_SECONDS, Writing
from mayfly_lab.faults import Request
from mayfly_lab.gate import Gate
from mayfly_lab.iam.guard import Guard
from mayfly_lab.refusals import unknown_caller
from mayfly_lab.web import NoAnswer

log = logging.getLogger(__name__)
Environment = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]

_SNAPSHOT = r"/snapshots/(?P<snapshot>[^/]+)"
_ROUTES = [
    (method, re.compile(pattern + r"$"), name)
    for method, pattern, name in (
        ("GET", _SNAPSHOT + "/blocks", "ListSnapshotBlocks"),
        ("GET", _SNAPSHOT + "/changedblocks", "ListChangedBlocks"),
        ("GET", _SNAPSHOT + r"/blocks/(?P<index>\d+)", "GetSnapshotBlock"),
        ("PUT", _SNAPSHOT + r"/blocks/(?P<index>\d+)", "PutSnapshotBlock"),
        ("POST", "/snapshots", "StartSnapshot"),
        ("POST", r"/snapshots/completion/(?P<snapshot>[^/]+)", "CompleteSnapshot"),
    )
]


class Application:
    """EBS direct for WSGI servers that tell the address of a request as ``mayfly.address``."""

    def __init__(
        self,
        store: BlockStore,
        tokens: Tokens,
        gate: Gate,
        regions: dict[str, str],
        sealing_seconds: float = SEALING_SECONDS,
        *,
        guard: Guard,
    ) -> None:
        """``regions``: by the address that a request came to. ``sealing_seconds``: after CompleteSnapshot."""
        self._reading = Reading(store, tokens, gate.faults)
        self._writing = Writing(store, self._reading, gate.faults, sealing_seconds)
        self._gate = gate
        self._permission = Permission(store, guard)
        self._regions = regions

    def __call__(self, environ: Environment, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(min(length, BLOCK + 1)) if length else b""
        try:
            status, headers, answer = self._answer(environ, body)
        except DirectError as error:
            status, answer = error.status, error.document()
            headers = {"Content-Type": "application/json", "x-amzn-ErrorType": error.name}
        except NoAnswer:
            raise
        except Exception as error:
            log.exception("%s %s", environ["REQUEST_METHOD"], environ["PATH_INFO"])
            failure = DirectError(500, "InternalServerException", None, f"{error!r}")
            status, answer = 500, failure.document()
            headers = {"Content-Type": "application/json", "x-amzn-ErrorType": failure.name}
        headers |= {"Content-Length": str(len(answer)), "x-amzn-RequestId": secrets.token_hex(16)}
        start_response(f"{status} {reasons.get(status, '')}", list(headers.items()))
        return [answer]

    def _answer(self, environ: Environment, body: bytes) -> Answer:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        for wanted, pattern, name in _ROUTES:
            match = pattern.match(path)
            if match and wanted == method:
                return self._call(name, match.groupdict(), environ, body)
        raise DirectError(404, "UnknownOperationException", None, f"There is no {method} {path}.")

    def _call(self, name: str, parts: dict[str, str], environ: Environment, body: bytes) -> Answer:
        key, caller = self._caller(environ)
        query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
        value = _object(body) if name == "StartSnapshot" else {}
        named = (parts.get("snapshot"), query.get("firstSnapshotId"), value.get("ParentSnapshotId"))
        request = caller.request(name, *(each for each in named if isinstance(each, str)))
        refusal = self._gate.enter(request, key)
        if refusal:
            raise DirectError(refusal.status, refusal.code, refusal.reason, refusal.message)
        self._permission.check(request, value, key, environ)
        answer = self._done(request, caller, parts=parts, query=query, environ=environ, body=body)
        self._gate.leave(request, answer[0])
        return answer

    def _done(
        self,
        request: Request,
        caller: Caller,
        *,
        parts: dict[str, str],
        query: dict[str, str],
        environ: Environment,
        body: bytes,
    ) -> Answer:
        name, snapshot, index = request.call, parts.get("snapshot"), int(parts.get("index", 0))
        if snapshot is None:
            return _json(201, self._writing.start(caller, _object(body)))
        check_id(snapshot)
        if name == "GetSnapshotBlock":
            data, more = self._reading.get_block(caller, snapshot, index, query.get("blockToken", ""))
            return 200, more, data
        headers = {key[5:].replace("_", "-").lower(): each for key, each in environ.items() if key.startswith("HTTP_")}
        if name == "PutSnapshotBlock":
            return 201, self._writing.put(caller, snapshot, index, headers, body), b"{}"
        if name == "ListSnapshotBlocks":
            return _json(200, self._reading.list_blocks(caller, snapshot, query))
        if name == "ListChangedBlocks":
            return _json(200, self._reading.list_changed(caller, snapshot, query))
        return _json(202, self._writing.complete(caller, snapshot, headers))

    def _caller(self, environ: Environment) -> tuple[str, Caller]:
        """(access key id, caller); raises DirectError for nobody's."""
        key = accounts.access_key_of(environ.get("HTTP_AUTHORIZATION", "")) or ""
        try:
            account = accounts.account_of(key)
        except accounts.UnknownAccessKey as error:
            refusal = unknown_caller("ebs")
            raise DirectError(refusal.status, refusal.code, None, refusal.message) from error
        return key, Caller(account, self._regions[environ["mayfly.address"]])


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except ValueError as error:
        raise invalid("INVALID_PARAMETER_VALUE", "The body is no JSON.") from error
    if not isinstance(value, dict):
        raise invalid("INVALID_PARAMETER_VALUE", "The body is no JSON object.")
    return value


def _json(status: int, value: dict[str, Any]) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()
