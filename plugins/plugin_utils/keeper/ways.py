# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways to workers beside the direct one: over a bastion, and over Session Manager.

Each is a command for ssh's ProxyCommand. Nothing secret stands in it: the bastion's key lies in the keeper's folder in
memory, credentials are in the environment alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from ..settings.connection import Bastion, Way
from .errors import KeeperError
from .ssh import Route, ssh_words, strict_options, write_secret

# https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-getting-started-enable-ssh-connections.html
_DOCUMENT = "AWS-StartSSHSession"
_PROGRAMS = ("aws", "session-manager-plugin")
# A profile would come before the credentials, or want a file that is not meant here.
_PROFILES = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")
_BASTION = "mayfly-bastion"
_BASTION_SECONDS = 10
_SESSION_SECONDS = 30
_SEE = "group_vars/all/connections.yml says what is needed."


class Clients(Protocol):
    """Where credentials come from."""

    def variables(self, account_id: str, region: str) -> Mapping[str, str]:
        """Credentials of the account's role as variables of the environment."""


def over_bastion(words: tuple[str, ...], address: str, port: int) -> Route:
    """The way over the bastion that ``words`` reach."""
    return Route(
        Way.BASTION,
        (*words[:-1], "-W", f"[{address}]:{port}", words[-1]),
        connect_seconds=2 * _BASTION_SECONDS,
        pause_seconds=2,
        remedy="Check that its security groups let the bastion in on that port, that the bastion passes connections on"
        " (AllowTcpForwarding), and that the image runs cloud-init.",
    )


def bastion_words(bastion: Bastion, folder: Path) -> tuple[str, ...]:
    """ssh to the bastion, once it has been logged in to; ``folder`` gets its key and its host key.

    Raises KeeperError with what ssh says when that cannot be.
    """
    # A path that a socket has is short.
    name = f"bastion-{hashlib.sha256(bastion.model_dump_json().encode()).hexdigest()[:12]}"
    key_file, known_hosts, control, log = (folder / f"{name}.{end}" for end in ("key", "known_hosts", "ssh", "log"))
    write_secret(key_file, bastion.private_key)
    write_secret(known_hosts, f"{_BASTION} {bastion.host_key}\n")
    options = strict_options(
        port=bastion.port, user=bastion.user, alias=_BASTION, key_file=key_file, known_hosts=known_hosts
    )
    words = ssh_words({**options, "ConnectTimeout": str(_BASTION_SECONDS), "ControlPersist": "no"})
    # It goes into the background when it is logged in; no command is run, for which the user may have no shell.
    login = [*words, "-o", f"ControlPath={control}", "-o", "ControlMaster=yes", "-f", "-N", bastion.host]
    leave = [*words, "-o", f"ControlPath={control}", "-O", "exit", bastion.host]
    try:
        with log.open("wb") as said:
            subprocess.run(
                login, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=2 * _BASTION_SECONDS, check=True
            )
        subprocess.run(leave, capture_output=True, timeout=_BASTION_SECONDS, check=False)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        why = log.read_text(errors="replace").strip()[-500:] or str(error)
        message = f"The bastion {bastion.host} (mayfly_bastion) cannot be logged in to: {why}"
        raise KeeperError("BastionUnreachable", message, _SEE) from None
    return (*words, "-o", "ControlPath=none", bastion.host)


def over_session_manager(clients: Clients, account: str, region: str, instance_id: str, port: int) -> Route:
    """The way over Session Manager, which ends at the worker's own agent."""
    command = ("aws", "ssm", "start-session", "--region", region, "--target", instance_id)
    document = ("--document-name", _DOCUMENT, "--parameters", f"portNumber={port}")
    return Route(
        Way.SESSION_MANAGER,
        (*command, *document),
        environment=partial(_environment, clients, account, region),
        connect_seconds=_SESSION_SECONDS,
        pause_seconds=3,
        remedy="Check that the image has amazon-ssm-agent and runs cloud-init, and that the role of the instance"
        " profile has the rights that docs/permissions.md lists.",
    )


def check_programs() -> None:
    """Raises KeeperError when a program is not there that sessions over Session Manager are started with."""
    missing = [each for each in _PROGRAMS if shutil.which(each) is None]
    if missing:
        message = f"mayfly_worker_connection is {Way.SESSION_MANAGER}, and PATH has no {' and no '.join(missing)}."
        raise KeeperError("NoSessionManager", message, "Install the AWS CLI and its Session Manager plugin.")


def _environment(clients: Clients, account: str, region: str) -> dict[str, str]:
    """The keeper's own, with credentials of the account's role and nothing beside them that names others."""
    own = {name: value for name, value in os.environ.items() if name not in _PROFILES}
    return {**own, **clients.variables(account, region)}
