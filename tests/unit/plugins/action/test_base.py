# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of the action plugins: options as documented, one question to the keeper, errors as results, no secrets."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleUndefinedVariable
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.mayfly.workers.plugins.plugin_utils import action
from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction, _options, _spec
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError

ROOT = Path(__file__).parents[4]
NAMES = sorted(path.stem for path in (ROOT / "plugins/action").glob("*.py"))
PASSPHRASE = "correct horse battery staple"
_SECRET = ("passphrase", "new_passphrase", "recovery_key", "secret_access_key")
REPOSITORY = {"bucket": "backups", "region": "eu-central-1", "account": "111122223333", "passphrase": PASSPHRASE}

DOCUMENTED = [
    ("a bare option", {"description": "x"}, {"no_log": False}),
    ("a type", {"description": "x", "type": "int"}, {"type": "int", "no_log": False}),
    ("a default", {"type": "int", "default": 0}, {"type": "int", "default": 0, "no_log": False}),
    ("a required one", {"type": "str", "required": True}, {"type": "str", "required": True, "no_log": False}),
    ("choices", {"type": "str", "choices": ["a", "b"]}, {"type": "str", "choices": ["a", "b"], "no_log": False}),
    ("a list", {"type": "list", "elements": "str"}, {"type": "list", "elements": "str", "no_log": False}),
    ("what only people read", {"type": "str", "version_added": "1", "notes": []}, {"type": "str", "no_log": False}),
    (
        "suboptions",
        {"type": "dict", "suboptions": {"inner": {"description": "x", "type": "bool", "required": True}}},
        {"type": "dict", "no_log": False, "options": {"inner": {"type": "bool", "required": True, "no_log": False}}},
    ),
]


@pytest.mark.parametrize(("option", "spec"), [row[1:] for row in DOCUMENTED], ids=[row[0] for row in DOCUMENTED])
def test_the_documentation_is_the_specification(option: dict[str, Any], spec: dict[str, Any]) -> None:
    assert _options({"name": option}) == {"name": spec}


def test_a_passphrase_is_a_secret_at_any_depth() -> None:
    documented = {"passphrase": {"type": "str"}, "a": {"suboptions": {"b": {"suboptions": {"passphrase": {}}}}}}
    spec = _options(documented)
    assert spec["passphrase"]["no_log"] is True
    assert spec["a"]["options"]["b"]["options"]["passphrase"]["no_log"] is True
    assert spec["a"]["no_log"] is False


def flattened(spec: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """All options of a specification, those inside others too."""
    found = []
    for name, option in spec.items():
        found += [(name, option), *flattened(option.get("options", {}))]
    return found


@pytest.mark.parametrize("name", NAMES)
class TestThePlugin:
    def test_is_called_as_its_documentation(self, name: str) -> None:
        module = importlib.import_module(f"ansible_collections.mayfly.workers.plugins.action.{name}")
        assert name == module.ActionModule.NAME
        assert (ROOT / f"plugins/modules/{name}.py").exists()

    def test_has_a_specification_that_ansible_takes(self, name: str) -> None:
        for option, spec in flattened(_spec(name)):
            assert set(spec) <= {"type", "elements", "required", "default", "choices", "options", "no_log"}, option
            assert "type" in spec, option
        assert isinstance(ArgumentSpecValidator(_spec(name)).validate({}).validated_parameters, dict)

    def test_marks_what_may_not_be_logged(self, name: str) -> None:
        secret = {option for option, spec in flattened(_spec(name)) if spec["no_log"]}
        assert secret == {option for option, _ in flattened(_spec(name)) if option in _SECRET}

    def test_says_of_check_mode_what_it_does(self, name: str) -> None:
        module = importlib.import_module(f"ansible_collections.mayfly.workers.plugins.action.{name}")
        text = (ROOT / f"plugins/modules/{name}.py").read_text()
        _, _, attribute = text.partition("check_mode:")
        _, _, support = attribute.partition("support: ")
        assert (support.split()[0] != "none") == module.ActionModule.SUPPORTS_CHECK_MODE


class Action(KeeperAction):
    """An action that takes note of what it was told to do."""

    NAME = "repository"
    asks = False

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        self.told = options
        return self.ask("repository.check", options) if self.asks else {"changed": True, "answer": 42}


class Templar:
    """Knows one template, and one that speaks of what is not there."""

    def template(self, value: Any) -> Any:
        if "gone" in str(value):
            raise AnsibleUndefinedVariable("'gone' is undefined")
        return 3600 if value == "{{ an_hour }}" else value


def make(kind: type[KeeperAction], arguments: dict[str, Any], *, check: bool = False) -> KeeperAction:
    """The action of a task with these arguments."""
    task = SimpleNamespace(args=arguments, check_mode=check, async_val=0, action=f"mayfly.workers.{kind.NAME}")
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    return kind(task, connection, SimpleNamespace(check_mode=check), None, Templar(), None)


VARIABLES = {"inventory_hostname": "web-1_i-0001"}


class TestRunning:
    def test_gives_the_action_its_options_checked_and_converted(self) -> None:
        it = make(Action, {"repository": {**REPOSITORY, "account": 111122223333}})
        result = it.run(task_vars=VARIABLES)
        assert (result["changed"], result["answer"]) == (True, 42)
        assert it.told["state"] == "present"
        given = {name: value for name, value in it.told["repository"].items() if value is not None}
        assert given == {**REPOSITORY, "prefix": "", "addressing_style": "path"}

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            ({}, "repository"),
            ({"repository": {"bucket": "backups", "passphrase": PASSPHRASE}}, "account, region"),
            ({"repository": {**REPOSITORY, "buckets": 1}}, "buckets"),
            ({"repository": REPOSITORY, "stat": "present"}, "stat"),
            ({"repository": REPOSITORY, "state": "absent"}, "present, checked"),
            ({"repository": [PASSPHRASE]}, "repository"),
            ({"repository": PASSPHRASE}, "repository"),
        ],
    )
    def test_refuses_bad_options_and_names_them_without_their_secrets(
        self, arguments: dict[str, Any], named: str
    ) -> None:
        it = make(Action, arguments)
        result = it.run(task_vars=VARIABLES)
        assert (result["failed"], result["error_code"]) == (True, "BadOptions")
        assert named in result["msg"]
        assert PASSPHRASE not in str(result)
        assert not hasattr(it, "told")

    def test_changes_nothing_unless_the_action_says_so(self) -> None:
        class Quiet(Action):
            def act(self, options: dict[str, Any]) -> dict[str, Any]:
                return {"answer": 42}

        assert make(Quiet, {"repository": REPOSITORY}).run(task_vars=VARIABLES)["changed"] is False

    @pytest.mark.parametrize(("supported", "acts"), [(True, True), (False, False)])
    def test_skips_in_check_mode_unless_that_is_supported(self, supported: bool, acts: bool) -> None:
        kind = type("Checked", (Action,), {"SUPPORTS_CHECK_MODE": supported})
        it = make(kind, {"repository": REPOSITORY}, check=True)
        result = it.run(task_vars=VARIABLES)
        assert hasattr(it, "told") is acts
        assert result.get("skipped", False) is not acts

    def test_checks_options_in_check_mode_too(self) -> None:
        assert make(Action, {}, check=True).run(task_vars=VARIABLES)["error_code"] == "BadOptions"

    def test_makes_the_keepers_error_a_result(self) -> None:
        class Failing(Action):
            def act(self, options: dict[str, Any]) -> dict[str, Any]:
                raise KeeperError("RepositoryMissing", "There is none.", "Make one.")

        result = make(Failing, {"repository": REPOSITORY}).run(task_vars=VARIABLES)
        assert result["failed"] is True
        assert (result["msg"], result["error_code"]) == ("There is none. Make one.", "RepositoryMissing")


class Keeper:
    """Answers calls as its script says, and takes note of them."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[Any, ...]] = []
        self.replaced = 0

    def call(self, *arguments: Any, **more: Any) -> Any:
        self.calls.append((*arguments, more))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def replace(self) -> None:
        self.replaced += 1


def asked(keeper: Keeper, monkeypatch: pytest.MonkeyPatch, operation: str = "repository.check", **more: Any) -> Any:
    """What asking that keeper gives."""

    class Asking(Action):
        TIMEOUT = 7.0

        def act(self, options: dict[str, Any]) -> dict[str, Any]:
            return self.ask(operation, {"x": 1}, more.get("timeout"))

    monkeypatch.setattr(action.client, "call", keeper.call)
    monkeypatch.setattr(action.start, "replace", keeper.replace)
    variables = {**VARIABLES, **more.get("variables", {})}
    return make(Asking, {"repository": REPOSITORY}).run(task_vars=variables)


GONE = KeeperError("KeeperGone", "It does not answer.")


class TestAsking:
    def test_sends_host_settings_and_mode_along(self, monkeypatch: pytest.MonkeyPatch) -> None:
        keeper = Keeper({"answer": 42})
        assert asked(keeper, monkeypatch)["answer"] == 42
        more = {"host": "web-1_i-0001", "settings": {"operation": ""}, "check": False}
        assert keeper.calls == [("repository.check", {"x": 1}, 7.0, more)]

    def test_takes_the_settings_from_the_hosts_variables_and_templates_them(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keeper = Keeper({})
        accounts = {"backup": {"id": "111122223333"}}
        variables = {
            "mayfly_deployment": "team-7",
            "mayfly_deadline": "{{ an_hour }}",
            "mayfly_lease": 60,
            "mayfly_operation": "ec2_backup",
            "mayfly_accounts": accounts,
            "mayfly_worker_tags": {"Protects": "{{ gone.id }}"},
            "mayfly_not_a_setting": 1,
            "lease": 5,
        }
        asked(keeper, monkeypatch, variables=variables)
        assert keeper.calls[0][-1]["settings"] == {
            "deployment": "team-7",
            "deadline": 3600,
            "lease": 60,
            "operation": "ec2_backup",
            "accounts": accounts,
        }

    def test_waits_as_long_as_it_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        keeper = Keeper({})
        asked(keeper, monkeypatch, timeout=99.0)
        assert keeper.calls[0][2] == 99.0

    @pytest.mark.parametrize("code", ["NoKeeper", "KeeperTimeout", "NoCapacity"])
    def test_does_not_replace_a_keeper_that_answers(self, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
        keeper = Keeper(KeeperError(code, "No."))
        assert asked(keeper, monkeypatch)["error_code"] == code
        assert (len(keeper.calls), keeper.replaced) == (1, 0)

    @pytest.mark.parametrize(
        ("name", "more", "refused"),
        [
            ("deployment", {}, True),
            ("accounts", {}, True),
            ("worker_connection", {"mayfly_resource": {"id": "i-1"}}, True),
            ("lease", {"mayfly_resource": {"id": "i-1"}}, True),
            ("lease", {}, False),  # what reaps has no resource that it could be about
            ("restore_point", {"mayfly_resource": {"id": "i-1"}}, False),  # the task's own arguments say it
        ],
    )
    def test_refuses_what_only_the_keeper_reads_and_cannot_be_read(
        self, monkeypatch: pytest.MonkeyPatch, name: str, more: dict[str, Any], refused: bool
    ) -> None:
        keeper = Keeper({})
        result = asked(keeper, monkeypatch, variables={f"mayfly_{name}": "{{ gone }}", **more})
        assert (result.get("error_code") == "BadSetting") is refused
        assert (f"mayfly_{name}: 'gone' is undefined" in result.get("msg", "")) is refused
        assert len(keeper.calls) == (0 if refused else 1)

    def test_has_a_keeper_that_is_gone_replaced_and_does_nothing_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        keeper = Keeper(GONE)
        assert asked(keeper, monkeypatch)["error_code"] == "KeeperGone"
        assert (len(keeper.calls), keeper.replaced) == (1, 1)

    def test_asks_the_new_keeper_to_end_the_worker(self, monkeypatch: pytest.MonkeyPatch) -> None:
        keeper = Keeper(GONE, {"changed": True})
        assert asked(keeper, monkeypatch, "worker.absent")["changed"] is True
        assert (len(keeper.calls), keeper.replaced) == (2, 1)
        assert keeper.calls[0] == keeper.calls[1]
