# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors as the services of the control plane write them. Pure."""

from __future__ import annotations

import json
from http.client import responses as reasons
from xml.sax.saxutils import escape

from mayfly_lab.refusals import Refusal

_JSON_SERVICES = ("kms", "ssm", "servicequotas", "pricing")
Answer = tuple[str, list[tuple[str, str]], bytes]


def written(service: str, refusal: Refusal) -> Answer:
    """(status line, headers, body) of a refusal in the protocol of ``service``."""
    code, message = escape(refusal.code), escape(refusal.message)
    if service in _JSON_SERVICES:
        body = json.dumps({"__type": refusal.code, "message": refusal.message}).encode()
        kind = "application/x-amz-json-1.1"
    elif service == "ec2":
        inner = f"<Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
        body, kind = f"<Response>{inner}<RequestID>0</RequestID></Response>".encode(), "text/xml"
    else:
        side = "Receiver" if refusal.status >= 500 else "Sender"
        inner = f"<Error><Type>{side}</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        body, kind = f"<ErrorResponse>{inner}<RequestId>0</RequestId></ErrorResponse>".encode(), "text/xml"
    line = f"{refusal.status} {reasons.get(refusal.status, 'Unknown')}"
    return line, [("Content-Type", kind), ("Content-Length", str(len(body)))], body
