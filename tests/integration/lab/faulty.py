# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures for tests of faults."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from mayfly_lab import cli

from tests.integration.lab.calls import Calls
from tests.integration.lab.things import Command
from tests.labs import Lab


@pytest.fixture(scope="module")
def calls(lab: Lab) -> Iterator[Calls]:
    with Calls(lab) as made:
        yield made


@pytest.fixture
def command(lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """What `lab WORDS` prints, from this process: a new one would take half a second."""
    monkeypatch.setenv("MAYFLY_LAB_STATE", str(lab.state))

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["lab", *words])
        code = cli.main()
        said = capsys.readouterr()
        assert code == 0, said
        return said.out.strip()

    return run


@pytest.fixture
def fault(command: Command) -> Iterator[Command]:
    """`lab fault add WORDS`; the id. All faults end with the test."""
    yield lambda *words: command("fault", "add", *words)
    command("fault", "clear")
