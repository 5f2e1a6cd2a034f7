# SPDX-License-Identifier: GPL-3.0-or-later
"""One ansible-playbook below ansible-runner, with nothing of it left on a disk."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_runner import interface

from mayfly import project, stopping
from mayfly.memory import private_folder
from mayfly.progress import Watch
from mayfly.stopping import Stop

POLL_SECONDS = 0.3
# The keeper removes the folder that this names when the runner was killed before it could.
_FOLDER_VARIABLE = "MAYFLY_RUNNER_FOLDER"


@dataclass(frozen=True)
class Order:
    """What is to be played: ``run`` is the id, ``variables`` are settings of this run alone."""

    operation: str
    run: str
    sources: tuple[str, ...]
    limit: str | None = None
    check: bool = False
    variables: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Output:
    """How ansible-playbook ended, and what it printed."""

    code: int
    text: str

    def errors(self) -> str:
        """The lines that say what is wrong, or the last ones."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        starts = [index for index, line in enumerate(lines) if line.startswith(("ERROR!", "[ERROR]"))]
        return "\n".join(lines[starts[0] :][:12] if starts else lines[-6:])


def play(order: Order, watch: Watch, stop: Stop) -> Output:
    """Play it to its end, or until ``stop`` wishes it.

    What goes wrong here ends the playbook first, gently, and is raised when its processes are gone.
    """
    wrong: list[BaseException] = []

    def kept(function: Callable[[], None]) -> None:
        # What leaves a callback of ansible-runner leaves the playbook running.
        try:
            function()
        except BaseException as error:
            wrong.append(error)
            stop.wish(f"it cannot be watched: {error!r}")

    def canceled() -> bool:
        if not wrong:
            kept(watch.report)
        return stop.kill_now(watch.process)

    def handle(event: dict[str, Any]) -> bool:
        kept(lambda: watch.ansible(event))
        return False  # nothing of it is kept

    with private_folder() as private:
        # A file, not an argument: arguments can be read by every user of the machine.
        variables = private / "extra-vars.json"
        variables.write_text(json.dumps(dict(order.variables or {})))
        words = ["-e", f"@{variables}", *(["--check"] if order.check else [])]
        words += ["--limit", order.limit] if order.limit else []
        # As a file: ansible-runner forgets settings that are given to it when there is none.
        (private / "env").mkdir()
        (private / "env/settings").write_text(json.dumps({"pexpect_timeout": POLL_SECONDS}))
        try:
            runner = interface.run(
                private_data_dir=str(private),
                project_dir=str(Path.cwd()),
                playbook=project.playbook(order.operation),
                inventory=list(order.sources),
                cmdline=shlex.join(words),
                envvars=_environment(order.run, private),
                suppress_env_files=True,
                event_handler=handle,
                cancel_callback=canceled,
                quiet=True,
            )
        except BaseException:
            stopping.end(watch.process or _playbook(private))
            raise
        if wrong:
            raise wrong[0]
        text = runner.stdout.read() if runner.stdout else ""
        return Output(runner.rc if runner.rc is not None else -1, text)


def _environment(run: str, folder: Path) -> dict[str, str]:
    return {
        "ANSIBLE_CONFIG": str(project.root() / "ansible.cfg"),
        # ansible-runner turns it off unless told
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_FORCE_COLOR": "False",
        "ANSIBLE_NOCOLOR": "True",
        "MAYFLY_RUN_ID": run,
        _FOLDER_VARIABLE: str(folder),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }


def _playbook(private: Path) -> int | None:
    """The id of our ansible-playbook that was given the settings in ``private``, before it has said anything."""
    settings = str(private / "extra-vars.json").encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])  # proc(5)
            if parent == os.getpid() and settings in (process / "cmdline").read_bytes():
                return int(process.name)
    return None
