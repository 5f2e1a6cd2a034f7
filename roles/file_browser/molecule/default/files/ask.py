# SPDX-License-Identifier: GPL-3.0-or-later
"""Open a recovery's link as a browser does: check the thumbprint, show the token, read a file, follow no link."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import sys
from urllib.parse import urlsplit

link, thumbprint = sys.argv[1:]
place = urlsplit(link)
context = ssl.create_default_context()  # the thumbprint is what counts
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
connection = http.client.HTTPSConnection(place.hostname or "", place.port, context=context, timeout=30)
connection.connect()
shown = hashlib.sha256(connection.sock.getpeercert(binary_form=True)).hexdigest()
assert shown == thumbprint.replace(":", "").lower(), "the thumbprint is another"
cookie = ""


def ask(path: str, body: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Status and content of one answer."""
    global cookie  # noqa: PLW0603
    data = None if body is None else json.dumps(body)
    headers = {"cookie": cookie} if body is None else {"content-type": "application/json"}
    connection.request("GET" if body is None else "POST", path, data, headers)
    answer = connection.getresponse()
    cookie = (answer.getheader("set-cookie") or cookie).partition(";")[0]
    return answer.status, answer.read()


assert ask("/api/entries?volume=v1")[0] == 401
assert ask("/api/session", {"token": place.fragment})[0] == 200
assert ask("/api/file?volume=v1&path=etc/shadow") == (200, b"of-root-alone\n")
assert ask("/api/file?volume=v1&path=worker")[0] == 403
assert ask("/api/entries?volume=v2")[0] == 404
print("asked for everything")
