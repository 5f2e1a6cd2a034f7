# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: exit codes, JSON, settings from arguments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import mayfly
from mayfly import cli


@pytest.mark.parametrize(
    ("extra", "code", "status"),
    [([], cli.SUCCEEDED, "Succeeded"), (["-e", "failing_host=web-1_i-0001"], cli.SOME_FAILED, "Failed")],
)
def test_exit_code_and_json(
    small_project: Path, capsys: pytest.CaptureFixture[str], extra: list[str], code: int, status: str
) -> None:
    inventory = str(small_project / "inventory.yml")
    assert cli.main(["two_results", "--inventory", inventory, "--json", *extra]) == code
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result["status"] == status
    assert set(result["resources"]) == {"web-1_i-0001", "web-2_i-0002"}
    assert "Fail where told" in printed.err


def test_bad_input(small_project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["no_such", "--json"]) == cli.BAD_INPUT
    printed = capsys.readouterr()
    assert json.loads(printed.out)["status"] == "BadInput"
    assert "no operation" in printed.err


PROGRAM = """
import os, signal, sys, threading, time
from datetime import UTC, datetime
from pathlib import Path
from mayfly import cli, project, settling
project.root = lambda: Path(sys.argv[1])
settling._await_keeper = lambda folder, watch, tell, stop: waited(stop)

def waited(stop):
    # A keeper that takes its time; a terminal's signal that is handed on at once is no second one.
    interrupt()
    time.sleep(1.2)
    assert not stop.given_up
    interrupt()
    while not stop.given_up:
        time.sleep(0.05)

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

threading.Timer(3, interrupt).start()
sys.exit(cli.main(["long", "-i", sys.argv[1] + "/inventory.yml", *sys.argv[2:]]))
"""


@pytest.mark.parametrize("options", [[], ["--json"]], ids=str)
def test_a_second_interrupt_gives_up_waiting(small_project: Path, options: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(small_project), *options],
        env={**os.environ, "PYTHONPATH": str(Path(mayfly.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == cli.INTERRUPTED == 130, done.stderr
    assert "Its keeper goes on" in done.stderr
    assert "Traceback" not in done.stderr
    if options:
        assert json.loads(done.stdout)["status"] == "Canceled"


def test_live_lines_and_summary(small_project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inventory = str(small_project / "inventory.yml")
    assert cli.main(["two_results", "-i", inventory, "-e", "failing_host=web-2_i-0002"]) == cli.SOME_FAILED
    printed = capsys.readouterr().out
    assert "web-2_i-0002: FAILED" in printed
    assert "web-1_i-0001: Succeeded" in printed
    assert "two_results" in printed.splitlines()[-1]


def test_the_summary_says_of_which_volumes_all_was_read_and_why() -> None:
    volumes = {
        "vol-1": {"method": "changed", "reason": ""},
        "vol-2": {"method": "compared", "reason": "the parent's snapshot was not kept"},
        "vol-3": {"bytes_read": 1},
    }
    now = datetime.now(UTC)
    resource = mayfly.ResourceResult("Succeeded", volumes=volumes, bytes={"read": 1, "stored": 1})
    result = mayfly.RunResult("Succeeded", "r-1", "ec2_backup", now, now, {"web-1_i-0001": resource})
    lines = cli.summary(result).splitlines()
    assert [line for line in lines if "vol-" in line] == ["  vol-2: compared, for the parent's snapshot was not kept"]


@pytest.mark.parametrize(
    ("given", "variables"),
    [
        (["mayfly_lease=300"], {"mayfly_lease": "300"}),
        (['{"mayfly_lease": 300}'], {"mayfly_lease": 300}),
        (["a=1", "a=2", '{"b": [1]}'], {"a": "2", "b": [1]}),
    ],
)
def test_variables(given: list[str], variables: dict[str, object]) -> None:
    assert cli.read_variables(given) == variables


def test_variables_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.yml"
    file.write_text("mayfly_repository:\n  bucket: b\n")
    assert cli.read_variables([f"@{file}"]) == {"mayfly_repository": {"bucket": "b"}}


@pytest.mark.parametrize("given", ["word", "{not json", "@/no/such/file", "a b=1", "=x"])
def test_variables_that_are_none(given: str) -> None:
    with pytest.raises(mayfly.BadInput):
        cli.read_variables([given])


def test_a_transfers_bytes_are_not_a_flood() -> None:
    lines: list[str] = []
    tell = cli.printer(lines.append)
    for done in range(1, 101):
        tell(mayfly.Event("bytes", f"{done}/100", "web", {"blocks_done": done, "blocks_total": 100}))
    assert [line.split()[-1] for line in lines] == ["1/100", "100/100"]


def test_every_operation_has_a_default_inventory() -> None:
    for operation in ("ec2_backup", "volume_restore", "repository_create", "worker_check", "worker_image"):
        assert cli.default_inventory(operation).exists(), operation
    assert cli.default_inventory("worker_image").name == "worker_images.yml"
