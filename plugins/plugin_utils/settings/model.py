# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of all settings: what is blank counts as not given; errors say what is wrong, where, and what is allowed.

The description of a field is what it allows, as it completes "NAME is VALUE, not …".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator
from pydantic.fields import FieldInfo

from .names import PREFIX, file_of

_SHOWN_CHARACTERS = 80
_OWN_WORDS = ("value_error", "assertion_error")
# Marks a field whose value stands in no message.
SECRET: dict[str, Any] = {"secret": True}
Read = TypeVar("Read")
Model = TypeVar("Model", bound=BaseModel)


class SettingError(Exception):
    """A setting says nothing sensible: its name, what is wrong with it, and the file that explains it."""

    code = "BadSetting"

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.message = message
        self.remedy = f"{file_of(name)} explains {name}."


class Setting(BaseModel):
    """A setting with keys of its own. Unknown keys are errors; a blank answer of a survey counts as none."""

    model_config = ConfigDict(extra="forbid", frozen=True, regex_engine="python-re", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {str(key): each for key, each in value.items() if not is_blank(each)}


def is_blank(value: Any) -> bool:
    """Whether a setting was not given."""
    return value is None or (isinstance(value, str | Sequence | Mapping) and not value)


def read(kind: type[Read] | Any, name: str, value: Any) -> Read:
    """The setting ``name`` as its type; raises SettingError that names the key at fault and what is allowed there."""
    try:
        read: Read = TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise _explained(kind, name, error) from None  # its text may hold a secret
    return read


def read_all(model: type[Model], values: Mapping[str, Any]) -> Model:
    """All settings at once, by names without their prefix; raises SettingError."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _explained(model, "", error) from None


def _explained(kind: Any, name: str, error: ValidationError) -> SettingError:
    """One sentence for each fault, the first three of them. Without ``name``, the first key is the setting's."""
    faults = error.errors(include_url=False, include_context=False)
    sentences = [_sentence(kind, name, fault) for fault in faults[:3]]
    more = f" And {len(faults) - len(sentences)} more." if len(faults) > len(sentences) else ""
    return SettingError(name or f"{PREFIX}{faults[0]['loc'][0]}", " ".join(dict.fromkeys(sentences)) + more)


def _sentence(kind: Any, name: str, fault: Any) -> str:
    where = [part for part in fault["loc"] if isinstance(part, int) or _is_key(part)]
    keys = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)
    path = f"{name}{keys}" if name else f"{PREFIX}{keys.removeprefix('.')}"
    model, field = _field(kind, fault["loc"])
    allowed = field.description if field is not None and field.description else ""
    if fault["type"] == "missing":
        return f"{path} is missing: {allowed}."
    if fault["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields) if model is not None else ""
        return f"{path} is unknown; known there are {known}."
    if fault["type"] in _OWN_WORDS:
        return f"{path}: {fault['msg'].split(', ', 1)[-1]}."
    if isinstance(field, FieldInfo) and (field.json_schema_extra or {}) == SECRET:
        return f"{path} is not {allowed}."
    return f"{path} is {_shown(fault['input'])}, not {allowed or fault['msg'].removeprefix('Input should be ')}."


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
