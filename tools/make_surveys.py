#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write ``awx/surveys.json``: the surveys of AWX's job templates, from the roles' argument specs; --check compares."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
SURVEYS = ROOT / "awx/surveys.json"
#: What a job template asks for, by its operation; all else is set in the inventories' group_vars.
ASKED: dict[str, tuple[str, ...]] = {
    "archive": ("mayfly_archive_action", "mayfly_archive_point", "mayfly_archive_storage_class", "mayfly_archive_tier",
                "mayfly_archive_days", "mayfly_archive_wait"),
    "archive_sets": ("mayfly_archive_remove_unfinished",),
    "ec2_backup": ("mayfly_full_backup", "mayfly_worker_market"),
    "ec2_restore": ("mayfly_restore_point", "mayfly_restore_location", "mayfly_restore_account",
                    "mayfly_restore_region", "mayfly_restore_subnet_id", "mayfly_restore_instance_type",
                    "mayfly_restore_name", "mayfly_restore_key_name", "mayfly_restore_instance_profile",
                    "mayfly_restore_keep_address", "mayfly_restore_kms_key_id"),
    "health_check": ("mayfly_health_check_mode", "mayfly_health_check_percent"),
    "reap": ("mayfly_reap_grace", "mayfly_reap_run"),
    "repository_copy": (),
    "repository_create": ("mayfly_object_lock",),
    "repository_keys": ("mayfly_new_kms_key_id", "mayfly_rotate_key"),
    "retention": ("mayfly_retention_count", "mayfly_retention_days", "mayfly_retention_daily",
                  "mayfly_retention_weekly", "mayfly_retention_monthly", "mayfly_retention_yearly"),
    "volume_restore": ("mayfly_restore_point", "mayfly_restore_account", "mayfly_restore_region",
                       "mayfly_restore_availability_zone", "mayfly_restore_kms_key_id", "mayfly_restore_attachment",
                       "mayfly_restore_instance_id"),
    "worker_check": (),
    "worker_image": ("mayfly_image_remove_old",),
}  # fmt: skip
_KINDS = {"str": "text", "path": "text", "int": "integer", "float": "float", "bool": "multiplechoice"}
_SETTING = re.compile(r"{{\s*(mayfly_\w+)")
_EXPLAINED = re.compile(r"^## (mayfly_\w+): ((?:.*\n)(?:## (?!Example|  ).*\n)*)", re.MULTILINE)


def main() -> int:
    """0 when the file was written, or is what it would be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the file is what it would be")
    if not parser.parse_args().check:
        SURVEYS.write_text(text())
        return 0
    if SURVEYS.exists() and SURVEYS.read_text() == text():
        return 0
    print(f"{SURVEYS.relative_to(ROOT)} is not what tools/make_surveys.py writes: run it", file=sys.stderr)
    return 1


def text() -> str:
    """What the file is to hold."""
    return json.dumps(surveys(), indent=2) + "\n"


def surveys() -> dict[str, dict[str, Any]]:
    """The survey of each operation, as AWX takes it. Raises KeyError for a setting that no role takes."""
    known, explained = settings(), explanations()
    return {
        operation: {
            "name": f"mayfly {operation}",
            "description": "What is left empty is taken from the inventory's settings.",
            "spec": [question(name, known[name], explained[name]) for name in asked],
        }
        for operation, asked in ASKED.items()
    }


def settings() -> dict[str, dict[str, Any]]:
    """The option of a role's argument spec that takes a setting, by the setting's name, as the role's defaults say."""
    found: dict[str, dict[str, Any]] = {}
    for role in sorted(path.parent.parent for path in ROOT.glob("roles/*/defaults/main.yml")):
        defaults = yaml.safe_load((role / "defaults/main.yml").read_text())
        specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"].values()
        options = {name: option for spec in specs for name, option in (spec.get("options") or {}).items()}
        for name, default in defaults.items():
            match = _SETTING.match(default) if isinstance(default, str) else None
            if match and name in options:
                found.setdefault(match[1], options[name])
    return found


def explanations() -> dict[str, str]:
    """What ``group_vars/all`` says of each setting, as one line, by the setting's name."""
    files = sorted(ROOT.glob("group_vars/all/*.yml"))
    found = [each for path in files for each in _EXPLAINED.findall(path.read_text())]
    return {name: " ".join(lines.replace("\n## ", "\n").split()) for name, lines in found}


def question(name: str, option: dict[str, Any], explanation: str) -> dict[str, Any]:
    """One question. None is required, and none has a default: an empty answer is no answer. Raises KeyError."""
    choices = ["true", "false"] if option["type"] == "bool" else [str(each) for each in option.get("choices") or ()]
    return {
        "question_name": name.removeprefix("mayfly_").replace("_", " ").capitalize(),
        "question_description": explanation[:1].upper() + explanation[1:],
        "required": False,
        "type": "multiplechoice" if choices else _KINDS[option["type"]],
        "variable": name,
        "min": 0,
        "max": 1024,
        "default": "",
        "choices": choices,
        "new_question": True,
    }


if __name__ == "__main__":
    sys.exit(main())
