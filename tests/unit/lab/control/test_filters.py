# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from mayfly_lab.control.filters import matches

VALUES = {"status": "completed", "volume-id": "vol-1", "description": "a (b) c"}
TAGS = {"Name": "web-1", "mayfly:temporary": "true"}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, True),
        ({"status": ["completed"]}, True),
        ({"status": ["pending", "completed"]}, True),
        ({"status": ["pending"]}, False),
        ({"status": ["completed"], "volume-id": ["vol-2"]}, False),
        ({"volume-id": ["vol-*"]}, True),
        ({"volume-id": ["vol-?"]}, True),
        ({"volume-id": ["vol"]}, False),
        ({"description": ["a (b)*"]}, True),
        ({"tag:Name": ["web-1"]}, True),
        ({"tag:Name": ["web-2"]}, False),
        ({"tag:Missing": ["*"]}, False),
        ({"tag-key": ["mayfly:*"]}, True),
        ({"tag-key": ["other"]}, False),
    ],
)
def test_matches(filters: dict[str, list[str]], expected: bool) -> None:
    assert matches(VALUES, TAGS, filters) is expected


def test_an_unknown_filter_is_an_error() -> None:
    with pytest.raises(KeyError):
        matches(VALUES, TAGS, {"nonsense": ["x"]})
