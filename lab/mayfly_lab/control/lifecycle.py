# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of instances, and the hosts behind them.

A change of state is told at once (pending, shutting-down, stopping) and carried out by a thread; the lock is never
held while a host boots or ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instances import Instance, InstanceState, StateReason

from mayfly_lab import rpc
from mayfly_lab.control import groups, picture
from mayfly_lab.control.launches import Course
from mayfly_lab.control.state import LOCK, Lab, backend_of, backends, replace

log = logging.getLogger(__name__)

PENDING, RUNNING, SHUTTING_DOWN, TERMINATED, STOPPING, STOPPED = 0, 16, 32, 48, 64, 80
_NAMES = {0: "pending", 16: "running", 32: "shutting-down", 48: "terminated", 64: "stopping", 80: "stopped"}
# Real EC2 takes seconds to a minute for each of these; a second is enough to catch code that does not wait.
_TRANSITION_SECONDS = 0.7
_START_LIMIT = 60.0
_PAUSE_SECONDS = 1.0
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
        if self.root_device_name not in self.block_device_mapping:
            message = f"Invalid value '{self.id}' for instanceId. Instance does not have a volume attached at root "
            raise EC2ClientError("InvalidParameterValue", f"{message}({self.root_device_name})")
        for nic in self.nics.values():
            nic.start()
        launch(self)
    return before


def stop(self: Any) -> InstanceState:
    before = InstanceState(self.state, self.state_code)
    if self.lifecycle == "spot":
        message = f"You can't stop the Spot Instance '{self.id}' because it is associated with a one-time Spot "
        raise EC2ClientError("UnsupportedOperation", message + "Instance request.")
    if self.state_code in (PENDING, RUNNING):
        self.state_reason = _BY_USER
        _enter(self, STOPPING)
        _in_background(_power_off, self)
    return before


def terminate(self: Any) -> InstanceState:
    before = InstanceState(self.state, self.state_code)
    end(self, _BY_USER)
    return before


def end(instance: Any, reason: StateReason, notice: float = 0.0) -> None:
    """Terminate an instance, ``notice`` seconds from now; nothing where it has ended by then."""

    def end_later(ending: Any) -> None:
        time.sleep(notice)
        end(ending, reason)

    if notice > 0:
        _in_background(end_later, instance)
        return
    with LOCK:
        if instance.state_code not in (SHUTTING_DOWN, TERMINATED):
            instance.state_reason = reason
            _enter(instance, SHUTTING_DOWN)
            _in_background(_kill, instance)


def reboot(self: Any, when_off: Callable[[], None] | None = None) -> None:
    """Restart the host; ``when_off`` is called once while it is off, under the lock, whatever becomes of the reboot."""
    if when_off:
        self.__dict__.setdefault("lab_when_off", []).append(when_off)
    _in_background(_reboot, self)


def follow_events() -> None:
    """Learn, for ever, which hosts have ended by themselves."""
    seen = 0
    client = rpc.Client(Lab.paths.supervisor_socket)
    while True:
        try:
            events = client.call("events", wait=60, after=seen, timeout=20)
        except (OSError, rpc.RpcError):
            log.exception("the supervisor does not tell what happened")
            time.sleep(_PAUSE_SECONDS)
            continue
        for event in events:
            seen = event["n"]
            try:
                if event["event"] == "exited":
                    _ended(event["instance_id"])
                elif event["event"] == "died":
                    _died(event["instance_id"])
            except Exception:
                log.exception("%s was not taken note of", event)


def await_hosts(named: Collection[str]) -> None:
    """Wait until the hosts of the instances, or of the volumes, that are ``named`` run, if they are being started.

    For requests that need a host, before they take the lock: nobody else is answered while they have it.
    """
    with LOCK:
        starting = list(_starting(named))
    limit = time.monotonic() + _START_LIMIT
    for started in starting:
        started.wait(max(0.0, limit - time.monotonic()))


def _starting(named: Collection[str]) -> Iterator[threading.Event]:
    for backend in backends():
        instances: list[Any] = backend.all_instances()
        for instance in instances:
            volumes = (disk.volume_id for disk in instance.block_device_mapping.values())
            if getattr(instance, "lab_host", False) and not {instance.id, *volumes}.isdisjoint(named):
                yield instance.lab_started


def has_host(instance: Any) -> bool:
    """Whether a host runs behind the instance; raises IncorrectState while one is still being started."""
    if not getattr(instance, "lab_host", False):
        return False
    if not instance.lab_started.is_set():
        raise EC2ClientError("IncorrectState", f"Instance '{instance.id}' is not 'running'.")
    return True


def _has_host_in_the_end(instance: Any) -> bool:
    """Whether a host runs behind the instance; waits while one is being started, so never under the lock."""
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
                _do_when_off(instance)
                if instance.state_code in (PENDING, RUNNING):
                    _enter(instance, SHUTTING_DOWN)
                _finish(instance)

    threading.Thread(target=guarded, name=f"{work.__name__}-{instance.id}", daemon=True).start()


def _boot(instance: Any) -> None:
    course: Course = instance.lab_course
    if course.ends is not None:
        end(instance, course.ends, course.ends_after_seconds)
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
        instance.lab_died = instance.lab_answered = False
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
    if _has_host_in_the_end(instance):
        Lab.supervisor.call("power_off", instance_id=instance.id)
    else:
        _ended(instance.id)


def _kill(instance: Any) -> None:
    if _has_host_in_the_end(instance):
        Lab.supervisor.call("kill_host", instance_id=instance.id)
    else:
        _ended(instance.id)


def _reboot(instance: Any) -> None:
    runs = _has_host_in_the_end(instance)
    with LOCK:
        if not runs or instance.state_code != RUNNING:
            _do_when_off(instance)
            return
        instance.lab_rebooting = True
    Lab.supervisor.call("power_off", instance_id=instance.id)


def _ended(instance_id: str) -> None:
    """The host of an instance is gone: finish what was asked for, or do what its shutdown behaviour says."""
    with LOCK:
        _, instance = backend_of(instance_id)
        instance.lab_host = False
        _do_when_off(instance)
        if getattr(instance, "lab_rebooting", False) and instance.state_code == RUNNING:
            instance.lab_rebooting = False
            _in_background(_start_host, instance)  # a reboot is not a change of state
            return
        if instance.state_code in (PENDING, RUNNING):
            instance.state_reason = _BY_ITSELF
            # A one-time Spot Instance cannot be stopped.
            ends = instance.instance_initiated_shutdown_behavior == "terminate" or instance.lifecycle == "spot"
            _enter(instance, SHUTTING_DOWN if ends else STOPPING)
    _in_background(_settle, instance)


def _died(instance_id: str) -> None:
    """The host of an instance is dead, and nothing but its status checks tells so."""
    with LOCK:
        backend_of(instance_id)[1].lab_died = True


def _do_when_off(instance: Any) -> None:
    for work in instance.__dict__.pop("lab_when_off", []):
        work()


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
