# SPDX-License-Identifier: GPL-3.0-or-later
"""The system's own tools: every way in which one fails is the same error."""

from __future__ import annotations

import time

import pytest
from mayfly_lab.commands import CommandFailed, run


def test_the_output_of_a_command() -> None:
    assert run("cat", text="said") == "said"


def test_a_command_that_fails_tells_what_it_printed() -> None:
    with pytest.raises(CommandFailed, match="exit code 3: no luck"):
        run("sh", "-c", "echo no luck >&2; exit 3")


def test_a_command_that_is_too_slow_is_killed() -> None:
    began = time.monotonic()
    with pytest.raises(CommandFailed, match=r"sleep 30: not done after 0\.1 s"):
        run("sleep", "30", wait=0.1)
    assert time.monotonic() - began < 10
