# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths of files as bytes, which is what they are, and their forms for the wire, for people, and for archives.

On the wire a path is percent-encoded ASCII: one form for each path, so what is encoded twice, or in another way, is
none. A name need not be UTF-8.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote_from_bytes, unquote_to_bytes

from .refusals import Refused

Parts = tuple[bytes, ...]
# Of Linux, in bytes; a path may be longer than what one system call takes.
_LONGEST_NAME = 255
_LONGEST_PATH = 65_536
# What turns the direction of text, and so hides what a name ends with, is shown by its number.
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNSEEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
_ESCAPE = re.compile(r"%[0-9A-F]{2}")


def parse(text: str) -> Parts:
    """The names of a path below a volume's root, "" for the root itself. Raises Refused for anything else."""
    if len(text) > 3 * _LONGEST_PATH:
        raise Refused(400, "The path is too long.")
    path = unquote_to_bytes(text) if text.isascii() else b"\0"
    if quote_from_bytes(path) != text:
        raise Refused(400, "The path is not encoded as paths are here.")
    if not path:
        return ()
    parts = tuple(path.split(b"/"))
    if any(part in (b"", b".", b"..") or b"\0" in part or len(part) > _LONGEST_NAME for part in parts):
        raise Refused(400, "The path is none.")
    return parts


def wire(parts: Parts) -> str:
    """The form that parse takes."""
    return quote_from_bytes(b"/".join(parts))


def shown(name: bytes) -> str:
    """A name for people: bytes that are no UTF-8, control characters and turns of direction are seen as such."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(f"\\u{ord(each):04x}" if _hidden(each) else each for each in text)


def shown_path(parts: Parts) -> str:
    """A path for people, from the volume's root."""
    return "/" + "/".join(shown(part) for part in parts)


def portable(parts: Parts) -> str:
    r"""A path for a ZIP archive, in which names are UTF-8, and ``\`` and ``:`` are more than characters on Windows.

    What is not safe there becomes %XX, by byte; so does the % of what looks like that, so two names never become one.
    """
    return "/".join(_portable(part) for part in parts)


def attachment(name: str) -> str:
    """The Content-Disposition of a file to be saved under that name (RFC 6266, RFC 8187)."""
    plain = "".join(each if each.isascii() and (each.isalnum() or each in " ._-()+=") else "_" for each in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote_from_bytes(name.encode())}"


def _hidden(each: str) -> bool:
    return each in _DIRECTIONS or unicodedata.category(each) in _UNSEEN


def _portable(name: bytes) -> str:
    text = "".join(
        _percent(each.encode("utf-8", "surrogateescape")) if _hidden(each) or each in '\\:*?"<>|' else each
        for each in _ESCAPE.sub(lambda found: f"%25{found[0][1:]}", name.decode("utf-8", "surrogateescape"))
    )
    # Windows drops dots and spaces at the end of a name.
    ending = len(text) - len(text.rstrip(". "))
    return text[: len(text) - ending] + "".join(f"%{ord(each):02X}" for each in text[len(text) - ending :])


def _percent(raw: bytes) -> str:
    return "".join(f"%{byte:02X}" for byte in raw)
