# SPDX-License-Identifier: GPL-3.0-or-later
"""What `--check` shows of a placement."""

from __future__ import annotations

from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.table import table

CANDIDATE = {
    "account": "111122223333",
    "instance_type": "c6a.large",
    "market": "spot",
    "availability_zone": "us-east-1a",
    "subnet_id": "subnet-1",
    "image_id": "ami-1",
    "price": "0.0306",
}
REASON = {"decision": "chosen", "subject": "subnet-1", "reason": "most free addresses"}


def test_candidates_are_numbered_and_reasons_follow() -> None:
    head, names, first, second, blank, reason = table(
        "web-1", {"candidates": [CANDIDATE, {**CANDIDATE, "price": None}], "reasons": [REASON]}
    ).splitlines()
    assert head == "Where the worker of web-1 would go:"
    assert names.split() == ["candidate", "account", "type", "market", "zone", "subnet", "image", "USD/h"]
    assert first.split() == ["1", *CANDIDATE.values()]
    assert second.split() == ["2", *list(CANDIDATE.values())[:-1]]
    assert blank == ""
    assert reason == "chosen     subnet-1: most free addresses"


def test_without_a_candidate_the_reasons_are_shown() -> None:
    assert table("web-1", {"candidates": [], "reasons": [REASON]}).endswith("most free addresses")


def test_what_was_found_of_a_network_follows() -> None:
    row = {"service": "large", "check": "types", "ok": False, "reason": "x.large: no", "remedy": "Name others."}
    shown = table("web-1", {"candidates": [], "reasons": [REASON], "checks": [row]}).splitlines()
    assert shown[-3] == ""
    assert [line.split() for line in shown[-2:]] == [
        ["service", "check", "result", "what", "was", "seen"],
        ["large", "types", "FAILED", "x.large:", "no", "Name", "others."],
    ]
