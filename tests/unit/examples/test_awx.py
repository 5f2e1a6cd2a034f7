# SPDX-License-Identifier: GPL-3.0-or-later
"""What is put into AWX is what the awx.awx modules take, and fits the playbooks, the roles and itself."""

from __future__ import annotations

import importlib
import itertools
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from dateutil.rrule import rrulestr

from tools import make_surveys

ROOT = Path(__file__).parents[3]
AWX = ROOT / "awx"
TASKS = yaml.safe_load((AWX / "configure.yml").read_text())[0]["tasks"]
MODULES = {task["name"]: next(key for key in task if key.startswith("awx.awx.")) for task in TASKS}
SECRETS = {"awx_aws_access_key_id": "AKIA", "awx_external_id": "", "awx_passphrase": "secret"}


def trusted(value: Any) -> Any:
    """A value whose templates count, as those of a playbook do."""
    if isinstance(value, dict):
        return {key: trusted(each) for key, each in value.items()}
    if isinstance(value, list):
        return [trusted(each) for each in value]
    return trust_as_template(value) if isinstance(value, str) else value


def variables() -> dict[str, Any]:
    loader = DataLoader()
    files = (AWX / "vars/settings.yml", AWX / "vars/items.yml")
    found = {
        name: value
        for path in files
        for name, value in loader.load_from_file(str(path), trusted_as_template=True).items()
    }
    return {**found, **SECRETS, "playbook_dir": str(AWX)}


def arguments(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the task hands to its module, for each item of its loop."""
    values = variables()
    values |= trusted(task.get("vars", {}))
    templar = Templar(loader=DataLoader(), variables=values)
    items = templar.template(trusted(task["loop"])) if "loop" in task else [None]
    assert items
    for item in items:
        yield Templar(loader=DataLoader(), variables={**values, "item": item}).template(
            trusted(task[MODULES[task["name"]]])
        )


def of(module: str) -> list[dict[str, Any]]:
    (task,) = [each for each in TASKS if MODULES[each["name"]] == f"awx.awx.{module}"]
    return list(arguments(task))


@pytest.fixture
def specification(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The argument spec of a module, as the module itself hands it to AWX's base class."""

    class Taken(Exception):
        pass

    def take(*, argument_spec: dict[str, Any], **_more: Any) -> None:
        raise Taken(argument_spec)

    def specification_of(name: str) -> dict[str, Any]:
        module = importlib.import_module(f"ansible_collections.awx.awx.plugins.modules.{name.rpartition('.')[2]}")
        monkeypatch.setattr(module, "ControllerAPIModule", take)
        with pytest.raises(Taken) as caught:
            module.main()
        taken: dict[str, Any] = caught.value.args[0]
        return taken

    return specification_of


@pytest.mark.parametrize("task", TASKS, ids=lambda task: MODULES[task["name"]])
def test_the_modules_take_every_item(task: dict[str, Any], specification: Any) -> None:
    validator = ArgumentSpecValidator(specification(MODULES[task["name"]]))
    for given in arguments(task):
        assert validator.validate(given).error_messages == [], given
        assert validator.validate({**given, "no_such": 1}).error_messages


def test_every_operation_has_a_job_template_and_its_inventory() -> None:
    templates = {each["playbook"]: each for each in of("job_template")}
    assert set(templates) == {f"playbooks/{path.name}" for path in ROOT.glob("playbooks/*.yml")}
    inventories = {each["inventory"]: each["source_path"] for each in of("inventory_source")}
    assert {each["name"] for each in of("inventory")} == set(inventories)
    assert {each["inventory"] for each in templates.values()} == set(inventories)
    assert all((ROOT / path).exists() for path in inventories.values())


def test_credentials_that_are_not_given_are_left_out() -> None:
    assert {each["name"] for each in of("credential")} == {"mayfly AWS key", "mayfly passphrase"}
    assert all(each["credentials"] == ["mayfly AWS key", "mayfly passphrase"] for each in of("job_template"))


def test_injectors_leave_their_templates_to_awx() -> None:
    assert {str(value) for each in of("credential_type") for value in each["injectors"]["env"].values()} == {
        "{{ external_id }}",
        "{{ passphrase }}",
    }


def test_surveys_are_what_the_roles_take() -> None:
    assert make_surveys.SURVEYS.read_text() == make_surveys.text()
    assert set(make_surveys.ASKED) == {path.stem for path in ROOT.glob("playbooks/*.yml")}
    found = make_surveys.surveys()["health_check"]["spec"]
    assert [(each["variable"], each["type"], each["choices"]) for each in found] == [
        ("mayfly_health_check_mode", "multiplechoice", ["quick", "sample", "full"]),
        ("mayfly_health_check_percent", "float", []),
    ]


def test_workflows_and_schedules_name_what_there_is() -> None:
    templates = {each["name"] for each in of("job_template")}
    workflows = of("workflow_job_template")
    for workflow in workflows:
        nodes = {node["identifier"]: node for node in workflow["workflow_nodes"]}
        assert {node["unified_job_template"]["name"] for node in nodes.values()} <= templates
        named = [
            each for node in nodes.values() for next_ones in node.get("related", {}).values() for each in next_ones
        ]
        assert {each["identifier"] for each in named} < set(nodes)
        assert "mayfly reap" not in {node["unified_job_template"]["name"] for node in nodes.values()}
    known = templates | {each["name"] for each in workflows}
    assert {each["unified_job_template"] for each in of("schedule")} <= known


def test_rules_of_schedules_are_what_awx_takes() -> None:
    """AWX takes a start, with a zone, and one rule, parted by a space."""
    for entry in of("schedule"):
        assert re.fullmatch(r"DTSTART:\d{8}T\d{6}Z RRULE:FREQ=\w+;INTERVAL=\d+(;\w+=\w+)*", entry["rrule"])
        assert len(list(itertools.islice(rrulestr(entry["rrule"].replace(" ", "\n")), 2))) == 2


def test_reaping_runs_every_15_minutes() -> None:
    (rule,) = [each["rrule"] for each in of("schedule") if each["unified_job_template"] == "mayfly reap"]
    times = list(itertools.islice(rrulestr(rule.replace(" ", "\n")), 3))
    assert {later - earlier for earlier, later in itertools.pairwise(times)} == {timedelta(minutes=15)}
