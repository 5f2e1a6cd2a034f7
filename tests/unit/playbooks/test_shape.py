# SPDX-License-Identifier: GPL-3.0-or-later
"""Every operation has one shape, so that a worker that was launched is always terminated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mayfly import project
from tests.unit.playbooks.shape import (
    FORBIDDEN_ACTIONS,
    FORBIDDEN_KEYWORDS,
    FORBIDDEN_METAS,
    IMPORT,
    LAUNCHING_CALLS,
    ROLES,
    ROOT,
    defects,
    flatten,
    forbidden,
    imports,
    launches,
    misplaced,
    playbooks,
    read,
    task_files,
)

PLAYBOOKS = playbooks(ROOT / "playbooks")
TASK_FILES = task_files(ROLES)
LAUNCH = ROLES / "worker/tasks/launch.yml"
NEED_A_WORKER = {
    "archive",
    "ec2_backup",
    "ec2_restore",
    "health_check",
    "repository_copy",
    "retention",
    "volume_restore",
    "worker_check",
    "worker_image",
}
MOVE_DATA = {"ec2_backup", "ec2_restore", "volume_restore"}
CONNECTION = "vars/worker_connection.yml"
REACH = {
    "instance_id": "", "address": "", "port": 22, "user": "", "control_path": "", "known_hosts": "", "key_file": "",
    "way": "direct",
}  # fmt: skip
CONTEXT = {
    "ansible_connection": "mayfly.workers.worker",
    "ansible_user": "{{ mayfly_worker_user }}",
    "ansible_shell_type": "sh",
    "ansible_shell_executable": "/bin/sh",
    "ansible_python_interpreter": "/usr/bin/python3",
    "ansible_become": True,
    "ansible_become_method": "sudo",
    "ansible_become_user": "root",
    "ansible_become_exe": "sudo",
    "ansible_become_flags": "-H -S -n",
    "ansible_become_password": "",
    # of sudo's plugin, which come last there and win
    "ansible_become_pass": "",
    "ansible_sudo_user": "root",
    "ansible_sudo_exe": "sudo",
    "ansible_sudo_flags": "-H -S -n",
    "ansible_sudo_pass": "",
    "ansible_sudo_chdir": "",
}


def role(name: str, entry: str = "main", **more: Any) -> dict[str, Any]:
    """A task that imports a role of ours."""
    return {"name": "x", IMPORT: {"name": f"mayfly.workers.{name}", "tasks_from": entry}, **more}


LAUNCHING = role("worker", "launch")
LOST = role("worker", "lost")
TERMINATING = role("worker", "terminate", tags=["always"])
INSTALLING, TRANSFERRING = role("transfer_agent"), role("transfer_agent", "transfer")
STEPS = [LAUNCHING, INSTALLING, TRANSFERRING]


def operation_play(**changes: Any) -> dict[str, Any]:
    """A play of the right shape, with changes to its block."""
    block = {"block": STEPS, "always": [TERMINATING], **changes}
    return {"hosts": "ec2", "tasks": [block]}


DEFECTS: list[tuple[str, dict[str, Any], str]] = [
    ("no cleanup", {"always": []}, "does not terminate first"),
    ("another cleanup first", {"always": [role("snapshot_set", "release"), TERMINATING]}, "does not terminate first"),
    ("no block around", {"block": [], "rescue": [LAUNCHING]}, "launches outside its block"),
    ("a launch in always", {"always": [TERMINATING, LAUNCHING]}, "launches outside its block"),
    ("a launch after any failure", {"rescue": STEPS}, "does not let other failures through"),
    ("a launch before the loss is asked for", {"rescue": [LAUNCHING, LOST]}, "does not let other failures through"),
    ("a rescue of something else", {"rescue": [role("snapshot_set", "release")]}, "does not let other failures"),
    ("a condition of the loss", {"rescue": [{**LOST, "when": "x"}, *STEPS]}, "through with conditions"),
    ("a loss that is ignored", {"rescue": [{**LOST, "ignore_errors": True}, *STEPS]}, "through with conditions"),
    ("a second attempt with a task less", {"rescue": [LOST, LAUNCHING, TRANSFERRING]}, "not the first one again"),
    ("a second attempt with a task more", {"rescue": [LOST, INSTALLING, *STEPS]}, "not the first one again"),
    ("a third attempt", {"rescue": [LOST, *STEPS, LOST, *STEPS]}, "not the first one again"),
    (
        "a third attempt inside",
        {"rescue": [LOST, {"block": STEPS, "rescue": [LOST, *STEPS]}]},
        "not the first one again",
    ),
    (
        "a second attempt that may be skipped",
        {"rescue": [LOST, {**LAUNCHING, "when": "x"}, INSTALLING, TRANSFERRING]},
        "not the first one again",
    ),
    ("a loss only", {"rescue": [LOST]}, "not the first one again"),
    ("a loss in the block", {"block": [LOST, *STEPS]}, "where nothing has failed"),
    ("a second attempt without cleanup", {"rescue": [LOST, *STEPS], "always": []}, "does not terminate first"),
    ("two launches", {"block": [LAUNCHING, LAUNCHING]}, "does not launch exactly once"),
    ("a launch in a block in it", {"block": [{"block": [LAUNCHING]}]}, "does not launch exactly once"),
    ("a condition", {"when": "false"}, "can skip its block"),
    ("a tag", {"tags": ["x"]}, "can skip its block"),
    ("a condition of the cleanup", {"always": [{**TERMINATING, "when": "x"}]}, "terminates with conditions"),
    ("an untagged cleanup", {"always": [role("worker", "terminate")]}, "can skip its cleanup by tags"),
    ("another tag", {"always": [{**TERMINATING, "tags": ["end"]}]}, "can skip its cleanup by tags"),
    (
        "a second cleanup without its tag",
        {"always": [TERMINATING, role("snapshot_set", "release")]},
        "can skip its cleanup by tags",
    ),
    ("no flush", {"block": [LAUNCHING, TRANSFERRING]}, "transfers before its handlers"),
    ("a flush too late", {"block": [LAUNCHING, TRANSFERRING, INSTALLING]}, "transfers before its handlers"),
    (
        "a handler notified after the flush",
        {"block": [LAUNCHING, INSTALLING, {"ansible.builtin.copy": {}, "notify": "x"}, TRANSFERRING]},
        "transfers before its handlers",
    ),
    ("the module itself", {"block": [LAUNCHING, {"mayfly.workers.worker": {}}]}, "by other means"),
    (
        "a dynamic launch",
        {"block": [LAUNCHING, {"ansible.builtin.include_role": LAUNCHING[IMPORT]}]},
        "includes dynamically",
    ),
]


class TestTheCheck:
    def test_takes_the_right_shape(self) -> None:
        assert defects(operation_play()) == []

    def test_takes_a_second_attempt_that_is_the_first_one_again(self) -> None:
        before = role("snapshot_set", "create")
        assert defects(operation_play(block=[before, *STEPS], rescue=[LOST, *STEPS])) == []

    @pytest.mark.parametrize(("changes", "defect"), [row[1:] for row in DEFECTS], ids=[row[0] for row in DEFECTS])
    def test_sees(self, changes: dict[str, Any], defect: str) -> None:
        assert [text for text in defects(operation_play(**changes)) if defect in text]

    @pytest.mark.parametrize("part", ["pre_tasks", "post_tasks", "roles", "handlers"])
    def test_sees_other_parts_of_a_play(self, part: str) -> None:
        assert defects({**operation_play(), part: [{"ansible.builtin.debug": {}}]}) == [f"has {part}"]

    def test_sees_what_stands_beside_the_block(self) -> None:
        play = operation_play()
        assert defects({**play, "tasks": [*play["tasks"], {"ansible.builtin.debug": {}}]}) == ["is not one block"]
        assert defects({"hosts": "ec2", "tasks": [LAUNCHING]}) == ["is not one block"]

    def test_sees_a_playbook_that_is_imported(self) -> None:
        assert defects({"ansible.builtin.import_playbook": "ec2_backup.yml"}) == ["is not a play"]

    @pytest.mark.parametrize("collection", ["", "ansible.builtin."])
    @pytest.mark.parametrize(
        "task",
        [
            *({name: {}} for name in sorted(FORBIDDEN_ACTIONS)),
            *({"meta": name} for name in sorted(FORBIDDEN_METAS)),
            *({f"include_{what}": "x"} for what in ("tasks", "role", "vars")),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("inside", ["the playbook", "a block", "a role", "a file of a role"])
    def test_sees_what_ends_or_holds_other_hosts(
        self, tmp_path: Path, task: dict[str, Any], collection: str, inside: str
    ) -> None:
        bad = {f"{collection}{key}": value for key, value in task.items()}
        assert [text for text in defects(self.play_with(tmp_path, bad, inside), tmp_path) if "is not" not in text]

    @pytest.mark.parametrize("keyword", sorted(FORBIDDEN_KEYWORDS))
    @pytest.mark.parametrize("inside", ["the playbook", "a role"])
    def test_sees_a_keyword_that_leaves_the_hosts_own_way(self, tmp_path: Path, keyword: str, inside: str) -> None:
        bad = {"ansible.builtin.debug": {}, keyword: True}
        assert defects(self.play_with(tmp_path, bad, inside), tmp_path) == [f"uses {keyword}"]

    @pytest.mark.parametrize("inside", ["the playbook", "a block", "a role", "a file of a role"])
    def test_takes_a_harmless_task(self, tmp_path: Path, inside: str) -> None:
        assert defects(self.play_with(tmp_path, {"ansible.builtin.meta": "flush_handlers"}, inside), tmp_path) == []

    @pytest.mark.parametrize("keyword", sorted({"any_errors_fatal", *FORBIDDEN_KEYWORDS}))
    @pytest.mark.parametrize("outer", [True, False])
    def test_sees_such_a_keyword_of_a_block(self, keyword: str, outer: bool) -> None:
        steps = [LAUNCHING, INSTALLING, {"ansible.builtin.meta": "flush_handlers"}, TRANSFERRING]
        play = (
            operation_play(**{keyword: True}) if outer else operation_play(block=[{"block": [], keyword: True}, *steps])
        )
        assert defects(play) == [f"uses {keyword}"]

    @pytest.mark.parametrize(
        "name", ["x.yml", "x.yaml", "x.json", "x", "inner/x.yml", "inner/deep/x.yaml", "vars/x.yml"]
    )
    def test_sees_a_playbook_whatever_its_name(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("- hosts: all\n")
        (tmp_path / "variables.yml").write_text("x: [1]\n")
        assert playbooks(tmp_path) == [path]
        assert misplaced([path], tmp_path) == ([] if name == "x.yml" else [path])

    @pytest.mark.parametrize("name", ["main.yml", "main.yaml", "inner/x.yml", "inner/deep/x.yaml"])
    @pytest.mark.parametrize("part", ["tasks", "handlers"])
    def test_sees_a_file_of_tasks_whatever_its_name(self, tmp_path: Path, part: str, name: str) -> None:
        path = tmp_path / "other" / part / name
        path.parent.mkdir(parents=True)
        path.touch()
        assert task_files(tmp_path) == [path]

    @staticmethod
    def play_with(roles: Path, task: dict[str, Any], inside: str) -> dict[str, Any]:
        """A play of the right shape with a task more, which may stand in a role that it imports."""
        files = {
            "worker/tasks/launch": [{"mayfly.workers.worker": {}}],
            "worker/tasks/terminate": [{"mayfly.workers.worker": {"state": "absent"}}],
            "other/tasks/main": [task] if inside == "a role" else [{"ansible.builtin.import_tasks": "inner.yml"}],
            "other/tasks/inner": [task] if inside == "a file of a role" else [],
        }
        for name, tasks in files.items():
            path = roles / f"{name}.yml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(repr(tasks))  # which YAML reads as well
        own = {"the playbook": [task], "a block": [{"block": [task]}]}.get(inside, [])
        return operation_play(block=[LAUNCHING, role("other"), *own])


def test_playbooks_stand_where_they_are_looked_for() -> None:
    assert misplaced(PLAYBOOKS, ROOT / "playbooks") == []
    assert [path.stem for path in PLAYBOOKS] == project.operations()


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.name)
class TestPlaybook:
    def test_has_the_one_shape(self, path: Path) -> None:
        assert {
            name: found for name, found in ((play.get("name"), defects(play)) for play in read(path)) if found
        } == {}

    def test_launches_a_worker_only_where_its_operation_needs_one(self, path: Path) -> None:
        found = [task for play in read(path) for task in flatten(play["tasks"]) if launches(task)]
        assert bool(found) == (path.stem in NEED_A_WORKER)

    def test_makes_a_second_attempt_where_data_is_moved(self, path: Path) -> None:
        found = [imports(task, "worker", "lost") for play in read(path) for task in flatten(play["tasks"])]
        assert any(found) == (path.stem in MOVE_DATA)

    def test_fits_one_screen(self, path: Path) -> None:
        assert len(path.read_text().splitlines()) <= 94

    def test_sets_the_whole_connection_context(self, path: Path) -> None:
        for play in read(path):
            assert play["vars_files"] == [CONNECTION]
            assert play["vars"] == {"mayfly_operation": path.stem}
            assert "connection" not in play
            assert "become" not in play

    def test_runs_each_host_by_itself(self, path: Path) -> None:
        for play in read(path):
            assert play["strategy"] == "ansible.builtin.host_pinned"
            assert play["gather_facts"] is False
            assert not {"serial", "any_errors_fatal", "max_fail_percentage"} & set(play)

    def test_is_made_of_our_roles_alone(self, path: Path) -> None:
        for play in read(path):
            for task in flatten(play["tasks"]):
                assert set(task) & {IMPORT, "block"}, task
                if "block" not in task:
                    assert task[IMPORT]["name"].startswith("mayfly.workers.")
                    assert set(task) <= {"name", IMPORT, "vars", "tags"}


def test_the_connection_context_is_the_workers() -> None:
    found = read(ROOT / "playbooks" / CONNECTION)
    assert {name: found[name] for name in CONTEXT} == CONTEXT
    assert set(found) == set(CONTEXT) | {f"mayfly_worker_{name}" for name in REACH} | {"mayfly_run_id"}


@pytest.mark.parametrize("name", REACH)
def test_where_the_worker_is_stands_in_no_fact(name: str) -> None:
    """What is registered is a plain variable in every ansible-core, and no cache keeps it."""
    found = read(ROOT / "playbooks" / CONNECTION)[f"mayfly_worker_{name}"]
    assert found == f"{{{{ worker_launched.worker.{name} | default({REACH[name]!r}) }}}}"
    assert [task["register"] for task in read(LAUNCH) if "mayfly.workers.worker" in task] == ["worker_launched"]


def test_hooks_take_the_whole_context_back() -> None:
    (hook,) = read(ROLES / "snapshot_set/tasks/hook.yml")
    # raw, so no interpreter is needed
    assert set(hook["vars"]) == set(CONTEXT) - {"ansible_python_interpreter"}


@pytest.mark.parametrize("path", TASK_FILES, ids=lambda path: str(path.relative_to(ROLES)))
class TestTaskFile:
    def test_is_imported_statically_and_ends_no_host(self, path: Path) -> None:
        for task in flatten(read(path)):
            assert forbidden(task) == [], task
            assert "tags" not in task, task

    def test_launches_no_worker(self, path: Path) -> None:
        assert any(launches(task) for task in flatten(read(path))) == (path == LAUNCH)


@pytest.mark.parametrize(
    "task",
    [
        {"mayfly.workers.worker": {}},
        {"worker": {"state": "{{ state }}"}},
        {"ansible.builtin.include_role": {"name": "worker", "tasks_from": "launch"}},
        {"ansible.builtin.import_role": {"name": "mayfly.workers.worker"}},
        {"ansible.builtin.import_tasks": "../../worker/tasks/launch.yml"},
        {"amazon.aws.ec2_instance": {"state": "running"}},
        {"ansible.builtin.command": "aws ec2 run-instances --image-id ami-1"},
        {"ansible.builtin.shell": {"cmd": "aws ec2 create-fleet"}},
    ],
    ids=str,
)
def test_a_launch_is_seen_in_every_form(task: dict[str, Any]) -> None:
    assert launches(task)


@pytest.mark.parametrize(
    "task",
    [
        {"mayfly.workers.worker": {"state": "absent"}},
        {"mayfly.workers.worker": {"state": "lost"}},
        role("worker", "lost"),
        role("worker", "terminate"),
        {"ansible.builtin.command": "systemctl is-active mayfly-lease"},
    ],
    ids=str,
)
def test_what_launches_nothing_is_not_taken_for_it(task: dict[str, Any]) -> None:
    assert not launches(task)


def test_no_role_depends_on_another() -> None:
    """A dependency would run its tasks without being imported."""
    assert {path.parts[-3]: read(path)["dependencies"] for path in ROLES.glob("*/meta/main.yml")} == {
        path.name: [] for path in ROLES.iterdir() if path.is_dir()
    }


PROGRAMS = [
    path
    for folder in ("plugins", "mayfly", "agent/mayfly_agent", "tools", "roles")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".sh", ".j2", "") and path.is_file() and "molecule" not in path.parts
]


class TestNoProgramLaunchesAWorker:
    """The lab and the tests stand in for AWS and its users, and are left out."""

    def test_but_the_keepers_own_call(self) -> None:
        found = {str(path.relative_to(ROOT)) for path in PROGRAMS if LAUNCHING_CALLS.search(path.read_text())}
        keeper = "plugins/plugin_utils/keeper"
        others = {f"{keeper}/machines.py", f"{keeper}/operations/restored_instance.py"}  # of restored instances
        assert found == {f"{keeper}/launch.py", f"{keeper}/operations/worker.py"} | others

    def test_but_the_action_that_asks_it(self) -> None:
        found = {str(path.relative_to(ROOT)) for path in PROGRAMS if "worker.present" in path.read_text()}
        assert found == {"plugins/action/worker.py", "plugins/plugin_utils/keeper/operations/worker.py"}
