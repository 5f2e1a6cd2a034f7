# SPDX-License-Identifier: GPL-3.0-or-later
"""What the control plane learns from the supervisor, and how it waits for hosts."""

from __future__ import annotations

import queue
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mayfly_lab import rpc
from mayfly_lab.control import lifecycle
from mayfly_lab.control.state import Lab
from mayfly_lab.paths import Paths
from moto.ec2.exceptions import EC2ClientError


def test_an_event_that_makes_trouble_does_not_keep_the_next_ones_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(tmp_path, tmp_path)
    paths.run.mkdir()
    monkeypatch.setattr(Lab, "paths", paths, raising=False)
    monkeypatch.setattr(lifecycle, "_PAUSE_SECONDS", 0.01)
    heard: queue.Queue[str] = queue.Queue()

    def ended(instance_id: str) -> None:
        heard.put(instance_id)
        if instance_id == "i-unknown":
            raise KeyError(instance_id)

    monkeypatch.setattr(lifecycle, "_ended", ended)
    told = [{"n": n, "event": "exited", "instance_id": name} for n, name in enumerate(("i-unknown", "i-known"), 1)]
    asked: queue.Queue[int] = queue.Queue()

    def events(after: int, timeout: float) -> list[dict[str, Any]]:
        asked.put(after)
        if asked.qsize() == 1:
            raise RuntimeError("not now")
        if after >= 2:
            threading.Event().wait(timeout)
        return [event for event in told if event["n"] > after]

    with rpc.Server(paths.supervisor_socket, {"events": events}) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        threading.Thread(target=lifecycle.follow_events, daemon=True).start()
        assert [heard.get(timeout=5), heard.get(timeout=5)] == ["i-unknown", "i-known"]
        assert [asked.get(timeout=5) for _ in range(3)] == [0, 0, 2]
        server.shutdown()


def starting(identity: str, *volumes: str) -> SimpleNamespace:
    """An instance whose host is being started."""
    disks = {volume: SimpleNamespace(volume_id=volume) for volume in volumes}
    started = threading.Event()
    return SimpleNamespace(id=identity, lab_host=True, lab_started=started, block_device_mapping=disks)


def test_whoever_has_the_lock_does_not_wait_for_a_host() -> None:
    instance = starting("i-1")
    began = time.monotonic()
    with pytest.raises(EC2ClientError, match="i-1") as caught:
        lifecycle.has_host(instance)
    assert time.monotonic() - began < 5
    assert caught.value.code == "IncorrectState"
    instance.lab_started.set()
    assert lifecycle.has_host(instance)
    instance.lab_host = False
    assert not lifecycle.has_host(instance)


@pytest.mark.parametrize("named", [["i-1"], ["other", "vol-1"]])
def test_a_request_for_a_host_waits_before_it_takes_the_lock(named: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    instance, other = starting("i-1", "vol-1", "vol-2"), starting("i-2", "vol-3")
    backend = SimpleNamespace(all_instances=lambda: [other, instance])
    monkeypatch.setattr(lifecycle, "backends", lambda: [backend])
    waiting = threading.Thread(target=lifecycle.await_hosts, args=(named,), daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    assert lifecycle.LOCK.acquire(timeout=5), "the lock is held meanwhile"
    lifecycle.LOCK.release()
    instance.lab_started.set()
    waiting.join(5)
    assert not waiting.is_alive()
