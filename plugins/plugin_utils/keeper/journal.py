# SPDX-License-Identifier: GPL-3.0-or-later
"""What another keeper needs to end a run after its own has died: the accounts, where something was made, what of it is
the user's now, and which volumes of the user's own were being exchanged.

A file in the keeper's own folder, in memory and 0600: the accounts' settings hold an external id.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..settings.schema import Account
from .ssh import write_secret

# (account, Region), and what swaps.Exchange.from_dict takes.
Exchanged = tuple[tuple[str, str], dict[str, Any]]


class Journal:
    """Written before anything is made in a new place, and before anything is handed over.

    What was handed over is known to another keeper from the start: AWS may still show the tags it had before.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "journal.json"
        self._handed_over = set(_read(self._path).get("handed_over") or ())
        self._accounts: dict[str, dict[str, Any]] = {}
        self._places: set[tuple[str, str]] = set()
        self._exchanges: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def note_accounts(self, accounts: Iterable[Account]) -> None:
        """Keep the accounts of a call's settings beside those of others: hosts may have accounts of their own."""
        value = {account.id: account.as_dict() for account in accounts}
        with self._lock:
            if not value.items() <= self._accounts.items():
                self._accounts |= value
                self._write()

    def note_place(self, place: tuple[str, str]) -> None:
        """Keep an (account, Region)."""
        with self._lock:
            self._places.add(place)
            self._write()

    def handed_over(self) -> set[str]:
        """Ids of what is the user's now."""
        with self._lock:
            return set(self._handed_over)

    def note_handed_over(self, ids: Iterable[str]) -> None:
        """Keep ids of what is about to be the user's."""
        with self._lock:
            self._handed_over.update(ids)
            self._write()

    def forget_handed_over(self, ids: Iterable[str]) -> None:
        """These stay the run's: they could not be handed over."""
        with self._lock:
            self._handed_over.difference_update(ids)
            self._write()

    def note_exchange(self, place: tuple[str, str], value: Mapping[str, Any]) -> None:
        """Keep an exchange of volumes in an (account, Region), before its first step."""
        with self._lock:
            self._exchanges.append({"place": list(place), "exchange": dict(value)})
            self._write()

    def forget_exchange(self, place: tuple[str, str], value: Mapping[str, Any]) -> None:
        """It has come to its end, or was undone."""
        with self._lock:
            self._exchanges.remove({"place": list(place), "exchange": dict(value)})
            self._write()

    def _write(self) -> None:
        places = [list(place) for place in sorted(self._places)]
        value = {
            "accounts": self._accounts,
            "places": places,
            "handed_over": sorted(self._handed_over),
            "exchanges": self._exchanges,
        }
        write_secret(self._path, json.dumps(value))


def read_journal(folder: Path) -> tuple[list[Account], list[tuple[str, str]]]:
    """(accounts, places) that were noted; both empty when nothing was."""
    value = _read(folder / "journal.json")
    accounts = [Account.named(**each) for each in value.get("accounts", {}).values()]
    return accounts, [(str(account), str(region)) for account, region in value.get("places", ())]


def read_exchanges(folder: Path) -> list[Exchanged]:
    """The exchanges of volumes that were under way."""
    listed = _read(folder / "journal.json").get("exchanges", ())
    return [((str(each["place"][0]), str(each["place"][1])), dict(each["exchange"])) for each in listed]


def _read(path: Path) -> dict[str, Any]:
    """The file's content, empty when there is none yet."""
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return value
