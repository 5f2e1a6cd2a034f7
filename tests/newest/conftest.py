# SPDX-License-Identifier: GPL-3.0-or-later
"""A control node of the next Debian in the network of a seeded lab, which itself runs on this machine's own Python."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.labs import Done, Lab

from . import root_file_system


@dataclass(frozen=True)
class Controller:
    """What runs there has the lab's network, names and trust, and ends with the lab."""

    lab: Lab
    node: root_file_system.ControlNode

    def run(self, *words: str, wait: float) -> Done:
        """Run a command; fails the test when its exit code is not 0."""
        done = self.lab.run("exec", "--", *self.node.words(*words, shared=(self.lab.state,)), wait=wait)
        assert done.returncode == 0, f"{words}: {done.returncode}: {done.stdout[-6000:]} {done.stderr[-4000:]}"
        return done

    def playbook(self, name: str, inventory: str, *words: str) -> Done:
        """Run a playbook of the project."""
        command = ["ansible-playbook", "-i", f"inventories/lab/{inventory}", f"playbooks/{name}.yml", *words]
        return self.run(*command, wait=300)


@pytest.fixture(scope="session")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """The control node, and its lab."""
    if os.geteuid() != 0:
        pytest.skip("the lab and the root file system need root")
    node = root_file_system.ensure()
    lab = Lab(tmp_path_factory.mktemp("newest") / "state")
    try:
        for step in ("up", "seed"):
            done = lab.run(step, wait=600)
            assert done.returncode == 0, done.stderr
        yield Controller(lab, node)
    finally:
        lab.run("down")


@pytest.fixture(scope="session")
def web(controller: Controller) -> str:
    """The host name of one of the lab's two instances."""
    seed = json.loads((controller.lab.state / "run/seed.json").read_text())
    return f"web-1_{seed['sources']['web-1']['id']}"
