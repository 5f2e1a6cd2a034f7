# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from mayfly_lab.faults import FILTERS, KINDS

from tests.faults import cases, promises
from tests.faults.moments import BACKUP_MOMENTS, MOMENTS, RESTORE_MOMENTS, holds, in_stage


def test_a_seed_gives_the_same_cases_again() -> None:
    assert cases.chosen(7, 200) == cases.chosen(7, 200)
    assert cases.random_kills(7, 200) != cases.random_kills(8, 200)


def test_more_random_kills_begin_like_fewer() -> None:
    assert cases.random_kills(7, 200)[:20] == cases.random_kills(7, 20)


def test_random_kills_are_of_every_kind_and_within_a_run() -> None:
    made = cases.random_kills(7, 200)
    assert {case.action for case in made} == set(cases.KILLS)
    assert all(case.seconds is not None and 0 < case.seconds <= cases.RUN_SECONDS for case in made)


def test_the_matrix_has_every_kill_at_every_moment() -> None:
    made = {(case.action, case.moment) for case in cases.matrix()}
    backups = set(BACKUP_MOMENTS)
    assert {(action, moment) for action in cases.KILLS for moment in backups} <= made
    assert {(action, moment) for action in cases.RESTORE_KILLS for moment in RESTORE_MOMENTS} <= made


def test_the_matrix_does_everything_that_can_be_done() -> None:
    assert {case.action for case in cases.matrix()} == {"", *cases.KILLS, *cases.GIVEN_UP, *cases.HARMS}


def test_a_restore_is_hurt_on_both_sides_of_its_hand_over() -> None:
    made = [case for case in cases.matrix() if case.moment == "a restore's hand-over"]
    assert {(case.action, case.late) for case in made} == {
        (action, late) for action in cases.RESTORE_KILLS for late in (True, False)
    }
    assert all(case.restores for case in made)


def test_only_restores_are_hurt_at_moments_of_restores() -> None:
    assert all(case.restores == (case.moment in RESTORE_MOMENTS) for case in cases.matrix())


def test_names_are_single_and_every_case_has_a_promise() -> None:
    made = cases.chosen(7, 200)
    assert len({case.name for case in made}) == len(made)
    assert {case.promise for case in made} <= set(promises.CLEAN_SECONDS)


def test_every_fault_of_the_lab_can_be_asked_for() -> None:
    faults = [(each.kind, dict(each.options)) for case in cases.matrix() for each in case.faults]
    faults += [(kind, options) for moment in MOMENTS for kind, _, options in holds(moment, late=True)]
    for kind, options in faults:
        assert not set(options) - {*FILTERS, *KINDS[kind].options}, kind
        assert set(KINDS[kind].required) <= set(options), kind


def test_a_moment_is_held_before_or_after_what_it_waits_for() -> None:
    assert "before" not in holds("snapshot", late=True)[0][2]
    assert holds("snapshot", late=False)[0][2]["before"] is True
    for moment in ("snapshot", "commit", "terminate"):
        assert {case.late for case in cases.matrix() if case.moment == moment and case.action} == {True, False}
    assert holds("launch before the answer", late=True)[0][2]["before"] is True


@pytest.mark.parametrize(
    ("only", "found"),
    [
        ("runner CANCEL, boot", 1),
        ("*every process, *", 13),
        ("runner cancel, boot,runner cancel, place", 2),
        ("nothing", 0),
    ],
)
def test_some_cases_are_chosen_by_their_names(only: str, found: int) -> None:
    assert len(cases.chosen(7, 0, only=only)) == found


def test_the_fast_part_is_a_part() -> None:
    fast = cases.chosen(7, 200, fast=True)
    assert {case.name for case in fast if case.phase == "matrix"} == set(cases.FAST)
    assert 0 < len(fast) < 10


def test_a_stage_that_has_ended_is_no_moment() -> None:
    def report(end: str | None) -> dict[str, object]:
        return {"resources": {"web": {"stages": [{"name": "Configuring", "end": end}]}}}

    assert in_stage(report(None), "Configuring")
    assert not in_stage(report("2026-01-01T00:00:00+00:00"), "Configuring")
    assert not in_stage(report(None), "Transferring")
    assert not in_stage(None, "Configuring")
    assert not in_stage({"resources": {"web": {"stages": []}}}, "Configuring")
