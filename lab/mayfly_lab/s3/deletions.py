# SPDX-License-Identifier: GPL-3.0-or-later
"""DeleteObjects where not everything may be deleted: the rest is deleted, and each denial is told by itself. Pure.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree
from xml.sax.saxutils import escape

Named = tuple[str, str | None]  # key, version
_SPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def named(body: bytes) -> list[Named]:
    """The objects that a request names; none where it is no XML, which moto refuses."""
    try:
        root = ElementTree.fromstring(body)  # noqa: S314  (the lab's own users)
    except ElementTree.ParseError:
        return []
    found = [each for each in root if _name(each) == "Object"]
    return [(_text(each, "Key") or "", _text(each, "VersionId")) for each in found]


def request(objects: Sequence[Named], body: bytes) -> bytes:
    """A request for some of the objects of another one, ``body``."""
    quiet = _text(ElementTree.fromstring(body), "Quiet") or "false"  # noqa: S314
    inner = "".join(f"<Object>{_elements(key, version)}</Object>" for key, version in objects)
    return f'<Delete xmlns="{_SPACE}">{inner}<Quiet>{quiet}</Quiet></Delete>'.encode()


def errors(objects: Sequence[Named], reasons: Sequence[str | None]) -> str:
    """An Error element for each object with a reason."""
    found = ""
    for (key, version), reason in zip(objects, reasons, strict=True):
        if reason is not None:
            told = f"<Code>AccessDenied</Code><Message>{escape(reason)}</Message>"
            found += f"<Error>{_elements(key, version)}{told}</Error>"
    return found


def answer(document: str | None, more: str) -> str:
    """An answer of moto's (None where nothing was left to delete) with Error elements."""
    empty = f'<?xml version="1.0" encoding="UTF-8"?>\n<DeleteResult xmlns="{_SPACE}"></DeleteResult>'
    head, end, tail = (document or empty).rpartition("</DeleteResult>")
    return head + more + end + tail


def _elements(key: str, version: str | None) -> str:
    return f"<Key>{escape(key)}</Key>" + (f"<VersionId>{escape(version)}</VersionId>" if version else "")


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(element: ElementTree.Element, name: str) -> str | None:
    return next((each.text for each in element if _name(each) == name), None)
