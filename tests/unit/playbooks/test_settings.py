# SPDX-License-Identifier: GPL-3.0-or-later
"""The files in group_vars/all are the manual of settings: complete, true, and without any effect."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.mayfly.workers.plugins.plugin_utils.operations import INSTANCE_TYPES
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings import names
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Settings
from jinja2.nativetypes import NativeEnvironment

ROOT = Path(__file__).parents[3]
MANUAL = sorted((ROOT / "group_vars/all").glob("*.yml"))
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
# Where the worker is, which operation it is, and what is protected are no settings.
SETTING = re.compile(
    r"\bmayfly_(?!worker_(?:instance_id|way|address|port|user|control_path|known_hosts|key_file)\b|operation\b|resource\b)"
    r"[a-z_]+"
)
# {{ mayfly_x | default(VALUE, true) }} and nothing else: a blank answer of a survey counts as not given
MAPPING = re.compile(r"^\{\{ (mayfly_[a-z_]+) \| default\((.*), true\) \}\}$")
# Required, or taken from the resource: explained, with an example, but without a default that could be shown
WITHOUT_DEFAULT = {
    "mayfly_accounts",
    "mayfly_bastion",
    "mayfly_copy_repository",
    "mayfly_repository",
    "mayfly_restore_account",
    "mayfly_restore_region",
}
# Not mapped by a role: every action reads these for the keeper
RUN_WIDE = {
    "mayfly_accounts",
    "mayfly_bastion",
    "mayfly_deadline",
    "mayfly_deployment",
    "mayfly_lease",
    "mayfly_worker_connection",
}
# What a run says by itself, for templates of the user's own
OF_A_RUN = {"mayfly_run_id"}
DEFAULTS = {f"mayfly_{name}": field.default for name, field in Settings.model_fields.items()}


def shown_defaults() -> dict[str, Any]:
    """What the manual's settings would be, had somebody taken every number sign away."""
    shown: dict[str, Any] = {}
    for path in MANUAL:
        lines = [line[2:] for line in path.read_text().splitlines() if line.startswith("# ")]
        shown |= yaml.safe_load("\n".join(lines)) or {}
    return shown


def explained() -> set[str]:
    """The settings that the manual explains."""
    return {name for path in MANUAL for name in re.findall(r"^## (mayfly_[a-z_]+): ", path.read_text(), re.M)}


def role_defaults(role: Path) -> dict[str, Any]:
    """A role's defaults as written."""
    return yaml.safe_load((role / "defaults/main.yml").read_text()) or {}


def mapped_defaults() -> dict[str, Any]:
    """The default of each setting that roles map, from their templates."""
    found: dict[str, Any] = {}
    for role in ROLES:
        for value in role_defaults(role).values():
            match = MAPPING.match(str(value))
            if match and match[1] not in WITHOUT_DEFAULT:
                default = NativeEnvironment().from_string("{{ " + match[2] + " }}").render()
                assert found.setdefault(match[1], default) == default, match[1]
    return found


def used() -> set[str]:
    """The settings that roles and playbooks use."""
    texts = [
        path.read_text()
        for folder in ("roles", "playbooks")
        for path in (ROOT / folder).rglob("*.yml")
        if "molecule" not in path.parts
    ]
    return {name for text in texts for name in SETTING.findall(text)}


@pytest.mark.parametrize("path", MANUAL, ids=lambda path: path.name)
def test_the_manual_sets_nothing(path: Path) -> None:
    assert yaml.safe_load(path.read_text()) is None


def test_shown_defaults_are_the_roles_defaults() -> None:
    run_wide = {name: DEFAULTS[name] for name in RUN_WIDE - WITHOUT_DEFAULT}
    assert shown_defaults() == {**mapped_defaults(), **run_wide}


def test_the_schema_knows_every_setting_and_its_file() -> None:
    files = {f"mayfly_{name}": file for name, file in names.FILES.items()}
    written = {
        name: path.stem for path in MANUAL for name in re.findall(r"^## (mayfly_[a-z_]+): ", path.read_text(), re.M)
    }
    assert files == written
    assert set(Settings.model_fields) - {"operation"} == set(names.FILES)


def test_the_schema_takes_every_default_that_is_shown_and_every_example() -> None:
    shown = {name.removeprefix("mayfly_"): value for name, value in shown_defaults().items()}
    assert Settings.from_call(shown) == Settings.from_call({"worker_image": shown["worker_image"]})
    for path in MANUAL:
        for name, value in examples(path.read_text()).items():
            Settings.from_call({name.removeprefix("mayfly_"): value})


def examples(text: str) -> dict[str, Any]:
    """The examples of a file: what stands indented below the word."""
    found: dict[str, Any] = {}
    for block in re.findall(r"^## Examples?:\n((?:##   .*\n)+)", text, re.M):
        for entry in re.split(r"^(?=##   mayfly_)", block, flags=re.M):
            loaded = yaml.safe_load(re.sub("^##   ", "", entry, flags=re.M)) or {}
            found |= {name: value for name, value in loaded.items() if "{{" not in str(value) or name.endswith("tags")}
    return found


def test_every_setting_in_use_is_explained_and_every_explained_one_is_used() -> None:
    assert used() - RUN_WIDE - OF_A_RUN == explained() - RUN_WIDE
    assert explained() >= RUN_WIDE


def test_every_setting_shows_its_default_or_has_none() -> None:
    assert explained() - set(shown_defaults()) == WITHOUT_DEFAULT


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
class TestRole:
    def test_specifies_each_entry_point(self, role: Path) -> None:
        specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]
        tasks = {path.stem for path in (role / "tasks").glob("*.yml")}
        texts = [path.read_text() for path in (role / "tasks").glob("*.yml")]
        internal = {name for text in texts for name in re.findall(r"import_tasks: (\w+)\.yml", text)}
        assert tasks - internal <= set(specs) <= tasks

    def test_prefixes_its_variables(self, role: Path) -> None:
        assert all(name.startswith(f"{role.name}_") for name in role_defaults(role))
        internal = role / "vars/main.yml"
        names = yaml.safe_load(internal.read_text()) if internal.exists() else {}
        assert all(name.startswith(f"__{role.name}_") for name in names)

    def test_specifies_each_of_its_variables(self, role: Path) -> None:
        specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]
        specified = {name: option for spec in specs.values() for name, option in spec.get("options", {}).items()}
        assert set(specified) >= set(role_defaults(role))
        # What one entry point finds out, another one requires: a default would hide that it was not asked.
        found = set(specified) - set(role_defaults(role))
        texts = [yaml.safe_load(path.read_text()) for path in (role / "tasks").glob("*.yml")]
        kept = {name for tasks in texts for task in tasks for name in task.get("ansible.builtin.set_fact", ())}
        assert found <= kept | {task["register"] for tasks in texts for task in tasks if "register" in task}
        assert all(specified[name].get("required") for name in found)


def test_the_table_of_instance_types_is_placements() -> None:

    text = (ROOT / "group_vars/all/instance_types.yml").read_text()
    rows = re.findall(r"^##   (\w+) .*? {2,}(\w+\.\w+(?:, \w+\.\w+)*)$", text, re.M)
    assert {profile: tuple(types.split(", ")) for profile, types in rows} == INSTANCE_TYPES
