# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that are over: listed, shown, summed up, and removed by age."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mayfly import project, records
from mayfly.cli import main

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs: web was backed up 30 and 2 hours ago, db failed 2 hours ago, a check goes on."""
    monkeypatch.setenv("MAYFLY_RUNS_DIR", str(tmp_path))
    write(tmp_path, "r-1", 30, web=("Succeeded", "point-1"), db=("Succeeded", "point-2"))
    write(tmp_path, "r-2", 2, web=("Warning", "point-3"), db=("Failed", None))
    write(tmp_path, "r-3", 1, operation="health_check", ended=False, repository=("Running", None))
    return tmp_path


def write(folder: Path, run: str, hours: float, operation: str = "ec2_backup", ended: bool = True, **of: Any) -> None:
    """A run's report, an hour long."""
    began = NOW - timedelta(hours=hours + 1)
    times = {"start": began.isoformat(), "end": (began + timedelta(hours=1)).isoformat() if ended else None}
    resources = {
        host: {
            "status": status,
            "restore_point": point,
            "volumes": {"vol-1": {"bytes_stored": 100}},
            "stages": [{"name": "Transferring", **times}],
            "errors": [],
        }
        for host, (status, point) in of.items()
    }
    head = {"run": run, "operation": operation, "started": times["start"], "ended": times["end"], "errors": []}
    (folder / run).mkdir()
    (folder / run / "report.json").write_text(json.dumps({**head, "status": "Failed", "resources": resources}))


def test_an_overview_tells_what_is_protected_and_what_is_not(runs: Path) -> None:
    seen = records.overview(records.load_all(), timedelta(hours=24), NOW)
    assert {
        host: (each["restore_point"], each["status"], each["fresh"]) for host, each in seen["resources"].items()
    } == {
        "db": ("point-2", "Failed", False),
        "web": ("point-3", "Warning", True),
    }
    backups = seen["operations"]["ec2_backup"]
    assert (backups["runs"], backups["resources"], backups["succeeded"]) == (2, 4, 0.75)
    assert backups["seconds"] == {"median": 3600, "longest": 3600}
    assert seen["operations"]["health_check"]["seconds"] is None
    assert sum(seen["stored"].values()) == 400


def test_the_exit_code_says_whether_all_is_fresh(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--all", "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["resources"]["db"]["fresh"] is False
    assert main(["report", "--all", "--objective", "31"]) == 0
    assert "point-3" in capsys.readouterr().out


def test_runs_are_listed_in_the_order_of_their_start(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--since", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["r-2", "ec2_backup"], ["r-3", "health_check"]]
    assert "1 Warning, 1 Failed" in lines[0]


@pytest.mark.parametrize(
    ("form", "begins"), [("html", "<!doctype html>"), ("csv", "run,"), ("junit", "<?xml"), ("json", "{")]
)
def test_a_run_is_shown_in_every_form(runs: Path, tmp_path: Path, form: str, begins: str) -> None:
    assert main(["report", "r-2", "--format", form, "--output", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out").read_text().startswith(begins)


@pytest.mark.parametrize("name", ["r-9", "../r-1", ""])
def test_a_run_that_is_not_there_is_bad_input(runs: Path, name: str) -> None:
    with pytest.raises(project.BadInput, match="no run"):
        records.load(name)
    assert main(["report", name or "r-9"]) == 2


def test_old_runs_are_removed_and_those_that_go_on_are_not(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--remove-older-than", "1"]) == 0
    assert capsys.readouterr().out == "removed r-1\n"
    assert sorted(path.name for path in runs.iterdir()) == ["r-2", "r-3"]
    elsewhere = runs.parent / "elsewhere"
    elsewhere.mkdir()
    liar = {**json.loads((runs / "r-2/report.json").read_text()), "run": "../elsewhere"}
    (runs / "r-2/report.json").write_text(json.dumps(liar))
    assert main(["runs", "--remove-older-than", "0"]) == 0
    assert elsewhere.is_dir()
    assert [path.name for path in runs.iterdir()] == ["r-3"]
