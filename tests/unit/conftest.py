# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests need neither root nor a network, and no AWS account can be reached from them by mistake."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# The machines that run this are slow and shared: a deadline for one example measures them, not us.
settings.register_profile("mayfly", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mayfly")


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "MAYFLY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA111122223333TEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
