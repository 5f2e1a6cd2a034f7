#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that documentation is whole: what ansible-doc shows of every plugin and role, and links between files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLLECTION = "mayfly.workers"
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
_IMPORTED = re.compile(r"import_tasks: (\S+)")
# Of these only what ansible-doc can document; the action plugins are documented as modules.
_KINDS = {"modules": "module", "inventory": "inventory", "connection": "connection", "callback": "callback"}


def main() -> int:
    """Print what is wrong; 0 when nothing is."""
    problems = [*_plugins(), *_roles(), *_links()]
    print("\n".join(problems) if problems else "documentation: nothing missing")
    return 1 if problems else 0


def _plugins() -> list[str]:
    problems = []
    for folder, kind in _KINDS.items():
        names = sorted(path.stem for path in (ROOT / "plugins" / folder).glob("[a-z]*.py"))
        if not names:
            continue
        shown = _ansible_doc("--type", kind, *(f"{COLLECTION}.{name}" for name in names))
        for name in names:
            page = shown.get(f"{COLLECTION}.{name}", {})
            doc = page.get("doc") or {}
            if not doc.get("short_description"):
                problems.append(f"plugins/{folder}/{name}.py: ansible-doc shows nothing of it")
            if folder == "modules" and not page.get("examples"):
                problems.append(f"plugins/{folder}/{name}.py: no EXAMPLES")
            if folder == "modules" and not page.get("return"):
                problems.append(f"plugins/{folder}/{name}.py: no RETURN")
    actions = {path.stem for path in (ROOT / "plugins/action").glob("[a-z]*.py")}
    modules = {path.stem for path in (ROOT / "plugins/modules").glob("[a-z]*.py")}
    return problems + [f"plugins/modules/{name}.py is missing" for name in sorted(actions - modules)]


def _roles() -> list[str]:
    problems = []
    for role in sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir()):
        shown = _ansible_doc("--type", "role", f"{COLLECTION}.{role.name}")
        points = shown.get(f"{COLLECTION}.{role.name}", {}).get("entry_points", {})
        files = sorted((role / "tasks").glob("*.yml"))
        imported = {name for file in files for name in _IMPORTED.findall(file.read_text())}
        for tasks in files:
            if tasks.stem not in points and tasks.name not in imported:
                problems.append(f"{tasks.relative_to(ROOT)}: meta/argument_specs.yml says nothing of it")
    return problems


def _links() -> list[str]:
    problems = []
    for file in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        name = file.relative_to(ROOT)
        for target in _LINK.findall(file.read_text()):
            if not (file.parent / target).exists():
                problems.append(f"{name}: the link to {target} leads nowhere")
    return problems


def _ansible_doc(*arguments: str) -> dict[str, dict[str, dict[str, object]]]:
    command = ["ansible-doc", "--json", *arguments]
    answer = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=120)
    if answer.returncode != 0:
        sys.exit(f"{' '.join(command)}: {answer.stderr.strip()}")
    shown: dict[str, dict[str, dict[str, object]]] = json.loads(answer.stdout)
    return shown


if __name__ == "__main__":
    sys.exit(main())
