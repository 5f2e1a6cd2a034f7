# SPDX-License-Identifier: GPL-3.0-or-later
"""What another keeper needs to end a run after its own has died: the accounts, and where something was made.

A file in the keeper's own folder, in memory and 0600: the accounts' settings hold an external id.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .settings import Account
from .ssh import write_secret


class Journal:
    """Written before anything is made in a new place."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "journal.json"
        self._accounts: dict[str, dict[str, Any]] = {}
        self._places: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def note_accounts(self, accounts: Mapping[str, Account]) -> None:
        """Keep the accounts of a call's settings."""
        value = {name: asdict(account) for name, account in accounts.items()}
        with self._lock:
            if value and value != self._accounts:
                self._accounts = value
                self._write()

    def note_place(self, place: tuple[str, str]) -> None:
        """Keep an (account, Region)."""
        with self._lock:
            self._places.add(place)
            self._write()

    def _write(self) -> None:
        places = [list(place) for place in sorted(self._places)]
        write_secret(self._path, json.dumps({"accounts": self._accounts, "places": places}))


def read_journal(folder: Path) -> tuple[dict[str, Account], list[tuple[str, str]]]:
    """(accounts, places) that were noted; both empty when nothing was."""
    try:
        value = json.loads((folder / "journal.json").read_text())
    except FileNotFoundError:
        return {}, []
    accounts = {name: Account(**each) for name, each in value["accounts"].items()}
    return accounts, [(str(account), str(region)) for account, region in value["places"]]
