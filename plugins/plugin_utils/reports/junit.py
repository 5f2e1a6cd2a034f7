# SPDX-License-Identifier: GPL-3.0-or-later
"""A run as a JUnit test suite, one test case a resource: for CI systems that show such. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from .rows import rows

_BROKEN = ("Failed", "Canceled")
# XML 1.0 has no way to say these.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(report: Mapping[str, Any]) -> str:
    """XML; a resource that failed or was canceled is a failure, one that was skipped is skipped."""
    resources, lines = report.get("resources") or {}, rows(report)
    name = f"mayfly.{report.get('operation')}"
    suite = Element(
        "testsuite",
        name=name,
        timestamp=str(report.get("started")),
        tests=str(len(lines)),
        failures=str(sum(row["status"] in _BROKEN for row in lines)),
        skipped=str(sum(row["status"] == "Skipped" for row in lines)),
        errors=str(len(report.get("errors") or ())),
        time=str(round(sum(row["seconds"] or 0 for row in lines), 3)),
    )
    for row in lines:
        case = SubElement(suite, "testcase", name=_said(row["host"]), classname=name, time=str(row["seconds"] or 0))
        texts = [_text(error) for error in resources[row["host"]].get("errors") or ()]
        if row["status"] in _BROKEN:
            failure = SubElement(
                case, "failure", type=str(row["status"]), message=_said(texts[0] if texts else "Canceled")
            )
            failure.text = _said("\n".join(texts))
        elif row["status"] == "Skipped":
            SubElement(case, "skipped")
        elif texts:
            SubElement(case, "system-out").text = _said("\n".join(texts))
    if errors := report.get("errors"):
        SubElement(suite, "system-err").text = _said("\n".join(map(_text, errors)))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(suite, encoding="unicode")}\n'


def _text(error: Mapping[str, Any]) -> str:
    return f"{error['code']}: {error['message']} {error.get('remedy') or ''}".rstrip()


def _said(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
