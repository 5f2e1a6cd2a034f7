# SPDX-License-Identifier: GPL-3.0-or-later
"""Every operation has one shape, so that a worker that was launched is always terminated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
TASK_FILES = sorted((ROOT / "roles").glob("*/tasks/*.yml")) + sorted((ROOT / "roles").glob("*/handlers/*.yml"))
LAUNCH = ROOT / "roles/worker/tasks/launch.yml"
CONNECTION = "vars/worker_connection.yml"
CONTEXT = {
    "ansible_connection": "mayfly.workers.worker",
    "ansible_user": "{{ mayfly_worker_user | default('') }}",
    "ansible_shell_type": "sh",
    "ansible_shell_executable": "/bin/sh",
    "ansible_python_interpreter": "/usr/bin/python3",
    "ansible_become": True,
    "ansible_become_method": "sudo",
    "ansible_become_user": "root",
    "ansible_become_exe": "sudo",
    "ansible_become_flags": "-H -S -n",
    "ansible_become_password": "",
}
NESTED = ("block", "rescue", "always")
# An action of these bypasses the host loop or skips `always`, so one host's mistake would end every host's cleanup.
FORBIDDEN = {"ansible.builtin.pause", "ansible.builtin.add_host", "ansible.builtin.group_by"}
ENDINGS = {"end_play", "end_host", "end_batch", "end_role", "clear_host_errors"}


def read(path: Path) -> Any:
    """The document of one YAML file."""
    return yaml.safe_load(path.read_text())


def flatten(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All tasks of a list, those of blocks included, blocks themselves too."""
    found = []
    for task in tasks:
        found.append(task)
        for part in NESTED:
            found += flatten(task.get(part, []))
    return found


def imports(task: dict[str, Any], role: str, entry: str) -> bool:
    """Whether a task imports that entry point of that role of ours."""
    arguments: dict[str, Any] = task.get("ansible.builtin.import_role", {})
    imported = (arguments.get("name"), arguments.get("tasks_from", "main"))
    return imported == (f"mayfly.workers.{role}", entry)


def plays(path: Path) -> list[dict[str, Any]]:
    """The plays of a playbook."""
    return [play for play in read(path) if "hosts" in play]


def launches(tasks: list[dict[str, Any]]) -> bool:
    """Whether any of the tasks imports the launch of a worker."""
    return any(imports(task, "worker", "launch") for task in flatten(tasks))


def defects(play: dict[str, Any]) -> list[str]:
    """What keeps a play from the one shape of plays that need a worker."""
    found = []
    for section in ("pre_tasks", "post_tasks", "roles", "handlers"):
        if play.get(section):
            found.append(f"has {section}")
    tasks = play.get("tasks", [])
    if not launches(tasks):
        return found
    if len(tasks) != 1 or "block" not in tasks[0]:
        return [*found, "is not one block"]
    block = tasks[0]
    if launches(block.get("rescue", [])) or launches(block.get("always", [])):
        found.append("launches outside its block")
    if sum(imports(task, "worker", "launch") for task in block["block"]) != 1:
        found.append("does not launch exactly once, straight in its block")
    if "when" in block or "tags" in block:
        found.append("can skip its block")
    always = block.get("always", [])
    if not always or not imports(always[0], "worker", "terminate"):
        return [*found, "does not terminate first"]
    if set(always[0]) != {"name", "ansible.builtin.import_role"}:
        found.append("terminates with conditions")
    return found


def operation_play(**changes: Any) -> dict[str, Any]:
    """A play of the right shape, with changes to its block."""

    def role(entry: str) -> dict[str, Any]:
        return {"name": "x", "ansible.builtin.import_role": {"name": "mayfly.workers.worker", "tasks_from": entry}}

    return {"tasks": [{"block": [role("launch")], "always": [role("terminate")], **changes}]}


@pytest.mark.parametrize(
    ("changes", "defect"),
    [
        ({}, None),
        ({"always": []}, "does not terminate first"),
        ({"always": [{"name": "first", "ansible.builtin.debug": {}}]}, "does not terminate first"),
        ({"when": "false"}, "can skip its block"),
        ({"block": operation_play()["tasks"][0]["block"] * 2}, "does not launch exactly once"),
        ({"rescue": operation_play()["tasks"][0]["block"]}, "launches outside its block"),
        ({"always": [{**operation_play()["tasks"][0]["always"][0], "when": "x"}]}, "terminates with conditions"),
    ],
)
def test_the_shape_check_sees_defects(changes: dict[str, Any], defect: str | None) -> None:
    found = defects(operation_play(**changes))
    assert (not found) if defect is None else any(defect in text for text in found)


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.name)
class TestPlaybook:
    def test_has_the_one_shape(self, path: Path) -> None:
        assert [defects(play) for play in plays(path)] == [[] for _ in plays(path)]

    def test_fits_one_screen(self, path: Path) -> None:
        assert len(path.read_text().splitlines()) <= 72

    def test_sets_the_whole_connection_context(self, path: Path) -> None:
        for play in plays(path):
            assert play["vars_files"] == [CONNECTION]
            assert play["vars"] == {"mayfly_operation": path.stem}
            assert "connection" not in play
            assert "become" not in play

    def test_runs_each_host_by_itself(self, path: Path) -> None:
        for play in plays(path):
            assert play["strategy"] == "ansible.builtin.host_pinned"
            assert play["gather_facts"] is False

    def test_is_made_of_our_roles_alone(self, path: Path) -> None:
        for play in plays(path):
            for task in flatten(play["tasks"]):
                assert set(task) & {"ansible.builtin.import_role", "block"}, task
                if "block" not in task:
                    assert task["ansible.builtin.import_role"]["name"].startswith("mayfly.workers.")
                    assert set(task) <= {"name", "ansible.builtin.import_role", "vars"}


def test_the_connection_context_is_the_workers() -> None:
    assert read(ROOT / "playbooks" / CONNECTION) == CONTEXT


def test_hooks_take_the_whole_context_back() -> None:
    (hook,) = read(ROOT / "roles/snapshot_set/tasks/hook.yml")
    # raw, so no interpreter is needed
    assert set(hook["vars"]) == set(CONTEXT) - {"ansible_python_interpreter"}


@pytest.mark.parametrize("path", TASK_FILES, ids=lambda path: str(path.relative_to(ROOT / "roles")))
class TestTaskFile:
    def test_is_imported_statically_and_ends_no_host(self, path: Path) -> None:
        for task in flatten(read(path)):
            assert not [key for key in task if "include_" in key], task
            assert not FORBIDDEN & set(task), task
            assert task.get("ansible.builtin.meta") not in ENDINGS, task
            assert not {"delegate_to", "run_once", "throttle", "tags", "connection"} & set(task), task

    def test_launches_no_worker(self, path: Path) -> None:
        modules = [task["mayfly.workers.worker"] for task in flatten(read(path)) if "mayfly.workers.worker" in task]
        present = [module for module in modules if module.get("state", "present") != "absent"]
        assert bool(present) == (path == LAUNCH)
        assert not launches(read(path))
