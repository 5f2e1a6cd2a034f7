# SPDX-License-Identifier: GPL-3.0-or-later
"""A new recovery key is shown on the screen, and is in nothing that is kept."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.utils.display import Display
from ansible_collections.mayfly.workers.plugins.action.repository import ActionModule

from tests.unit.plugins.action.test_base import REPOSITORY, make

KEY = "AAAQ-EAYE-AUDA-OCAJ-BIFQ-YDIO-B4IB-CEQT-CQKR-MFYY-DENB-WHA5-DYPQ"


def ran(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[str]]:
    """The result of a task that makes a repository with a recovery key, and what the keeper was asked."""
    asked: list[str] = []

    def ask(operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        asked.append(operation)
        return {"changed": True, "repository": {"id": "0" * 32}, "recovery_key": KEY}

    action = make(ActionModule, {"repository": REPOSITORY, "new_recovery_key": True})
    monkeypatch.setattr(action, "ask", ask)
    return action.run(None, {"inventory_hostname": "backups"}), asked


def test_it_is_displayed_on_the_screen_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWX_ISOLATED_DATA_DIR", raising=False)
    shown: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(Display, "display", lambda _self, text, **how: shown.append((text, how)))
    result, asked = ran(monkeypatch)
    assert asked == ["repository.create"]
    assert result["changed"]
    assert KEY not in str(result)
    ((text, how),) = shown
    assert KEY in text
    assert how["screen_only"] is True


def test_none_is_made_where_what_is_shown_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWX_ISOLATED_DATA_DIR", "/runner/artifacts/1")
    result, asked = ran(monkeypatch)
    assert (result["failed"], result["error_code"]) == (True, "OutputKept")
    assert asked == []
