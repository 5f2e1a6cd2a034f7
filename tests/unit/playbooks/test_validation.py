# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks of ours hand to roles is validated once, by keeper and modules, not by one more task for each host.

So the roles' own validation is switched off there where each of their options is one that is checked all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from ansible.plugins.loader import fragment_loader
from ansible.utils.plugin_docs import get_docstring
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Settings

from tests.unit.playbooks.shape import IMPORT, ROLES, ROOT, expand, flatten, playbooks, read, short

IMPORTS = [
    pytest.param(task[IMPORT], id=f"{path.stem}-{short(task[IMPORT]['name'])}-{task[IMPORT].get('tasks_from', 'main')}")
    for path in playbooks(ROOT / "playbooks")
    for play in read(path)
    for task in flatten(play.get("tasks") or ())
    if IMPORT in task
]
SETTING = re.compile(r"^\{\{ mayfly_([a-z_]+)(?: \| default\(.*, true\))? \}\}$")
HANDED_ON = re.compile(r"^\{\{ ([a-z_]+)(?: or omit)? \}\}$")
# What no user sets: the roles and playbooks themselves say it.
OWN = {"repository_copy_done", "retention_done", "transfer_agent_needed", "worker_needed"}


@pytest.mark.parametrize("role", IMPORTS)
def test_a_role_validates_by_itself_only_what_nothing_else_checks(role: dict[str, Any]) -> None:
    assert role.get("rolespec_validate", True) is bool(_unchecked(role)), _unchecked(role)


def _unchecked(role: dict[str, Any]) -> set[str]:
    """The options of an entry point that are neither settings of a host nor handed to a module that demands as much."""
    name, entry = short(role["name"]), role.get("tasks_from", "main")
    defaults = read(ROLES / name / "defaults/main.yml")
    handed_on = dict(_handed_on(role))
    found = set()
    for option, spec in read(ROLES / name / "meta/argument_specs.yml")["argument_specs"][entry]["options"].items():
        setting = SETTING.match(str(defaults.get(option)))
        if not ((setting and setting[1] in Settings.model_fields) or _demands(spec) <= handed_on.get(option, set())):
            found.add(option)
    return found - OWN


def _handed_on(role: dict[str, Any]) -> Iterator[tuple[str, set[str]]]:
    """Each variable that an entry point hands to an option of a module of ours, with what that demands."""
    for task in expand([{IMPORT: role}]):
        for module, arguments in task.items():
            if module.startswith("mayfly.workers."):
                options = _options(short(module))
                for name, value in arguments.items():
                    found = HANDED_ON.match(str(value))
                    if found:
                        yield found[1], _demands(options[name])


def _options(module: str) -> dict[str, Any]:
    path = str(ROOT / f"plugins/modules/{module}.py")
    documentation, *_ = get_docstring(path, fragment_loader, collection_name="mayfly.workers", plugin_type="module")
    return dict(documentation["options"])


def _demands(spec: dict[str, Any], at: str = "") -> set[str]:
    """What a specification of an option demands of its value, as words."""
    found = {f"{at} is {spec['type']}", *(f"{at} may be {choice}" for choice in spec.get("choices", ()) if choice)}
    if spec["type"] == "path":
        found = {f"{at} is str"}
    for name, inner in {**spec.get("options", {}), **spec.get("suboptions", {})}.items():
        found |= _demands(inner, f"{at}.{name}")
        found |= {f"{at}.{name} is given"} if inner.get("required") else set()
    return found
