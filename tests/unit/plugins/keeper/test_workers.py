# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of live workers: what was launched is ended, whatever AWS answers, and nothing new begins at the end."""

from __future__ import annotations

import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.workers import Worker, Workers

from tests.unit.plugins.keeper.fakes import (
    ACCOUNT,
    HOST,
    REGION,
    UNREACHABLE,
    Clients,
    Ec2,
    Script,
    refused,
    says,
    until,
    worker,
)

RUN = "the-run"
OTHER_ACCOUNT = "444455556666"
NOT_FOUND = refused("InvalidInstanceID.NotFound")
pytestmark = pytest.mark.usefixtures("quick")


class Connection:
    """A connection that takes note of its end."""

    def __init__(self) -> None:
        self.removed = False

    def remove(self) -> None:
        self.removed = True

    def run(self, command: str, stdin: bytes, timeout: float) -> bytes:
        return f"{command} {stdin.decode()} {timeout}".encode()


class Renewer:
    """A renewer that takes note of its beginning and end."""

    def __init__(self) -> None:
        self.started = self.stopped = False

    def start(self) -> None:
        self.started = True

    def stop(self) -> None:
        self.stopped = True


class Registry:
    """A registry over accounts that answer as told."""

    def __init__(self, folder: Path, **answers: Any) -> None:
        self.clients = Clients(lambda: Ec2(**answers))
        self.workers = Workers(self.clients, RUN, folder)
        self.connection = Connection()
        self.renewer = Renewer()

    @property
    def ec2(self) -> Ec2:
        ec2: Ec2 = self.clients.client(ACCOUNT, REGION)
        return ec2

    @property
    def ended(self) -> list[str]:
        return self.ec2.ids("terminate_instances")

    def add(self, one: Worker) -> None:
        self.workers.add(one, self.connection)  # type: ignore[arg-type]
        self.workers.renew_lease(one.host, self.renewer)  # type: ignore[arg-type]


ENDS = [
    ("at once", [says("shutting-down")], 1),
    ("being gone already", [says("terminated")], 1),
    ("in the end", [says("running"), says("running"), says("shutting-down")], 3),
    ("after throttling", [refused("RequestLimitExceeded", 503), says("shutting-down")], 2),
    ("after an error of AWS's own", [refused("InternalError", 500), says("shutting-down")], 2),
    ("after being out of reach", [UNREACHABLE, UNREACHABLE, says("shutting-down")], 3),
    ("once it is known everywhere", [NOT_FOUND, NOT_FOUND, says("shutting-down")], 3),
    ("though somebody has protected it", [refused("OperationNotPermitted"), says("shutting-down")], 2),
]


@pytest.mark.parametrize(("answers", "calls"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS])
def test_a_worker_is_ended(tmp_path: Path, answers: list[Any], calls: int) -> None:
    it = Registry(tmp_path, terminate_instances=Script(*answers))
    it.add(worker())
    assert it.renewer.started
    assert it.workers.terminate(HOST) is True
    assert it.ended == ["i-worker"] * calls
    assert (it.renewer.stopped, it.connection.removed) == (True, True)
    assert it.workers.get(HOST) is None
    assert it.workers.all() == []
    assert it.workers.terminate(HOST) is False
    assert it.ended == ["i-worker"] * calls


def test_an_old_worker_that_is_not_found_is_gone(tmp_path: Path) -> None:
    it = Registry(tmp_path, terminate_instances=NOT_FOUND)
    it.add(worker(age=100))
    assert it.workers.terminate(HOST) is True
    assert it.ended == ["i-worker"]
    assert it.workers.get(HOST) is None


def test_a_young_worker_that_is_not_found_is_looked_for_until_it_is_old(tmp_path: Path) -> None:
    """Young is less than 100 ms here."""
    it = Registry(tmp_path, terminate_instances=NOT_FOUND)
    it.add(worker())
    assert it.workers.terminate(HOST) is True
    assert len(it.ended) > 3


STAYS = [says("running"), refused("UnauthorizedOperation", 403), UNREACHABLE]


@pytest.mark.parametrize("answer", STAYS, ids=["running", "refused", "out of reach"])
def test_a_worker_that_does_not_end_stays_registered(tmp_path: Path, answer: Any) -> None:
    it = Registry(tmp_path, terminate_instances=answer)
    it.add(worker())
    with pytest.raises(KeeperError) as caught:
        it.workers.terminate(HOST, timeout=0.05)
    assert caught.value.code == "TerminationFailed"
    assert all(part in caught.value.message for part in ("i-worker", ACCOUNT, REGION))
    assert "lease" in caught.value.remedy
    assert it.workers.get(HOST) is not None
    assert not it.connection.removed
    # Its lease runs out from now on.
    assert it.renewer.stopped


def test_a_worker_that_did_not_end_is_ended_by_the_next_try(tmp_path: Path) -> None:
    it = Registry(tmp_path, terminate_instances=Script(*[says("running")] * 60, says("shutting-down")))
    it.add(worker())
    with pytest.raises(KeeperError):
        it.workers.terminate(HOST, timeout=0.02)
    assert it.workers.terminate(HOST, timeout=30) is True


class TestTheEndOfTheRun:
    def test_ends_all_workers_in_their_accounts(self, tmp_path: Path) -> None:
        it = Registry(tmp_path)
        for number in range(20):
            it.add(worker(f"web-{number}", f"i-{number}", ACCOUNT if number % 2 else OTHER_ACCOUNT))
        assert it.workers.terminate_all(30) == []
        assert it.workers.all() == []
        ended = {account: set(ec2.ids("terminate_instances")) for (account, _), ec2 in it.clients.made.items()}
        assert ended == {
            ACCOUNT: {f"i-{number}" for number in range(1, 20, 2)},
            OTHER_ACCOUNT: {f"i-{number}" for number in range(0, 20, 2)},
        }

    def test_ends_them_at_once(self, tmp_path: Path) -> None:
        """Each answer waits until all others were asked for."""
        together = threading.Barrier(10)

        def meet(**arguments: Any) -> Any:
            together.wait(30)
            return says("shutting-down")(**arguments)

        it = Registry(tmp_path, terminate_instances=meet)
        for number in range(10):
            it.add(worker(f"web-{number}", f"i-{number}"))
        assert it.workers.terminate_all(60) == []

    def test_ends_live_ones_before_launches_that_do_not_hear(self, tmp_path: Path) -> None:
        """However many there are: their RunInstances take their time, and the workers of some are registered."""
        it = Registry(tmp_path)
        live = [f"web-{number:03}" for number in range(20, 40)]
        deaf = [f"web-{number:03}" for number in range(20)]
        with ExitStack() as launches, ThreadPoolExecutor(1) as pool:
            for host in deaf:
                launches.enter_context(it.workers.launching(host))
                it.add(worker(host, f"i-of-{host}"))
            for host in live:
                it.add(worker(host, f"i-of-{host}"))
            ending = pool.submit(it.workers.terminate_all, 60)
            until(lambda: not it.workers.all())
            assert set(it.ended) == {f"i-of-{host}" for host in [*deaf, *live]}
            assert not ending.done()
            it.add(worker(deaf[0], "i-late"))
            launches.close()
            assert ending.result(30) == []
        assert it.ended[-1] == "i-late"

    def test_tells_of_each_that_does_not_end_and_ends_the_others(self, tmp_path: Path) -> None:
        def ends(*, InstanceIds: list[str]) -> Any:
            if InstanceIds == ["i-1"]:
                raise refused("UnauthorizedOperation", 403)
            if InstanceIds == ["i-2"]:
                raise ZeroDivisionError("a bug")
            return says("shutting-down")(InstanceIds=InstanceIds)

        it = Registry(tmp_path, terminate_instances=ends)
        for number in range(5):
            it.add(worker(f"web-{number}", f"i-{number}"))
        errors = it.workers.terminate_all(0.1)
        assert sorted(each.code for each in errors) == ["InternalError", "TerminationFailed"]
        assert {each.instance_id for each in it.workers.all()} == {"i-1", "i-2"}

    def test_refuses_new_launches(self, tmp_path: Path) -> None:
        it = Registry(tmp_path)
        it.workers.terminate_all(5)
        with pytest.raises(KeeperError) as caught, it.workers.launching(HOST):
            pytest.fail("a launch has begun")
        assert caught.value.code == "RunEnding"

    def test_stops_a_launch_under_way_and_ends_what_it_has_launched(self, tmp_path: Path) -> None:
        it = Registry(tmp_path)
        with Launch(it) as launch:
            assert it.workers.terminate_all(30) == []
        assert launch.code == "Canceled"
        assert it.ended == ["i-worker"]
        assert it.workers.all() == []


class Launch:
    """A launch in a thread of its own, whose worker is registered when it is told to stop: AWS had launched it."""

    def __init__(self, it: Registry, *, comes_through: bool = True) -> None:
        self.code = ""
        self.comes_through = comes_through
        self.began = threading.Event()
        self.thread = threading.Thread(target=self._launch, args=(it,))

    def _launch(self, it: Registry) -> None:
        try:
            with it.workers.launching(HOST) as launching:
                self.began.set()
                try:
                    launching.pause(30)
                finally:
                    if self.comes_through:
                        it.add(worker())
        except KeeperError as error:
            self.code = error.code

    def __enter__(self) -> Launch:
        self.thread.start()
        assert self.began.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.join(30)
        assert not self.thread.is_alive()


class TestALaunch:
    def test_is_counted_for_each_host(self, tmp_path: Path) -> None:
        it = Registry(tmp_path)
        attempts = []
        for host in ("web-1", "web-1", "web-2", "web-1"):
            with it.workers.launching(host) as launching:
                attempts.append((launching.host, launching.attempt))
        assert attempts == [("web-1", 1), ("web-1", 2), ("web-2", 1), ("web-1", 3)]

    def test_may_be_under_way_once_for_a_host(self, tmp_path: Path) -> None:
        it = Registry(tmp_path)
        with it.workers.launching(HOST):
            with pytest.raises(KeeperError) as caught, it.workers.launching(HOST):
                pytest.fail("a second launch has begun")
            assert caught.value.code == "LaunchUnderWay"
            with it.workers.launching("another-host") as launching:
                launching.check()

    def test_may_begin_again_after_a_failure(self, tmp_path: Path) -> None:
        it = Registry(tmp_path)
        with pytest.raises(ZeroDivisionError), it.workers.launching(HOST) as first:
            raise ZeroDivisionError
        assert first.ended.is_set()
        with it.workers.launching(HOST) as second:
            assert second.attempt == 2

    def test_is_stopped_by_the_end_of_its_host_and_what_it_has_launched_is_ended(self, tmp_path: Path) -> None:
        it = Registry(tmp_path)
        with Launch(it) as launch:
            assert it.workers.terminate(HOST) is True
        assert launch.code == "Canceled"
        assert it.ended == ["i-worker"]
        assert it.workers.all() == []

    def test_is_ended_before_it_hears_of_its_end(self, tmp_path: Path) -> None:
        """What is registered waits for nobody; what comes through after that is ended as well."""
        it = Registry(tmp_path)
        with it.workers.launching(HOST) as launching, ThreadPoolExecutor(1) as pool:
            it.add(worker())
            ending = pool.submit(it.workers.terminate, HOST)
            until(lambda: it.workers.get(HOST) is None)
            assert it.ended == ["i-worker"]
            assert not ending.done()
            with pytest.raises(KeeperError) as caught:
                it.workers.renew_lease(HOST, Renewer())  # type: ignore[arg-type]
            assert caught.value.code == "NoWorker"
            it.add(worker(instance_id="i-late"))
            launching.ended.set()
            assert ending.result(30) is True
        assert it.ended == ["i-worker", "i-late"]

    def test_that_had_launched_nothing_was_something_all_the_same(self, tmp_path: Path) -> None:
        it = Registry(tmp_path)
        with Launch(it, comes_through=False) as launch:
            assert it.workers.terminate(HOST) is True
        assert launch.code == "Canceled"
        assert it.ended == []

    def test_pauses_no_longer_than_it_is_told(self, tmp_path: Path) -> None:
        with Registry(tmp_path).workers.launching(HOST) as launching:
            began = time.monotonic()
            launching.pause(0.05)
            assert 0.045 <= time.monotonic() - began < 5
            launching.check()

    def test_goes_on_with_another_candidate_after_one_was_discarded(self, tmp_path: Path) -> None:
        it = Registry(tmp_path)
        with it.workers.launching(HOST) as launching:
            key = it.workers.host_key(HOST)
            it.add(worker())
            assert it.workers.discard(HOST) is True
            assert it.workers.discard(HOST) is False
            launching.check()
            # The user data of the launch holds it.
            assert it.workers.host_key(HOST) is key
        assert it.ended == ["i-worker"]


@pytest.fixture
def workers(tmp_path: Path) -> Workers:
    """A registry in an empty folder."""
    return Workers(Clients(), RUN, tmp_path)


class TestKeys:
    def test_there_is_one_for_the_user_that_nobody_else_can_read(self, workers: Workers) -> None:
        key = workers.user_key()
        assert workers.user_key() is key
        assert workers.key_file.read_text() == key.private
        assert stat.S_IMODE(workers.key_file.stat().st_mode) == 0o600
        assert key.public.startswith("ssh-ed25519 ")

    def test_a_host_keeps_its_key_until_its_worker_is_gone(self, workers: Workers) -> None:
        first = workers.host_key(HOST)
        assert workers.host_key(HOST) is first
        assert workers.host_key("another-host").private != first.private
        workers.add(worker(), Connection())  # type: ignore[arg-type]
        workers.terminate(HOST)
        assert workers.host_key(HOST).private != first.private

    def test_are_removed_in_the_end(self, workers: Workers) -> None:
        workers.user_key()
        workers.close()
        assert list(workers.folder.iterdir()) == []
        workers.close()


def test_a_host_without_a_worker_cannot_be_reached(workers: Workers) -> None:
    for reach in (lambda: workers.connection(HOST), lambda: workers.run(HOST, "true")):
        with pytest.raises(KeeperError) as caught:
            reach()
        assert caught.value.code == "NoWorker"
        assert HOST in caught.value.message


def test_a_command_goes_to_the_hosts_own_worker(workers: Workers) -> None:
    workers.add(worker(), Connection())  # type: ignore[arg-type]
    assert workers.run(HOST, "cat", b"x", timeout=7) == b"cat x 7"
    assert worker().as_dict()["instance_id"] == "i-worker"
