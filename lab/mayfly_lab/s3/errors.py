# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors as S3 writes them."""

from __future__ import annotations

from xml.sax.saxutils import escape


class S3Error(Exception):
    """An error answer: HTTP status, S3's code, a message, and what else the document and the headers tell."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        fields: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.fields = fields or {}
        self.headers = {"Content-Type": "application/xml", **(headers or {})}

    def document(self) -> bytes:
        """The XML body."""
        parts = {"Code": self.code, "Message": self.message, **self.fields}
        inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in parts.items())
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()


def access_denied(reason: str) -> S3Error:
    """403 AccessDenied. (AWS never says why; the lab's message does, to save its users an hour.)"""
    return S3Error(403, "AccessDenied", f"Access Denied ({reason})")
