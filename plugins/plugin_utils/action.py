# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of all action plugins: options as documented, one question to the keeper, its errors as results."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

from ansible.errors import AnsibleUndefinedVariable
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import fragment_loader
from ansible.utils.plugin_docs import get_docstring

from .keeper import client, start
from .keeper.errors import KeeperError
from .settings import names

_ENDING = ("worker.absent",)
_SECRETS = ("new_passphrase", "passphrase", "recovery_key", "secret_access_key")
# Nothing else reads them, so nothing else would say that they cannot be read.
_OF_ALL_TASKS = ("deployment", "accounts")
_OF_A_RESOURCE = ("lease", "deadline", "worker_connection", "bastion")
_MODULES = Path(__file__).parents[1] / "modules"
Values = dict[str, Any]


class KeeperAction(ActionBase):
    """An action documented in ``plugins/modules/NAME.py``. A subclass says what it asks of the keeper in ``act``."""

    NAME: ClassVar[str]
    #: Without it, a task in check mode is skipped.
    SUPPORTS_CHECK_MODE: ClassVar[bool] = False
    TRANSFERS_FILES = False
    #: Seconds for one call, unless it says otherwise.
    TIMEOUT: ClassVar[float] = 120.0

    def __init_subclass__(cls, **options: Any) -> None:
        """Ansible has the class before it starts a process for each task, which finds its documentation read."""
        super().__init_subclass__(**options)
        _spec(cls.NAME)

    def run(self, tmp: str | None = None, task_vars: Values | None = None) -> Values:
        """Validate the options, then act."""
        result: Values = super().run(tmp, task_vars)
        self.variables: Values = task_vars or {}
        spec = _spec(self.NAME)
        validated = ArgumentSpecValidator(spec).validate(self._task.args)
        if validated.error_messages:
            return {**result, "failed": True, "msg": "; ".join(validated.error_messages), "error_code": "BadOptions"}
        if self._task.check_mode and not self.SUPPORTS_CHECK_MODE:
            return {**result, "skipped": True, "msg": "Nothing is done in check mode."}
        try:
            return {**result, "changed": False, **self.act(validated.validated_parameters)}
        except KeeperError as error:
            return {**result, "failed": True, "msg": error.text, "error_code": error.code}

    def act(self, options: Values) -> Values:
        """Do it and return the result; raises KeeperError."""
        raise NotImplementedError

    def ask(self, operation: str, arguments: Values, timeout: float | None = None) -> Values:
        """Call the keeper for this task's host."""
        host, check = str(self.variables["inventory_hostname"]), bool(self._task.check_mode)
        timeout, settings = timeout or self.TIMEOUT, self._settings

        def call() -> Values:
            return client.call(operation, arguments, timeout, host=host, settings=settings, check=check)

        try:
            return call()
        except KeeperError as error:
            if error.code != "KeeperGone":
                raise
            start.replace()
            if operation not in _ENDING:
                raise
        return call()  # the new keeper starts nothing, and ends everything

    @cached_property
    def _settings(self) -> Values:
        """The host's settings, as far as they say something here: the keeper checks all of them before it acts.

        One that is about what this task does not have, such as the resource in a tag, is checked where it is used;
        those that only the keeper reads here: raises KeeperError BadSetting.
        """
        settings: Values = {"operation": self._templar.template(self.variables.get("mayfly_operation", ""))}
        for name in names.FILES:
            value = self.variables.get(f"{names.PREFIX}{name}")
            if value is not None:
                try:
                    settings[name] = self._templar.template(value)
                except AnsibleUndefinedVariable as error:
                    if name in _OF_ALL_TASKS or (name in _OF_A_RESOURCE and "mayfly_resource" in self.variables):
                        message = f"{names.PREFIX}{name}: {error.message}"
                        raise KeeperError("BadSetting", message, f"{names.file_of(name)} explains it.") from error
        return settings


@cache
def _spec(name: str) -> Values:
    documentation, *_ = get_docstring(
        str(_MODULES / f"{name}.py"), fragment_loader, collection_name="mayfly.workers", plugin_type="module"
    )
    return _options(documentation.get("options") or {})


def _options(documented: Mapping[str, Any]) -> Values:
    """An argument spec from documented options."""
    spec: Values = {}
    for name, option in documented.items():
        taken = {key: option[key] for key in ("type", "elements", "required", "default", "choices") if key in option}
        if option.get("suboptions"):
            taken["options"] = _options(option["suboptions"])
        spec[name] = {**taken, "no_log": name in _SECRETS}
    return spec
