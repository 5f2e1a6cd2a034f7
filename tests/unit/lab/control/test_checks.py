# SPDX-License-Identifier: GPL-3.0-or-later
"""What a status check of an instance says."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from mayfly_lab.control import checks, lifecycle


@pytest.mark.parametrize(
    ("instance", "status"),
    [
        ({"state_code": lifecycle.PENDING}, "not-applicable"),
        ({"state_code": lifecycle.STOPPED, "lab_died": True}, "not-applicable"),
        ({"lab_since": time.monotonic() + 60}, "initializing"),
        ({}, "initializing"),
        ({"private_ip": "10.0.0.4"}, "ok"),
        ({"lab_answered": True}, "ok"),
        ({"lab_answered": True, "lab_died": True}, "impaired"),
    ],
    ids=["pending", "stopped", "young", "silent", "answers", "has-answered", "dead"],
)
def test_a_status_check(monkeypatch, instance, status):
    monkeypatch.setattr(checks, "_answers", lambda link, address: address == "10.0.0.4")
    default = {"id": "i-1", "state_code": lifecycle.RUNNING, "lab_since": 0.0, "private_ip": "10.0.0.5"}
    assert checks.instance_status(SimpleNamespace(**{**default, **instance}))["Status"] == status


def test_a_link_that_is_not_there_does_not_answer():
    assert not checks._answers("no-such-link", "10.0.0.4")
