# SPDX-License-Identifier: GPL-3.0-or-later
"""The one shape of playbooks that need a worker, as rules over parsed YAML; each gives what is wrong.

Pure but for roles, which are read where a task imports them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
ROLES = ROOT / "roles"
NESTED = ("block", "rescue", "always")
IMPORT = "ansible.builtin.import_role"
# An action of these bypasses the host loop or skips `always`, so one host's mistake would end every host's cleanup.
FORBIDDEN_ACTIONS = {"pause", "add_host", "group_by"}
FORBIDDEN_METAS = {"end_play", "end_host", "end_batch", "end_role", "clear_host_errors"}
FORBIDDEN_KEYWORDS = {
    "action",
    "any_errors_fatal",  # ends every other host's way as well
    "connection",
    "delegate_to",
    "local_action",
    "run_once",
    "throttle",
}
LAUNCHING_MODULES = {
    "autoscaling_group",
    "ec2_asg",
    "ec2_fleet",
    "ec2_instance",
    "ec2_launch_template",
    "ec2_spot_instance",
    "cloudformation",
}
LAUNCHING_CALLS = re.compile(
    r"\b(run[-_]instances|run[-_]scheduled[-_]instances|request[-_]spot[-_](instances|fleet)|create[-_]fleet"
    r"|create[-_]auto[-_]scaling[-_]group|start[-_]instances)\b"
)
# What the role worker does beside a launch.
_NOT_LAUNCHING = ("place", "lost", "terminate")
Task = dict[str, Any]


def read(path: Path) -> Any:
    """The document of one YAML file."""
    return yaml.safe_load(path.read_text())


def playbooks(folder: Path) -> list[Path]:
    """Every file below ``folder`` that Ansible would play: a list of plays, whatever its name and wherever it lies."""
    return [path for path in _files(folder) if isinstance(read(path), list)]


def task_files(roles: Path) -> list[Path]:
    """Every file of tasks and handlers of all roles."""
    return [
        path for part in ("tasks", "handlers") for folder in sorted(roles.glob(f"*/{part}")) for path in _files(folder)
    ]


def misplaced(paths: Iterable[Path], folder: Path) -> list[Path]:
    """Playbooks that the runner and the reader look for in vain: not ``NAME.yml`` straight in ``folder``."""
    return [path for path in paths if path.parent != folder or path.suffix != ".yml"]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def short(name: str) -> str:
    """A module's name without its collection: who leaves that out means the same."""
    return name.rpartition(".")[2]


def words(task: Task) -> set[str]:
    """The short names of a task's keys."""
    return {short(key) for key in task}


def flatten(tasks: Iterable[Task]) -> Iterator[Task]:
    """All tasks of a list in order, those of blocks included, blocks themselves too."""
    for task in tasks:
        yield task
        for part in NESTED:
            yield from flatten(task.get(part) or ())


def expand(tasks: Iterable[Task], roles: Path = ROLES, folder: Path | None = None) -> Iterator[Task]:
    """As :func:`flatten`, with the tasks that are imported statically in their place."""
    for task in tasks:
        yield task
        for part in NESTED:
            yield from expand(task.get(part) or (), roles, folder)
        role = task.get(IMPORT)
        if role:
            inner = roles / short(role["name"]) / "tasks"
            yield from expand(read(inner / f"{role.get('tasks_from', 'main')}.yml"), roles, inner)
        file = task.get("ansible.builtin.import_tasks")
        if file and folder:
            yield from expand(read(folder / file), roles, folder)


def imports(task: Task, role: str, entry: str) -> bool:
    """Whether a task imports that entry point of that role of ours."""
    arguments: dict[str, Any] = task.get(IMPORT) or {}
    return (arguments.get("name"), arguments.get("tasks_from", "main")) == (f"mayfly.workers.{role}", entry)


def launches(task: Task) -> bool:
    """Whether a task launches a worker, in whatever way: our module, our role, others' modules, a command."""
    for key, value in task.items():
        name = short(key)
        arguments = value if isinstance(value, dict) else {}
        if name == "worker" and arguments.get("state", "present") not in ("absent", "lost"):
            return True
        role = short(str(arguments.get("name", ""))), arguments.get("tasks_from", "main")
        if name in ("import_role", "include_role") and role[0] == "worker" and role[1] not in _NOT_LAUNCHING:
            return True
        if name in ("import_tasks", "include_tasks") and "worker/tasks/launch" in str(value):
            return True
        if name in LAUNCHING_MODULES or (key not in NESTED and LAUNCHING_CALLS.search(str(value))):
            return True
    return False


def forbidden(task: Task) -> list[str]:
    """What must not stand between a launch and its end, in one task."""
    found = [f"uses {name}" for name in sorted(words(task) & (FORBIDDEN_ACTIONS | FORBIDDEN_KEYWORDS))]
    found += [f"includes dynamically: {name}" for name in sorted(words(task)) if name.startswith("include_")]
    meta = next((value for key, value in task.items() if short(key) == "meta"), None)
    return [*found, *([f"ends hosts: {meta}"] if meta in FORBIDDEN_METAS else [])]


def _flushes(block: Iterable[Task], roles: Path) -> bool:
    """Whether handlers have run whenever a transfer begins."""
    flushed = False
    for task in expand(block, roles):
        if "notify" in task:
            flushed = False
        if any(short(key) == "meta" and value == "flush_handlers" for key, value in task.items()):
            flushed = True
        if "mayfly.workers.transfer" in task and not flushed:
            return False
    return True


def _cleanup(always: list[Task]) -> list[str]:
    if not always or not imports(always[0], "worker", "terminate"):
        return ["does not terminate first"]
    found = []
    if set(always[0]) - {"tags"} != {"name", IMPORT}:
        found.append("terminates with conditions")
    if any(task.get("tags") != ["always"] for task in always):
        found.append("can skip its cleanup by tags")
    return found


def _second_attempt(block: list[Task], rescue: list[Task]) -> list[str]:
    """What is wrong with the tasks that follow a failure: there are none, or those of a second attempt, and no others.

    The second one is the first one again, from its launch on. What comes before it lets every failure through but the
    loss of a worker.
    """
    if any(imports(task, "worker", "lost") for task in flatten(block)):
        return ["asks for a loss where nothing has failed"]
    if not rescue:
        return []
    if not imports(rescue[0], "worker", "lost"):
        return ["does not let other failures through"]
    found = []
    if set(rescue[0]) != {"name", IMPORT}:
        found.append("lets other failures through with conditions")
    first = next((number for number, task in enumerate(block) if launches(task)), len(block))
    if rescue[1:] != block[first:]:
        found.append("makes a second attempt that is not the first one again")
    return found


def defects(play: dict[str, Any], roles: Path = ROLES) -> list[str]:
    """What keeps a play from the one shape of plays that need a worker; of one that needs none, only what is alike."""
    found = [f"has {part}" for part in ("pre_tasks", "post_tasks", "roles", "handlers") if play.get(part)]
    if "hosts" not in play:
        return [*found, "is not a play"]
    tasks = play.get("tasks") or []
    every = list(expand(tasks, roles))
    if not any(launches(task) for task in every):
        return found
    found += [fault for task in every for fault in forbidden(task)]
    if len(tasks) != 1 or "block" not in tasks[0]:
        return [*found, "is not one block"]
    block = tasks[0]
    if sum(imports(task, "worker", "launch") for task in block["block"]) != 1:
        found.append("does not launch exactly once, straight in its block")
    if any(launches(task) and not imports(task, "worker", "launch") for task in flatten([block])):
        found.append("launches by other means than the role")
    rescue = block.get("rescue") or []
    if any(launches(task) for task in flatten(block.get("always") or ())) or any(
        launches(task) for task in flatten(each for each in rescue if each not in block["block"])
    ):
        found.append("launches outside its block")
    found += _second_attempt(block["block"], rescue)
    if "when" in block or "tags" in block:
        found.append("can skip its block")
    if not _flushes(block["block"], roles):
        found.append("transfers before its handlers have run")
    return found + _cleanup(block.get("always") or [])
