# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS clients of a run: one for each account, Region and service, with the account's role assumed."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import RefreshableCredentials

from ..settings.schema import Account
from .errors import KeeperError
from .policies import text_of

_SEE = "group_vars/all/accounts.yml says what mayfly_accounts holds."
_SESSION_SECONDS = 3600
# Adaptive: a client slows down by itself while AWS throttles the account.
_PATIENT = Config(
    connect_timeout=5,
    read_timeout=60,
    max_pool_connections=32,
    retries={"mode": "adaptive", "max_attempts": 6},
    user_agent_extra="mayfly",
)
# Ending things must not wait behind whoever describes and is throttled for it.
_ENDING = _PATIENT.merge(Config(retries={"mode": "standard", "total_max_attempts": 4}, read_timeout=30))
# For calls that would be done twice if they were repeated: the caller looks first.
_ONCE = _PATIENT.merge(Config(retries={"mode": "standard", "total_max_attempts": 1}))
# For what a run can do without.
_QUICK = _PATIENT.merge(
    Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})
)
_MANNERS = {"patient": _PATIENT, "ending": _ENDING, "once": _ONCE, "quick": _QUICK}


class SessionClients:
    """Clients of all accounts of a run. Safe to use from any thread; a slow account holds no other one up."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._accounts: dict[str, Account] = {}
        self._sessions: dict[str, boto3.Session] = {}
        self._clients: dict[tuple[str, str, str, str], Any] = {}
        self._entering: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    def use(self, accounts: Iterable[Account]) -> None:
        """Take note of ``mayfly_accounts``; raises KeeperError when two hosts say different things of one account."""
        with self._lock:
            for account in accounts:
                known = self._accounts.setdefault(account.id, account)
                same = ("role_arn", "external_id", "worker_role_arn", "worker_instance_profile")
                if any(getattr(known, name) != getattr(account, name) for name in same):
                    message = f"mayfly_accounts says two different things of account {account.id} in one run."
                    raise KeeperError("BadAccounts", message, _SEE)

    def accounts(self) -> list[Account]:
        """All accounts that are known."""
        with self._lock:
            return list(self._accounts.values())

    def client(self, account_id: str, region: str, service: str) -> Any:
        """A boto3 client with time limits, which waits while AWS throttles.

        Raises KeeperError when the account is not in ``mayfly_accounts`` or cannot be entered.
        """
        return self._client(account_id, region, service, "patient")

    def once_client(self, account_id: str, region: str, service: str) -> Any:
        """As :meth:`client`, but it does not repeat a call whose answer was lost: the caller looks first."""
        return self._client(account_id, region, service, "once")

    def ending_client(self, account_id: str, region: str, service: str = "ec2") -> Any:
        """As :meth:`client`, for ending and deleting: it shares no pace with the others."""
        return self._client(account_id, region, service, "ending")

    def quick_client(self, account_id: str, region: str, service: str) -> Any:
        """As :meth:`client`, but it gives up after some seconds: for what a run can do without."""
        return self._client(account_id, region, service, "quick")

    def session_credentials(
        self, account_id: str, region: str, policy: dict[str, Any], seconds: int = _SESSION_SECONDS
    ) -> dict[str, str]:
        """A session of the account's ``worker_role_arn`` narrowed by ``policy``: {access_key, secret_key, token,
        expiry_time}. Raises KeeperError when the account has no such role, botocore's errors when it is refused.
        """
        account = self._account(account_id)
        if account.worker_role_arn is None:
            message = f"mayfly_accounts.{account.name} has no worker_role_arn, whose sessions workers get."
            raise KeeperError("NoWorkerRole", message, _SEE)
        sts = self.client(account_id, region, "sts")
        return _assume(
            sts, account.worker_role_arn, self._run_id, external_id=None, seconds=seconds, policy=text_of(policy)
        )()

    def variables(self, account_id: str, region: str) -> dict[str, str]:
        """Credentials of the account's role as variables of the environment, good for some time yet; raises as
        :meth:`client`.
        """
        self.client(account_id, region, "sts")  # enters the account
        credentials = self._sessions[account_id].get_credentials()
        if credentials is None:
            raise KeeperError("NoCredentials", f"There are no AWS credentials for account {account_id}.", _SEE)
        frozen = credentials.get_frozen_credentials()
        found = {
            "AWS_ACCESS_KEY_ID": frozen.access_key,
            "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
            "AWS_SESSION_TOKEN": frozen.token,
        }
        return {name: str(value) for name, value in found.items() if value}

    def _client(self, account_id: str, region: str, service: str, manner: str) -> Any:
        key = (account_id, region, service, manner)
        known = self._clients.get(key)
        if known is not None:
            return known
        with self._entering[account_id]:
            if key not in self._clients:
                session: Any = self._session(account_id, region)
                self._clients[key] = session.client(service, region_name=region, config=_MANNERS[manner])
            return self._clients[key]

    def _account(self, account_id: str) -> Account:
        with self._lock:
            account = self._accounts.get(account_id)
            known = ", ".join(sorted(self._accounts)) or "none"
        if account is None:
            message = f"Account {account_id} is not in mayfly_accounts (known: {known})."
            raise KeeperError("UnknownAccount", message, _SEE)
        return account

    def _session(self, account_id: str, region: str) -> boto3.Session:
        if account_id not in self._sessions:
            account = self._account(account_id)
            if account.role_arn is None:
                session = boto3.Session()
                _check_owner(session, region, account)
            else:
                sts = boto3.Session().client("sts", region_name=region, config=_PATIENT)
                refresh = _assume(
                    sts,
                    account.role_arn,
                    self._run_id,
                    external_id=account.external_id,
                    seconds=_SESSION_SECONDS,
                )
                core = botocore.session.Session()
                core._credentials = RefreshableCredentials.create_from_metadata(  # type: ignore[attr-defined]
                    metadata=refresh(), refresh_using=refresh, method="sts-assume-role"
                )
                session = boto3.Session(botocore_session=core)
            self._sessions[account_id] = session
        return self._sessions[account_id]


def _assume(
    sts: Any, role_arn: str, name: str, *, external_id: str | None, seconds: int, policy: str | None = None
) -> Callable[[], dict[str, str]]:
    arguments: dict[str, Any] = {"RoleArn": role_arn, "RoleSessionName": name[:64], "DurationSeconds": seconds}
    if external_id:
        arguments["ExternalId"] = external_id
    if policy:
        arguments["Policy"] = policy

    def assume() -> dict[str, str]:
        credentials = sts.assume_role(**arguments)["Credentials"]
        return {
            "access_key": credentials["AccessKeyId"],
            "secret_key": credentials["SecretAccessKey"],
            "token": credentials["SessionToken"],
            "expiry_time": credentials["Expiration"].isoformat(),
        }

    return assume


def _check_owner(session: boto3.Session, region: str, account: Account) -> None:
    """Credentials of the environment must be the account's own, or its resources would be looked for elsewhere."""
    if session.get_credentials() is None:
        message = (
            f"There are no AWS credentials for account {account.id}, and mayfly_accounts.{account.name} has no role."
        )
        raise KeeperError("NoCredentials", message, "Set role_arn there, or put credentials into the environment.")
    owner = session.client("sts", region_name=region, config=_PATIENT).get_caller_identity()["Account"]
    if owner != account.id:
        message = f"The environment's credentials are of account {owner}, not of {account.id}."
        raise KeeperError("WrongAccount", message, f"Set mayfly_accounts.{account.name}.role_arn to a role to assume.")
