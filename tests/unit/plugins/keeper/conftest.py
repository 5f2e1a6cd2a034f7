# SPDX-License-Identifier: GPL-3.0-or-later
"""Pauses between tries that are as short as a test wants them."""

from __future__ import annotations

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import aws


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other after 2 ms, and what is new is known everywhere after 200 ms."""
    monkeypatch.setattr(aws, "backoff", lambda _attempt: 0.002)
    monkeypatch.setattr(aws, "YOUNG_SECONDS", 0.2)
