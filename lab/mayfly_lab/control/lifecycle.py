# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of instances, and the hosts behind them.

A change of state is told at once (pending, shutting-down, stopping) and carried out by a thread; the lock is never
held while a host boots or ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from moto.ec2.models.instances import Instance, InstanceState, StateReason

from mayfly_lab import rpc
from mayfly_lab.control import groups, picture
from mayfly_lab.control.launches import Course
from mayfly_lab.control.state import LOCK, Lab, backend_of, replace

log = logging.getLogger(__name__)

PENDING, RUNNING, SHUTTING_DOWN, TERMINATED, STOPPING, STOPPED = 0, 16, 32, 48, 64, 80
_NAMES = {0: "pending", 16: "running", 32: "shutting-down", 48: "terminated", 64: "stopping", 80: "stopped"}
# Real EC2 takes seconds to a minute for each of these; a second is enough to catch code that does not wait.
_TRANSITION_SECONDS = 0.7
_START_LIMIT = 60.0
_BY_USER = StateReason("Client.UserInitiatedShutdown: User initiated shutdown", "Client.UserInitiatedShutdown")
_BY_ITSELF = StateReason(
    "Client.InstanceInitiatedShutdown: Instance initiated shutdown", "Client.InstanceInitiatedShutdown"
)

_moto_terminate = Instance.terminate
_moto_stop = Instance.stop


def install() -> None:
    """Make moto's instances real."""
    replace(Instance, start=start, stop=stop, terminate=terminate, reboot=reboot)


def launch(instance: Any, course: Course | None = None) -> None:
    """A new instance: pending now, running once its host has booted, unless its course is another one."""
    _enter(instance, PENDING)
    instance._reason, instance.state_reason = "", StateReason()
    instance.lab_course = course or Course()
    _in_background(_boot, instance)


def start(self: Any) -> InstanceState:
    before = InstanceState(self.state, self.state_code)
    if self.state_code == STOPPED:
        for nic in self.nics.values():
            nic.start()
        launch(self)
    return before


def stop(self: Any) -> InstanceState:
    before = InstanceState(self.state, self.state_code)
    if self.state_code in (PENDING, RUNNING):
        self.state_reason = _BY_USER
        _enter(self, STOPPING)
        _in_background(_power_off, self)
    return before


def terminate(self: Any) -> InstanceState:
    before = InstanceState(self.state, self.state_code)
    if self.state_code in (SHUTTING_DOWN, TERMINATED):
        return before
    self.state_reason = _BY_USER
    _enter(self, SHUTTING_DOWN)
    _in_background(_kill, self)
    return before


def reboot(self: Any) -> None:
    _in_background(_reboot, self)


def follow_events() -> None:
    """Learn, for ever, which hosts have ended by themselves."""
    seen = 0
    client = rpc.Client(Lab.paths.supervisor_socket)
    while True:
        for event in client.call("events", wait=60, after=seen, timeout=20):
            seen = event["n"]
            if event["event"] == "exited":
                _ended(event["instance_id"])


def has_host(instance: Any) -> bool:
    """Whether a host runs behind the instance; waits while one is being started."""
    if not getattr(instance, "lab_host", False):
        return False
    instance.lab_started.wait(_START_LIMIT)
    return bool(instance.lab_host)


def _enter(instance: Any, code: int) -> None:
    instance._state = InstanceState(_NAMES[code], code)
    instance.lab_since = time.monotonic()


def _in_background(work: Callable[[Any], None], instance: Any) -> None:
    def guarded() -> None:
        try:
            work(instance)
        except Exception:
            log.exception("%s of %s failed", work.__name__, instance.id)
            with LOCK:
                instance.state_reason = StateReason("Server.InternalError: the host failed", "Server.InternalError")
                instance.lab_host = False
                if instance.state_code in (PENDING, RUNNING):
                    _enter(instance, SHUTTING_DOWN)
                _finish(instance)

    threading.Thread(target=guarded, name=f"{work.__name__}-{instance.id}", daemon=True).start()


def _boot(instance: Any) -> None:
    course: Course = instance.lab_course
    if course.ends is not None:
        _end_while_pending(instance, course.ends, course.ends_after_seconds)
        return
    if not course.late_seconds:
        _start_host(instance)
    _wait_for_transition(instance)
    with LOCK:
        if instance.state_code == PENDING:
            _enter(instance, RUNNING)
    if course.late_seconds:  # EC2 tells that it runs, whatever its operating system does
        time.sleep(course.late_seconds)
        if instance.lab_course is course:  # neither stopped nor started again meanwhile
            _start_host(instance)


def _end_while_pending(instance: Any, reason: StateReason, seconds: float) -> None:
    time.sleep(seconds)
    with LOCK:
        if instance.state_code != PENDING:
            return
        instance.state_reason = reason
        _enter(instance, SHUTTING_DOWN)
    _settle(instance)


def _start_host(instance: Any) -> None:
    with LOCK:
        if instance.state_code not in (PENDING, RUNNING):
            return
        mapping = instance.block_device_mapping
        disks = [{"volume_id": disk.volume_id, "device": device} for device, disk in mapping.items()]
        root = mapping[instance.root_device_name].volume_id
        disks = [disk for disk in disks if disk["volume_id"] != root]
        picture.apply()
        instance.lab_started = started = threading.Event()
        instance.lab_host = True
    try:
        Lab.supervisor.call(
            "start_host",
            instance_id=instance.id,
            private_ip=instance.private_ip,
            root_volume_id=root,
            volumes=disks,
            boot_words=list(instance.lab_course.boot_words),
        )
    finally:
        started.set()


def _power_off(instance: Any) -> None:
    if has_host(instance):
        Lab.supervisor.call("power_off", instance_id=instance.id)
    else:
        _ended(instance.id)


def _kill(instance: Any) -> None:
    if has_host(instance):
        Lab.supervisor.call("kill_host", instance_id=instance.id)
    else:
        _ended(instance.id)


def _reboot(instance: Any) -> None:
    if not has_host(instance):
        return
    with LOCK:
        if instance.state_code != RUNNING:
            return
        instance.lab_rebooting = True
    Lab.supervisor.call("power_off", instance_id=instance.id)


def _ended(instance_id: str) -> None:
    """The host of an instance is gone: finish what was asked for, or do what its shutdown behaviour says."""
    with LOCK:
        _, instance = backend_of(instance_id)
        instance.lab_host = False
        if getattr(instance, "lab_rebooting", False) and instance.state_code == RUNNING:
            instance.lab_rebooting = False
            _in_background(_start_host, instance)  # a reboot is not a change of state
            return
        if instance.state_code in (PENDING, RUNNING):
            instance.state_reason = _BY_ITSELF
            ends = instance.instance_initiated_shutdown_behavior == "terminate"
            _enter(instance, SHUTTING_DOWN if ends else STOPPING)
    _in_background(_settle, instance)


def _settle(instance: Any) -> None:
    _wait_for_transition(instance)
    with LOCK:
        _finish(instance)


def _finish(instance: Any) -> None:
    reason = instance.state_reason
    if instance.state_code == SHUTTING_DOWN:
        instance.lab_former_groups = groups.members(instance)
        _moto_terminate(instance)
        _let_go(instance)
        instance.lab_ended = time.monotonic()
    elif instance.state_code == STOPPING:
        _moto_stop(instance)
    instance.state_reason = reason
    instance._reason = reason.message if reason is not _BY_USER else instance._reason
    picture.apply()


def _let_go(instance: Any) -> None:
    """What a terminated instance leaves behind belongs to it no more; its groups neither."""
    for interface in instance.nics.values():
        if not interface.delete_on_termination:
            interface.instance, interface.attachment_id, interface.attach_time = None, None, None
            interface.status, interface.device_index = "available", None
    instance.security_groups = []


def _wait_for_transition(instance: Any) -> None:
    time.sleep(max(0.0, instance.lab_since + _TRANSITION_SECONDS - time.monotonic()))
