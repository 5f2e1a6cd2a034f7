# SPDX-License-Identifier: GPL-3.0-or-later
"""``run`` through a real ansible-runner: results, bad input, cancel, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import ansible_runner
import pytest

import mayfly
from mayfly import execution, playing, settling, stopping
from mayfly.playing import Order, Output
from mayfly.progress import Watch


@pytest.fixture(autouse=True)
def own_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder in memory that no other run on this machine uses."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield


def left_in_memory() -> set[Path]:
    return set(Path(os.environ["XDG_RUNTIME_DIR"]).glob("mayfly-run-*"))


def test_every_host_has_a_result(small_project: Path) -> None:
    before = left_in_memory()
    events: list[mayfly.Event] = []
    result = mayfly.run(
        "two_results",
        inventory=small_project / "inventory.yml",
        extra_vars={"failing_host": "web-2_i-0002"},
        on_event=events.append,
    )
    assert result.status == "Failed"
    assert {host: resource.status for host, resource in result.resources.items()} == {
        "web-1_i-0001": "Succeeded",
        "web-2_i-0002": "Failed",
    }
    (failure,) = result.resources["web-2_i-0002"].errors
    assert "The disk of web-2_i-0002 is full." in failure.message
    assert [event.host for event in events if event.kind == "failed"] == ["web-2_i-0002"]
    assert left_in_memory() <= before


def test_limit_and_check(small_project: Path) -> None:
    result = mayfly.run("two_results", inventory=str(small_project / "inventory.yml"), limit="web-1_i-0001", check=True)
    assert result.succeeded
    assert list(result.resources) == ["web-1_i-0001"]


def test_the_keepers_report_is_the_result(small_project: Path) -> None:
    report = {
        "run": "r",
        "ended": "2026-11-24T01:31:00+00:00",
        "resources": {
            "web-1_i-0001": {
                "status": "Succeeded",
                "resource": {"id": "i-0001"},
                "stages": [
                    {"name": "Launched", "start": "2026-11-24T01:30:00+00:00", "end": "2026-11-24T01:30:05+00:00"}
                ],
                "worker": {"instance_id": "i-0aaa", "type": "c6a.large"},
                "volumes": {
                    "vol-1": {"blocks_total": 4, "blocks_done": 4, "bytes_read": 2097152, "bytes_stored": 9},
                    "vol-2": {"blocks_total": 2, "blocks_done": 2, "bytes_read": 1048576, "bytes_stored": 1},
                },
                "restore_point": "20261124T013000Z-run",
            },
            "web-2_i-0002": {
                "status": "Failed",
                "errors": [{"code": "NoNetwork", "message": "No network.", "remedy": "Set mayfly_networks."}],
            },
        },
    }
    events: list[mayfly.Event] = []
    result = mayfly.run(
        "reported",
        inventory=small_project / "inventory.yml",
        extra_vars={"report": report},
        on_event=events.append,
    )
    first, second = result.resources.values()
    assert first.bytes == {"read": 3145728, "stored": 10}
    assert first.stages[0].seconds == 5.0
    assert first.restore_point == "20261124T013000Z-run"
    assert second.errors == (mayfly.Failure("NoNetwork", "No network.", "Set mayfly_networks."),)
    assert [(event.kind, event.host) for event in events if event.kind in ("stage", "bytes")] == [
        ("stage", "web-1_i-0001"),
        ("bytes", "web-1_i-0001"),
    ]


def test_what_the_keeper_could_not_end_fails_the_run(small_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = {"code": "DeletionFailed", "message": "The temporary volume vol-1 was not removed.", "remedy": "Reap."}
    entry = {"status": "Succeeded"}
    report = {"run": "r", "ended": "2026-11-24T01:31:00+00:00", "errors": [left], "status": "Failed"}
    monkeypatch.setattr(settling, "_reap", lambda _order, _stop: None)
    result = mayfly.run(
        "reported",
        inventory=small_project / "inventory.yml",
        extra_vars={"report": {**report, "resources": {"web-1_i-0001": entry, "web-2_i-0002": entry}}},
    )
    assert {resource.status for resource in result.resources.values()} == {"Succeeded"}
    assert result.status == "Failed"
    assert result.errors == (mayfly.Failure(**left),)


@pytest.mark.parametrize("told", [True, False])
def test_an_exit_code_whose_reason_is_known_is_no_second_error(small_project: Path, told: bool) -> None:
    order = Order(operation="x", run="the-run", sources=(), limit=None, check=False, variables={})
    left = [mayfly.Failure("DeletionFailed", "The temporary volume vol-1 was not removed.")] * told
    folder = small_project / "runs/the-run"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text('{"resources": {"web-1_i-0001": {"status": "Succeeded"}}}')
    watch = Watch(folder, lambda _event: None)
    output = Output(1, "[ERROR]: What is left is not known.")
    result = execution._result(order, datetime.now(UTC), watch, canceled=None, output=output, failures=list(left))
    assert result.status == "Failed"
    assert [failure.code for failure in result.errors] == (["DeletionFailed"] if told else ["PlaybookFailed"])


@pytest.mark.parametrize(
    ("operation", "inventory", "limit", "says"),
    [
        ("no_such", "inventory.yml", None, "no operation 'no_such'"),
        ("../two_results", "inventory.yml", None, "no operation"),
        ("two_results", "missing.yml", None, "missing.yml' does not exist"),
        ("two_results", "torn.yml", None, "torn.yml"),
        ("two_results", "none.yml", None, "no resource for this operation"),
        ("two_results", "inventory.yml", "web-3*", "limit"),
        ("broken", "inventory.yml", None, "no_such_module"),
    ],
)
def test_bad_input(small_project: Path, operation: str, inventory: str, limit: str | None, says: str) -> None:
    (small_project / "torn.yml").write_text("ec2: [")
    (small_project / "none.yml").write_text("other:\n  hosts: {}\n")
    with pytest.raises(mayfly.BadInput) as caught:
        mayfly.run(operation, inventory=small_project / inventory, limit=limit)
    assert says in str(caught.value)


def test_time_out_cancels(small_project: Path) -> None:
    began = time.monotonic()
    result = mayfly.run("long", inventory=small_project / "inventory.yml", timeout=3)
    assert result.status == "Canceled"
    assert "time-out of 3 s" in str(result.errors[0])
    assert {resource.status for resource in result.resources.values()} <= {"Canceled"}
    assert time.monotonic() - began < 3 + stopping.GRACE_SECONDS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_cancels_and_handlers_are_back(small_project: Path, number: signal.Signals) -> None:
    def own(_number: int, _frame: object) -> None:
        raise AssertionError

    before = signal.signal(number, own)
    try:
        timer = threading.Timer(3, os.kill, (os.getpid(), number))
        timer.start()
        result = mayfly.run("long", inventory=small_project / "inventory.yml", timeout=60)
        assert result.status == "Canceled"
        assert number.name in str(result.errors[0])
        assert signal.getsignal(number) is own
    finally:
        signal.signal(number, before)


def test_what_on_event_raises_comes_back(small_project: Path) -> None:
    before = left_in_memory()

    def refuse(event: mayfly.Event) -> None:
        raise KeyError(event.kind)

    with pytest.raises(KeyError):
        mayfly.run("long", inventory=small_project / "inventory.yml", on_event=refuse, timeout=60)
    assert left_in_memory() <= before


def playbooks_of(folder: Path) -> list[int]:
    """Children of this process that play for ``folder``; what they were doing may outlive them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() and f"MAYFLY_RUNS_DIR={folder}/runs".encode() in environment:
            found.append(int(process.name))
    return found


def leave(_event: mayfly.Event) -> None:
    sys.exit(7)


def leave_at_the_end(event: mayfly.Event) -> None:
    if "died" in event.text:
        sys.exit(7)


def interrupt(_event: mayfly.Event) -> None:
    raise KeyboardInterrupt


def full(_watch: Watch, *_more: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("on_event", "broken", "raised"),
    [
        (leave, None, SystemExit),
        (interrupt, None, KeyboardInterrupt),
        (None, "ansible", OSError),
        (None, "report", OSError),
    ],
)
def test_wait_returns_when_the_playbook_has_ended_whatever_was_raised(
    small_project: Path,
    monkeypatch: pytest.MonkeyPatch,
    on_event: Callable[[mayfly.Event], None] | None,
    broken: str | None,
    raised: type[BaseException],
) -> None:
    before, settled = left_in_memory(), []
    monkeypatch.setattr(execution, "settle", lambda order, *_more: settled.append(order.run) or [])
    if broken:
        monkeypatch.setattr(Watch, broken, full)
    run = mayfly.start("long", inventory=small_project / "inventory.yml", on_event=on_event, timeout=60)
    with pytest.raises(raised):
        run.wait(60)
    assert playbooks_of(small_project) == []
    assert settled == [run.id]
    assert left_in_memory() <= before


def test_what_on_event_raises_at_the_end_does_not_cut_the_end_short(
    small_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settle(order: Order, watch: Watch, tell: Callable[[mayfly.Event], None], stop: stopping.Stop) -> list[object]:
        tell(mayfly.Event("warning", "The keeper died."))
        settled.append(order.run)
        return []

    settled: list[str] = []
    monkeypatch.setattr(execution, "settle", settle)
    run = mayfly.start("two_results", inventory=small_project / "inventory.yml", on_event=leave_at_the_end)
    with pytest.raises(SystemExit):
        run.wait(60)
    assert settled == [run.id]


@pytest.mark.parametrize("spoken", [True, False], ids=["with events", "before any"])
def test_an_error_of_ansible_runner_itself_ends_the_playbook(
    small_project: Path, monkeypatch: pytest.MonkeyPatch, spoken: bool
) -> None:
    seen: list[int] = []

    def broken(stop: stopping.Stop, process: int | None) -> bool:
        if bool(process) is spoken and playbooks_of(small_project):
            seen.extend(playbooks_of(small_project))
            raise ValueError("it is broken")
        return False

    monkeypatch.setattr(stopping.Stop, "kill_now", broken)
    if not spoken:
        monkeypatch.setattr(playing.Watch, "ansible", lambda watch, event: None)
    with pytest.raises(ansible_runner.exceptions.AnsibleRunnerException, match="broken"):
        mayfly.run("long", inventory=small_project / "inventory.yml")
    assert seen
    assert playbooks_of(small_project) == []


def test_a_child_that_does_not_end_gently_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "GRACE_SECONDS", 0.3)
    stubborn = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=True, stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        stopping.end(child.pid)
        assert child.wait(1) == -signal.SIGKILL
    stopping.end(child.pid)
    stopping.end(None)


def test_from_a_thread(small_project: Path) -> None:
    results: list[mayfly.RunResult] = []
    thread = threading.Thread(
        target=lambda: results.append(mayfly.run("two_results", inventory=small_project / "inventory.yml"))
    )
    thread.start()
    thread.join(60)
    assert results[0].succeeded


def test_secrets_stay_in_memory(small_project: Path) -> None:
    secret = "s3cr3t-passphrase"
    seen: list[str] = []

    def look(_event: mayfly.Event) -> None:
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.append(process.read_bytes().decode(errors="replace"))
            except OSError:
                continue
        modes = {path.stat().st_mode & 0o777 for path in left_in_memory()}
        assert modes == {0o700}

    mayfly.run(
        "two_results", inventory=small_project / "inventory.yml", extra_vars={"passphrase": secret}, on_event=look
    )
    assert seen
    assert not any(secret in line for line in seen)
    files = [path for path in small_project.rglob("*") if path.is_file()]
    assert not any(secret.encode() in path.read_bytes() for path in files)


def test_a_run_is_canceled_from_another_thread(small_project: Path) -> None:
    before = left_in_memory()
    with mayfly.start("long", inventory=small_project / "inventory.yml") as run:
        assert run.status == "Running"
        with pytest.raises(TimeoutError, match=run.id):
            run.wait(0.1)
        threading.Timer(2, run.cancel, ("enough",)).start()
        result = run.wait(60)
    assert run.status == result.status == "Canceled"
    assert "enough" in str(result.errors[0])
    assert left_in_memory() <= before


def test_a_block_that_fails_cancels_its_run(small_project: Path) -> None:
    began = time.monotonic()
    with (
        pytest.raises(KeyError, match="mine"),
        mayfly.start("long", inventory=small_project / "inventory.yml") as run,
    ):
        raise KeyError("mine")
    assert run.status == "Canceled"
    assert time.monotonic() - began < 60


def test_what_is_found_wrong_later_is_raised_by_wait(small_project: Path) -> None:
    run = mayfly.start("two_results", inventory=small_project / "inventory.yml", limit="web-3*")
    with pytest.raises(mayfly.BadInput, match="limit"):
        run.wait(60)
    assert run.status == "BadInput"
