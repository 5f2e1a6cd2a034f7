# SPDX-License-Identifier: GPL-3.0-or-later
"""Every case of the campaign: what is done to an operation, and when. Pure: a seed gives the same list every time."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from mayfly_lab.accounts import BACKUP

from .moments import BACKUP_MOMENTS, MOMENTS, RESTORE_MOMENTS

# What is done to the processes of a run → the class of its promise (promises.py).
KILLS = {
    "SIGINT to ansible-playbook": "keeper",
    "SIGTERM to ansible-playbook": "keeper",
    "SIGKILL to ansible-playbook": "keeper",
    "SIGKILL to its process group": "keeper",
    "SIGKILL to the keeper": "another keeper",
    "SIGSTOP to the keeper": "hung keeper",
    "SIGKILL to every process": "container",
    "SIGKILL to a task's process": "task",
    "SIGSTOP to a task's process": "stopped task",
    "runner cancel": "runner",
    "runner time-out": "runner",
    "SIGKILL to the runner": "runner killed",
    "SIGKILL to all but the runner": "runner's reap",
}
# What is done to a restore, at moments of its own.
RESTORE_KILLS = (
    "SIGINT to ansible-playbook",
    "SIGKILL to ansible-playbook",
    "SIGKILL to the keeper",
    "SIGKILL to every process",
)
# A second Ctrl-C while the run is cleaned up gives up waiting, not cleaning.
GIVEN_UP = ("two SIGINTs to ansible-playbook", "two SIGINTs to the runner")
# What is done beside the processes of a run: to its worker, its agent, or its sessions with AWS (harms.py).
HARMS = ("kill-host", "freeze-host", "cut-network", "reboot-worker", "stop-agent", "expire-sessions")
# A run that nobody hurts takes this long, in seconds, on two busy cores: random moments lie within.
RUN_SECONDS = 30.0
RANDOM_KILLS = 200
RESTORE = "volume_restore"
_STALL = (("mayfly_transfer_stall_timeout", 60),)  # the least there is
FAST = (
    "SIGINT to ansible-playbook, launch after it",
    "SIGKILL to ansible-playbook, transfer",
    "SIGKILL to the keeper, boot",
)


@dataclass(frozen=True)
class LabFault:
    """A fault of the lab: its kind, how often (None: always), and its options."""

    kind: str
    times: int | None = None
    options: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True)
class Case:
    """One operation and what happens to it.

    ``phase``: matrix, random, lease or reaper. ``action`` is a key of KILLS, one of GIVEN_UP or HARMS, or empty
    when ``faults`` alone do harm. ``operation``: the playbook, ``settings``: its own. ``moment`` is a key of MOMENTS;
    a random one has ``seconds`` since its start instead. ``expect``: Succeeded, Failed, or empty where both are right.
    ``late``: what is held at the moment has been done already, and its answer waits. ``mend_after``: seconds after
    which a harm is taken back.
    """

    name: str
    phase: str
    promise: str
    action: str = ""
    moment: str = ""
    seconds: float | None = None
    faults: tuple[LabFault, ...] = ()
    expect: str = ""
    late: bool = True
    mend_after: float | None = None
    operation: str = "ec2_backup"
    settings: tuple[tuple[str, object], ...] = ()

    @property
    def restores(self) -> bool:
        """Whether it is a restore, which hands volumes over."""
        return self.operation == RESTORE


def matrix() -> list[Case]:
    """Every kill at every moment, then every fault of the lab where it makes sense."""
    kills = [
        Case(
            f"{action}, {moment}", "matrix", promise, action, moment, late=MOMENTS[moment].late(number),
        )
        for number, (action, promise) in enumerate(KILLS.items())
        for moment in BACKUP_MOMENTS
    ]  # fmt: skip
    others = (_restores(), _given_up(), _transient(), _patience(), _lasting(), _lost_hosts(), _hung_agents())
    return [*kills, *(case for some in others for case in some)]


def random_kills(seed: int, count: int) -> list[Case]:
    """Kills at moments of chance."""
    dice = random.Random(seed)  # noqa: S311 - cases, not secrets
    actions = sorted(KILLS)
    made = []
    for number in range(1, count + 1):
        action, seconds = dice.choice(actions), round(dice.uniform(0.5, RUN_SECONDS), 1)
        made.append(Case(f"random {number}: {action}", "random", KILLS[action], action, seconds=seconds))
    return made


def chosen(seed: int, count: int, *, only: str = "", fast: bool = False) -> list[Case]:
    """The cases of one campaign that are conducted one by one, in their order."""
    listed = matrix()
    if fast:
        listed = [case for case in listed if case.name in FAST]
        count = min(count, 1)
    listed += random_kills(seed, count)
    return [case for case in listed if matches(case.name, only)]


def matches(name: str, only: str) -> bool:
    """Whether a case's name has one of the patterns, which commas with no space behind them part, in it."""
    patterns = [each for each in re.split(r",(?! )", only.lower()) if each]
    return not patterns or any(fnmatchcase(name.lower(), f"*{pattern}*") for pattern in patterns)


def _fault(kind: str, call: str, times: int | None, **options: object) -> LabFault:
    service = {"PutObject": "s3", "GetSnapshotBlock": "ebs", "PutSnapshotBlock": "ebs"}.get(call, "ec2")
    return LabFault(kind, times, (("service", service), ("call", call), *options.items()))


_POINT = {"resource": "*/points/*"}
_CALLS: dict[str, tuple[str, dict[str, object]]] = {
    "snapshot": ("CreateSnapshots", {}),
    "place": ("DescribeRouteTables", {"account": BACKUP}),
    "launch": ("RunInstances", {}),
    "transfer": ("GetSnapshotBlock", {}),
    "transfer (S3)": ("PutObject", {"resource": "*/packs/*"}),
    "commit": ("PutObject", _POINT),
    "terminate": ("TerminateInstances", {}),
}
_PASSING: dict[str, tuple[str, int, dict[str, object]]] = {
    "throttling": ("throttle", 2, {}),
    "HTTP 500": ("error", 1, {}),
    "no answer": ("time-out", 1, {"seconds": 3.0}),
    "lost answer": ("lost-answer", 1, {}),
    "slow answer": ("slow", 1, {"seconds": 5.0}),
}
_OTHERS: tuple[tuple[str, str, tuple[LabFault, ...]], ...] = (
    ("no capacity once", "launch", (LabFault("capacity", 1),)),
    ("ends by itself once", "launch", (LabFault("ends-by-itself", 1),)),
    ("slow boot", "boot", (LabFault("slow-boot", 1, (("seconds", 8.0),)),)),
    ("unknown for 5 s", "launch", (LabFault("not-found-yet", None, (("seconds", 5.0),)),)),
    ("tags of 5 s ago", "launch", (LabFault("stale-tags", None, (("seconds", 5.0),)),)),
    ("20 blocks a second", "transfer", (LabFault("throttle", None, (("service", "ebs"), ("rate", 20.0))),)),
    ("corrupt block once", "transfer", (LabFault("corrupt", 1),)),
    ("empty page", "transfer", (LabFault("empty-pages", 1),)),
    ("group busy for 8 s", "terminate", (LabFault("group-busy", None, (("seconds", 8.0),)),)),
)


def _restores() -> Iterable[Case]:
    """Every restored volume is handed over and kept, or gone, whenever it happens."""
    for action in RESTORE_KILLS:
        for moment in RESTORE_MOMENTS:
            name = f"{action}, {moment}"
            yield Case(name, "matrix", KILLS[action], action, moment, operation=RESTORE)
            if MOMENTS[moment].either:
                name = f"{action}, just before {moment}"
                yield Case(name, "matrix", KILLS[action], action, moment, late=False, operation=RESTORE)


def _given_up() -> Iterable[Case]:
    for action in GIVEN_UP:
        slow = (_fault("slow", "TerminateInstances", 1, seconds=6.0, before=True),)
        yield Case(f"{action}, transfer", "matrix", "keeper", action, "transfer", faults=slow)


def _transient() -> Iterable[Case]:
    """They pass, so the backup must succeed."""
    for moment, (call, options) in _CALLS.items():
        for name, (kind, times, more) in _PASSING.items():
            faults = (_fault(kind, call, times, **options, **more),)
            yield Case(f"{name}, {moment}", "matrix", "passing fault", faults=faults, moment=moment, expect="Succeeded")
    for name, moment, others in _OTHERS:
        yield Case(f"{name}, {moment}", "matrix", "passing fault", faults=others, moment=moment, expect="Succeeded")
    for moment in ("configure", "transfer"):
        yield Case(
            f"network cut for 8 s, {moment}", "matrix", "passing fault", "cut-network", moment,
            expect="Succeeded", mend_after=8.0,
        )  # fmt: skip


def _patience() -> Iterable[Case]:
    """Sessions that end while they are used are renewed in time, and what is too young to be known is waited for."""
    short = LabFault("short-sessions", None, (("seconds", 20.0),))
    for moment, operation, slow in (
        ("snapshot", "ec2_backup", _fault("slow", "CreateSnapshots", 1, seconds=25.0)),
        ("transfer", "ec2_backup", _fault("throttle", "GetSnapshotBlock", None, rate=2.0)),
        ("a restore's transfer", RESTORE, _fault("throttle", "PutSnapshotBlock", None, rate=2.0)),
    ):
        yield Case(
            f"sessions of 20 s, {moment}", "matrix", "long fault", moment=moment, faults=(short, slow),
            expect="Succeeded", operation=operation,
        )  # fmt: skip
    once = (_fault("expired-credentials", "TerminateInstances", 1),)
    yield Case(
        "expired credentials once, terminate", "matrix", "passing fault", moment="terminate", faults=once,
        expect="Succeeded",
    )  # fmt: skip
    yield Case(
        "snapshot not found for two minutes, a restore's transfer", "matrix", "long fault",
        moment="a restore's transfer", faults=(LabFault("snapshot-missing"),), expect="Succeeded", operation=RESTORE,
    )  # fmt: skip


def _lasting() -> Iterable[Case]:
    """They stay, so the resource must fail, and nothing of it may be left."""
    denied: dict[str, object] = {"code": "AccessDenied", "status": 403}
    for moment, (call, options) in _CALLS.items():
        if moment == "terminate":  # nothing but the lease could end what nobody may end
            continue
        code = denied if call == "PutObject" else {"code": "UnauthorizedOperation", "status": 403}
        if call == "GetSnapshotBlock":
            code = {"code": "AccessDeniedException", "status": 403}
        faults = (_fault("error", call, None, **options, **code),)
        yield Case(f"denied, {moment}", "matrix", "lasting fault", faults=faults, moment=moment, expect="Failed")
        if moment in ("snapshot", "launch", "transfer", "transfer (S3)"):
            name, faults = f"expired credentials, {moment}", (_fault("expired-credentials", call, None, **options),)
            yield Case(name, "matrix", "lasting fault", faults=faults, moment=moment, expect="Failed")
    for name, moment, fault in (
        ("no capacity anywhere", "launch", LabFault("capacity")),
        # One refusal speaks for every type of that quota in the Region.
        ("vCPU limit once", "launch", LabFault("vcpu-limit", 1)),
        ("all end by themselves", "launch", LabFault("ends-by-itself")),
        ("corrupt blocks", "transfer", LabFault("corrupt")),
    ):
        yield Case(f"{name}, {moment}", "matrix", "lasting fault", faults=(fault,), moment=moment, expect="Failed")
    yield Case(
        "all sessions expired for 15 s, transfer", "matrix", "lasting fault", "expire-sessions", "transfer",
        expect="Failed", mend_after=15.0,
    )  # fmt: skip
    yield Case(
        "never reaches SSH, boot", "matrix", "no boot", faults=(LabFault("no-ssh"),), moment="boot", expect="Failed"
    )


def _lost_hosts() -> Iterable[Case]:
    """Another worker follows one that was lost. One that was rebooted is there, and its agent has died."""
    for action, name in (("kill-host", "host dead"), ("freeze-host", "host frozen"), ("cut-network", "network cut")):
        for moment in ("configure", "transfer"):
            yield Case(f"{name}, {moment}", "matrix", "lost worker", action, moment, expect="Succeeded")
    yield Case(
        "host dead, a restore's transfer", "matrix", "lost worker", "kill-host", "a restore's transfer",
        expect="Succeeded", operation=RESTORE,
    )  # fmt: skip
    yield Case(
        "worker rebooted, transfer", "matrix", "lost worker", "reboot-worker", "transfer", expect="Failed"
    )  # fmt: skip


def _hung_agents() -> Iterable[Case]:
    """The transfer stands still: its agent was stopped, or AWS takes its requests and answers none."""
    for moment, operation in (("transfer", "ec2_backup"), ("a restore's transfer", RESTORE)):
        yield Case(
            f"agent stopped, {moment}", "matrix", "lost worker", "stop-agent", moment,
            expect="Failed", operation=operation, settings=_STALL,
        )  # fmt: skip
    mute = (_fault("time-out", "GetSnapshotBlock", None),)
    yield Case(
        "no answer any more, transfer", "matrix", "long fault", moment="transfer", faults=mute,
        expect="Failed", settings=_STALL,
    )  # fmt: skip
