# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of faults: filters, exact counts across processes, and what the command line asks for."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mayfly_lab import fault_commands
from mayfly_lab.faults import KINDS, FaultError, Faults, Request
from mayfly_lab.paths import Paths

RUN = Request("ec2", "RunInstances", "111122223333", "us-east-1", ("c6a.large", "subnet-0a"))


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return Faults(tmp_path)


def test_without_a_fault_there_is_no_file(faults, tmp_path):
    assert faults.all() == ()
    assert faults.take("error", RUN) is None
    assert list(tmp_path.iterdir()) == []


def test_a_count_ends(faults):
    faults.add("error", times=2)
    assert [faults.take("error", RUN) is not None for _ in range(3)] == [True, True, False]
    assert str(faults.all()[0]) == "f1 error 0 left, met 2 times"


def test_without_a_count_it_has_no_end(faults):
    faults.add("error", code="Broken")
    assert all(faults.take("error", RUN) for _ in range(100))
    assert str(faults.all()[0]) == "f1 error code=Broken always, met"


@pytest.mark.parametrize(
    ("filters", "meets"),
    [
        ({}, True),
        ({"service": "ec2", "call": "RunInstances", "account": "111122223333", "region": "us-east-1"}, True),
        ({"service": "s3"}, False),
        ({"call": "Run*"}, True),
        ({"call": "Terminate*"}, False),
        ({"account": "444455556666"}, False),
        ({"region": "eu-*"}, False),
        ({"resource": "subnet-0a"}, True),
        ({"resource": "subnet-*"}, True),
        ({"resource": "subnet"}, False),
        ({"resource": "subnet-0b"}, False),
    ],
)
def test_filters(faults, filters, meets):
    faults.add("error", times=1, **filters)
    assert (faults.take("error", RUN) is not None) == meets
    assert faults.all()[0].left == int(not meets), "only an answer that it spoils counts"


def test_a_filter_of_resources_needs_one(faults):
    faults.add("error", resource="*")
    assert faults.take("error", Request("ec2", "RunInstances")) is None


def test_the_first_that_is_left_is_met_and_no_other_kind(faults):
    faults.add("slow", seconds=1)
    faults.add("error", times=1, code="One")
    faults.add("error", code="Two")
    assert [faults.take("error", RUN).code for _ in range(2)] == ["One", "Two"]


def test_what_is_cleared_is_gone_and_no_id_comes_twice(faults):
    made = [faults.add("error").identity for _ in range(3)]
    faults.clear(made[1])
    assert [fault.identity for fault in faults.all()] == [made[0], made[2]]
    with pytest.raises(FaultError, match=made[1]):
        faults.clear(made[1])
    faults.clear()
    assert faults.all() == ()
    assert faults.take("error", RUN) is None
    assert faults.add("error").identity not in made


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("no-such-kind", {}),
        ("error", {"seconds": 1}),
        ("slow", {}),
        ("error", {"times": 0}),
        ("throttle", {"zone": "us-east-1a"}),
    ],
)
def test_what_makes_no_sense_is_refused(faults, kind, options):
    with pytest.raises(FaultError):
        faults.add(kind, **options)
    assert faults.all() == ()


def test_a_count_is_exact_across_processes(tmp_path):
    faults = Faults(tmp_path)
    faults.add("error", times=150)
    program = (
        "import sys, pathlib; from mayfly_lab.faults import Faults, Request\n"
        "faults = Faults(pathlib.Path(sys.argv[1]))\n"
        "print(sum(faults.take('error', Request()) is not None for _ in range(80)))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    met = [int(each.communicate(timeout=60)[0]) for each in running]
    assert sum(met) == 150
    assert all(each > 0 for each in met)


def test_a_reader_sees_every_change_however_short_after_the_last(tmp_path):
    writer, reader = Faults(tmp_path), Faults(tmp_path)
    for number in range(300):
        fault = writer.add("error", code=str(number))
        assert [each.code for each in reader.all()] == [str(number)]
        writer.clear(fault.identity)
        assert reader.all() == ()


def test_a_service_reads_the_file_once(faults, tmp_path, monkeypatch):
    faults.add("error", service="s3")
    faults.all()
    monkeypatch.setattr(Path, "read_text", lambda *_: pytest.fail("it was read again"))
    assert faults.take("error", RUN) is None


@pytest.mark.bench
def test_asking_costs_little(faults, tmp_path):
    for label in ("no file", "one fault of another service"):
        began = time.perf_counter()
        for _ in range(10_000):
            faults.take("error", RUN)
        print(f"{label}: {(time.perf_counter() - began) * 100:.1f} µs a request")
        faults.add("error", service="s3")


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs `lab fault WORDS` for a lab that seems up."""
    monkeypatch.setattr(fault_commands.namespace, "first_process", lambda _: os.getpid())
    where = Paths(tmp_path, tmp_path)
    where.run.mkdir()
    parser = argparse.ArgumentParser()
    fault_commands.add_parser(parser.add_subparsers())

    def run(*words: str) -> int:
        return fault_commands.run(where, parser.parse_args(["fault", *words]))

    return run


WORDS = {
    "slow": ["--seconds", "1"],
    "slow-boot": ["--seconds", "1"],
    "short-sessions": ["--seconds", "1"],
    "not-found-yet": ["--kind", "volume", "--seconds", "5"],
    "stale-tags": ["--seconds", "5"],
    "group-busy": ["--seconds", "5"],
    "short-tokens": ["--seconds", "1"],
    "retrieval-time": ["--seconds", "1"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_asked_for_listed_and_cleared(command, capsys, kind):
    words = [*WORDS.get(kind, []), "--times", "3", "--service", "ec2", "--account", "1*", "--resource", "i-*"]
    assert command("add", kind, *words) == 0
    assert capsys.readouterr().out == "f1\n"
    assert command("list") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"f1 {kind} service=ec2 account=1* resource=i-* ")
    assert shown.endswith(" 3 left\n")
    assert command("clear", "f1") == 0
    assert command("list") == 0
    assert capsys.readouterr().out == ""
    assert command("clear", "f1") == 1
    assert "f1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["add", "no-such-kind"],
        ["add", "slow"],
        ["add", "slow", "--seconds", "-1"],
        ["add", "slow", "--seconds", "nan"],
        ["add", "throttle", "--rate", "0"],
        ["add", "error", "--type", "c6a.large"],
        ["add", "not-found-yet", "--kind", "bucket", "--seconds", "1"],
        ["kill-host"],
    ],
)
def test_words_that_make_no_sense_are_refused(command, words, capsys):
    with pytest.raises(SystemExit) as caught:
        command(*words)
    assert caught.value.code == 2
    assert capsys.readouterr().err


def test_a_count_below_one_is_refused(command, capsys):
    assert command("add", "error", "--times", "0") == 1
    assert "once" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("market", "meets"), [(None, [True, True]), ("spot", [False, True]), ("on-demand", [True, False])]
)
def test_launches_on_a_market(faults, market, meets):
    fault = faults.add("capacity", type="c6a.*", market=market)
    assert [fault.fits("c6a.large", "us-east-1a", each) for each in ("on-demand", "spot")] == meets
    assert not fault.fits("c5.large", "us-east-1a", "spot")
