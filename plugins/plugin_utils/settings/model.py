# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of all settings: what is blank counts as not given; errors say what is wrong, where, and what is allowed.

The description of a field is what it allows, as it completes "NAME is VALUE, not …".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

_SHOWN_CHARACTERS = 80
_OWN_WORDS = ("value_error", "assertion_error")
Read = TypeVar("Read")


class SettingError(Exception):
    """A setting says nothing sensible: its name, what is wrong with it, and the file that explains it."""

    code = "BadSetting"

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.message = message
        self.remedy = f"group_vars/all/{file_of(name)}.yml explains {name}."


class Setting(BaseModel):
    """A setting with keys of its own. Unknown keys are errors; a blank answer of a survey counts as none."""

    model_config = ConfigDict(extra="forbid", frozen=True, regex_engine="python-re", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {str(key): each for key, each in value.items() if not is_blank(each)}


# Which file of group_vars/all explains a setting; those that are not here stand in workers.yml.
_FILES = {
    "mayfly_deployment": "accounts",
    "mayfly_accounts": "accounts",
    "mayfly_worker_account": "accounts",
    "mayfly_networks": "networks",
    "mayfly_control_node_cidr": "networks",
    "mayfly_instance_types": "instance_types",
    "mayfly_worker_tags": "tags",
    "mayfly_restore_tags": "tags",
    "mayfly_repository": "repositories",
}


def file_of(name: str) -> str:
    """The file of group_vars/all, without its ending, that explains a setting."""
    return _FILES.get(name, "workers")


def is_blank(value: Any) -> bool:
    """Whether a setting was not given."""
    return value is None or (isinstance(value, str | Sequence | Mapping) and not value)


def read(kind: type[Read] | Any, name: str, value: Any) -> Read:
    """The setting ``name`` as its type; raises SettingError that names the key at fault and what is allowed there."""
    try:
        read: Read = TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise SettingError(name, _explained(kind, name, error)) from None  # its text may hold a secret
    return read


def _explained(kind: Any, name: str, error: ValidationError) -> str:
    """One sentence for each fault, the first three of them."""
    faults = error.errors(include_url=False, include_context=False)
    sentences = [_sentence(kind, name, fault) for fault in faults[:3]]
    more = len(faults) - len(sentences)
    return " ".join(dict.fromkeys(sentences)) + (f" And {more} more." if more else "")


def _sentence(kind: Any, name: str, fault: Any) -> str:
    where = [part for part in fault["loc"] if isinstance(part, int) or _is_key(part)]
    path = name + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)
    model, field = _field(kind, fault["loc"])
    allowed = field.description if field is not None and field.description else ""
    if fault["type"] == "missing":
        return f"{path} is missing: {allowed}."
    if fault["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields) if model is not None else ""
        return f"{path} is unknown; known there are {known}."
    if fault["type"] in _OWN_WORDS:
        return f"{path}: {fault['msg'].split(', ', 1)[-1]}."
    secret = field is not None and isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("secret")
    shown = "the secret given" if secret else _shown(fault["input"])
    return f"{path} is {shown}, not {allowed or fault['msg'].removeprefix('Input should be ')}."


def _is_key(part: Any) -> bool:
    """Not the marks that pydantic puts between keys, for the members of a union or the key of a dictionary."""
    return isinstance(part, str) and "[" not in part


def _field(kind: Any, where: Sequence[Any]) -> tuple[type[BaseModel] | None, Any]:
    """The model and the field that a place in the given value belongs to, as far as there is one."""
    model, field = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else _model_in(kind), None
    for part in where:
        if isinstance(part, str) and model is not None and part in model.model_fields:
            field = model.model_fields[part]
            inner = _model_in(field.annotation)
            model = inner or model
    return model, field


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in getattr(annotation, "__args__", ()) if (found := _model_in(each))), None)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
