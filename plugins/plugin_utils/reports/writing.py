# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms of a run's report beside ``report.json``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .junit import as_junit
from .page import as_page
from .rows import as_csv

FORMS: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "html": ("report.html", as_page),
    "csv": ("report.csv", as_csv),
    "junit": ("report.xml", as_junit),
}


def write(folder: Path, report: Mapping[str, Any]) -> None:
    """Write every form into the run's folder, for this user alone. Raises OSError."""
    for name, form in FORMS.values():
        path, text = folder / name, form(report)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
