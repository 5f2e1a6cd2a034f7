# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's limits are raised, never lowered."""

from __future__ import annotations

from pathlib import Path

import pytest
from mayfly_lab.limits import allow_many_hosts


@pytest.mark.parametrize(("before", "after"), [(128, 8192), (8192, 8192), (20000, 20000)])
def test_a_limit_is_raised_and_never_lowered(tmp_path: Path, before: int, after: int) -> None:
    limit = tmp_path / "max_user_instances"
    limit.write_text(f"{before}\n")
    allow_many_hosts(limit)
    assert int(limit.read_text()) == after


def test_a_limit_that_cannot_be_raised_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    allow_many_hosts(Path("/proc/sys/kernel/cap_last_cap"))  # some 40, and no user can write it
    assert "cannot be raised to 8192" in capsys.readouterr().err
