# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run has made beside its workers: kept account of, marked as alive, handed over, and removed at the end."""

from __future__ import annotations

import re
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import temporaries
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.journal import Journal, read_journal
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.temporaries import Marker, Temporaries
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Account
from botocore.exceptions import ClientError

from tests.unit.plugins.keeper.fakes import ACCOUNT, REGION, UNREACHABLE, Clients, Ec2, Script, refused, until

OTHER_ACCOUNT = "444455556666"
pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """The run's journal."""
    return Journal(tmp_path)


@pytest.fixture
def things(journal: Journal) -> Temporaries:
    """The temporary things of a run."""
    return Temporaries(journal)


class TestTheAccount:
    def test_holds_what_was_made_until_it_is_gone(self, things: Temporaries) -> None:
        things.add(ACCOUNT, REGION, "vol-1", "volume")
        things.add(ACCOUNT, REGION, "vol-1", "volume")
        things.add(OTHER_ACCOUNT, REGION, "snap-1", "snapshot")
        assert [(each.kind, each.id, each.account) for each in things.all()] == [
            ("volume", "vol-1", ACCOUNT),
            ("snapshot", "snap-1", OTHER_ACCOUNT),
        ]
        things.forget("vol-1")
        things.forget("vol-that-never-was")
        assert [each.id for each in things.all()] == ["snap-1"]

    def test_knows_since_when_a_thing_is_there(self, things: Temporaries) -> None:
        """Being told of it again, as at every poll of a transfer, does not make it young again."""
        before = datetime.now(UTC)
        things.add(ACCOUNT, REGION, "vol-1", "volume")
        first = things.get("vol-1")
        assert first is not None
        assert first.created is not None
        assert before <= first.created <= datetime.now(UTC)
        things.add(ACCOUNT, REGION, "vol-1", "volume")
        assert things.get("vol-1") is first
        assert things.get("vol-2") is None

    def test_notes_each_place_once(
        self, things: Temporaries, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        noted: list[tuple[str, str]] = []
        monkeypatch.setattr(journal, "note_place", noted.append)
        for place in ((OTHER_ACCOUNT, REGION), (ACCOUNT, REGION), (OTHER_ACCOUNT, REGION)):
            things.watch(*place)
        assert noted == [(OTHER_ACCOUNT, REGION), (ACCOUNT, REGION)]
        assert things.places() == [(ACCOUNT, REGION), (OTHER_ACCOUNT, REGION)]

    def test_ends_with_the_handing_over(self, things: Temporaries) -> None:
        for name in ("vol-1", "vol-2"):
            things.add(ACCOUNT, REGION, name, "volume")
        ec2 = Ec2()
        things.hand_over(ec2, ["vol-1"])
        assert [each.id for each in things.all()] == ["vol-2"]
        assert things.was_handed_over("vol-1")
        assert not things.was_handed_over("vol-2")
        [(call, asked)] = ec2.asked
        assert (call, asked["Resources"]) == ("delete_tags", ["vol-1"])
        assert {tag["Key"] for tag in asked["Tags"]} == {"mayfly:temporary", "mayfly:lease-ends"}
        # A describe that was answered late must not bring it back.
        things.add(ACCOUNT, REGION, "vol-1", "volume")
        assert [each.id for each in things.all()] == ["vol-2"]

    def test_lets_go_before_aws_is_asked(self, things: Temporaries, tmp_path: Path) -> None:
        """And another keeper would know of it, if this one died now."""
        seen = []

        def answer(**_asked: Any) -> Any:
            after = Temporaries(Journal(tmp_path))
            seen.append((things.was_handed_over("vol-1"), things.all(), after.was_handed_over("vol-1")))
            return {}

        things.add(ACCOUNT, REGION, "vol-1", "volume")
        things.hand_over(Ec2(delete_tags=answer), ["vol-1"])
        assert seen == [(True, [], True)]

    def test_keeps_what_could_not_be_handed_over(self, things: Temporaries, tmp_path: Path) -> None:
        things.add(ACCOUNT, REGION, "vol-1", "volume")
        with pytest.raises(ClientError, match="UnauthorizedOperation"):
            things.hand_over(Ec2(delete_tags=refused("UnauthorizedOperation", 403)), ["vol-1", "vol-2"])
        assert not things.was_handed_over("vol-1")
        assert not Temporaries(Journal(tmp_path)).was_handed_over("vol-1")
        assert [each.id for each in things.all()] == ["vol-1"]

    def test_waits_until_what_is_handed_over_is_known(self, things: Temporaries) -> None:
        ec2 = Ec2(delete_tags=Script(refused("InvalidVolume.NotFound"), {}))
        things.hand_over(ec2, ["vol-1"])
        assert len(ec2.asked) == 2


class TestTheMarker:
    def test_tags_with_the_leases_end_in_utc(self) -> None:
        tag = Marker(Clients().client, list).tag()
        [ends] = tag.values()
        assert list(tag) == ["mayfly:lease-ends"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", ends)
        left = datetime.fromisoformat(ends) - datetime.now(UTC)
        # The lease, and the time until it is written again.
        assert timedelta(seconds=600 + 115) <= left <= timedelta(seconds=600 + 120)

    def test_takes_the_longest_lease(self) -> None:
        marker = Marker(Clients().client, list)
        for lease in (60, 7200, 900):
            marker.use_lease(lease)
        [ends] = marker.tag().values()
        assert datetime.fromisoformat(ends) - datetime.now(UTC) > timedelta(seconds=7200 + 110)

    def test_marks_everything_with_one_call_for_a_place(self) -> None:
        clients = Clients()
        made = [(ACCOUNT, REGION, "i-1"), (OTHER_ACCOUNT, REGION, "vol-2"), (ACCOUNT, REGION, "snap-3")]
        marker = Marker(clients.client, lambda: made)
        marker.mark()
        [(call, asked)] = clients.made[ACCOUNT, REGION].asked
        assert (call, sorted(asked["Resources"])) == ("create_tags", ["i-1", "snap-3"])
        [tag] = asked["Tags"]
        assert tag["Key"] == "mayfly:lease-ends"
        assert datetime.fromisoformat(tag["Value"]) > datetime.now(UTC)
        [(call, asked)] = clients.made[OTHER_ACCOUNT, REGION].asked
        assert (call, asked["Resources"]) == ("create_tags", ["vol-2"])

    def test_marks_no_more_at_once_than_a_call_takes(self) -> None:
        clients = Clients()
        Marker(clients.client, lambda: [(ACCOUNT, REGION, f"vol-{n}") for n in range(450)]).mark()
        sizes = [len(asked["Resources"]) for _, asked in clients.made[ACCOUNT, REGION].asked]
        assert sizes == [200, 200, 50]

    def test_one_thing_that_is_gone_does_not_keep_the_others_from_their_mark(self) -> None:
        def answer(*, Resources: list[str], Tags: Any) -> Any:
            if "vol-5" in Resources:
                raise refused("InvalidVolume.NotFound")
            marked.extend(Resources)
            return {}

        marked: list[str] = []
        clients = Clients(lambda: Ec2(create_tags=answer))
        Marker(clients.client, lambda: [(ACCOUNT, REGION, f"vol-{n}") for n in range(20)]).mark()
        assert sorted(marked) == sorted(f"vol-{n}" for n in range(20) if n != 5)

    def test_does_not_look_for_one_that_is_gone_when_aws_refuses_them_all(self) -> None:
        clients = Clients(lambda: Ec2(create_tags=refused("UnauthorizedOperation", 403)))
        Marker(clients.client, lambda: [(ACCOUNT, REGION, f"vol-{n}") for n in range(20)]).mark()
        assert len(clients.made[ACCOUNT, REGION].asked) == 1

    @pytest.mark.parametrize("error", [refused("UnauthorizedOperation", 403), UNREACHABLE, KeeperError("NoRole", "x")])
    def test_one_account_that_fails_does_not_keep_the_others_from_theirs(self, error: Exception) -> None:
        clients = Clients()

        def client(account: str, region: str, service: str) -> Any:
            if account == ACCOUNT:
                return Ec2(create_tags=error)
            return clients.client(account, region, service)

        Marker(client, lambda: [(ACCOUNT, REGION, "vol-1"), (OTHER_ACCOUNT, REGION, "vol-2")]).mark()
        assert clients.made[OTHER_ACCOUNT, REGION].ids("create_tags") == ["vol-2"]

    def test_marks_again_and_again_whatever_happens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(temporaries, "_MARK_SECONDS", 0.02)
        monkeypatch.setattr(temporaries, "_LOOK_SECONDS", 0.01)
        calls = []

        def made() -> list[tuple[str, str, str]]:
            calls.append(time.monotonic())
            if len(calls) == 2:
                raise ZeroDivisionError("a bug")
            return []

        marker = Marker(Clients().client, made)
        marker.start()
        until(lambda: len(calls) >= 4)
        marker.stop()
        until(lambda: not [each for each in threading.enumerate() if each.name == "lease-tags"])


class TestTheJournal:
    def test_tells_another_keeper_where_to_look_and_as_whom(self, tmp_path: Path) -> None:
        backup = Account.named("backup", id=ACCOUNT, role_arn="arn:x", external_id="external", worker_role_arn="arn:y")
        production = Account.named("production", id=OTHER_ACCOUNT)
        journal = Journal(tmp_path)
        journal.note_accounts([backup])
        journal.note_accounts([production])
        for place in ((OTHER_ACCOUNT, REGION), (ACCOUNT, REGION), (OTHER_ACCOUNT, REGION)):
            journal.note_place(place)
        journal.note_accounts([])
        assert read_journal(tmp_path) == ([backup, production], [(ACCOUNT, REGION), (OTHER_ACCOUNT, REGION)])

    def test_keeps_what_was_handed_over_when_another_keeper_writes_it(self, tmp_path: Path) -> None:
        Journal(tmp_path).note_handed_over(["vol-1", "snap-1"])
        Journal(tmp_path).note_place((ACCOUNT, REGION))
        assert Journal(tmp_path).handed_over() == {"vol-1", "snap-1"}
        assert read_journal(tmp_path) == ([], [(ACCOUNT, REGION)])

    def test_can_be_read_by_this_user_alone(self, tmp_path: Path) -> None:
        Journal(tmp_path).note_place((ACCOUNT, REGION))
        [written] = tmp_path.iterdir()
        assert written.stat().st_mode & 0o777 == 0o600

    def test_may_not_be_there(self, tmp_path: Path) -> None:
        assert read_journal(tmp_path) == ([], [])
