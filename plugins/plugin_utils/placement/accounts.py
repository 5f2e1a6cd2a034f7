# SPDX-License-Identifier: GPL-3.0-or-later
"""Which account a worker runs in: what the operation allows, what the user wants, and what keys compel."""

from __future__ import annotations

from collections.abc import Sequence

from ..operations import Accounts
from .errors import PlacementError, known_operation

_DOWNLOAD = "In the production account, files go to the operator's own machine: put none of them back."
_SEE = "Leave mayfly_worker_account out for this operation, or set it per host or group to what is allowed."


def account_for(
    name: str,
    wanted: str | None,
    accounts_differ: bool,
    aws_key_volumes: Sequence[str] = (),
    *,
    puts_back: bool = False,
) -> tuple[str, str]:
    """("backup" or "production", why).

    ``wanted`` is ``mayfly_worker_account``, None when it was not given; ``accounts_differ`` says whether the two are
    two; ``aws_key_volumes`` are those encrypted with the ``aws/ebs`` key of the resource's account, whose snapshots
    can be neither shared nor read from another account. With ``puts_back``, files go to where they came from and not
    to the operator's own machine alone. An operation about a network runs in that one's account, whatever is wanted for
    others. Raises PlacementError when what is wanted cannot be.
    """
    known = known_operation(name)
    rule = known.account
    if rule is Accounts.NETWORK:
        return "production", f"{name} runs in the account that it is about"
    if wanted not in (None, "backup", "production"):
        message = f"mayfly_worker_account is {wanted!r}, neither backup nor production."
        raise PlacementError("BadWorkerAccount", message, "group_vars/all/accounts.yml explains it.")
    if rule is Accounts.BACKUP:
        _refuse(name, wanted, "production", "the backup account, which owns the repository")
        return "backup", f"{name} runs in the backup account only"
    if rule is Accounts.PRODUCTION:
        _refuse(name, wanted, "backup", "the production account, which owns the resource")
        return "production", f"{name} runs in the production account only"
    stays = puts_back and known.puts_back_from_backup
    if stays and wanted == "production":
        message = f"{name} puts files back from the backup account only, and mayfly_worker_account is production."
        raise PlacementError("WrongWorkerAccount", message, f"{_DOWNLOAD} {_SEE}")
    if aws_key_volumes and accounts_differ:
        volumes = ", ".join(aws_key_volumes)
        if stays:
            raise PlacementError(
                "KeyNotShareable",
                f"{volumes} is encrypted with the aws/ebs key, which no other account can use, and {name} puts files"
                " back from the backup account only.",
                f"{_DOWNLOAD} Or recover them from a backup.",
            )
        if wanted == "backup":
            raise PlacementError(
                "KeyNotShareable",
                f"{volumes} is encrypted with the aws/ebs key, which no other account can use, so the worker cannot"
                " run in the backup account.",
                _SEE,
            )
        return "production", f"{volumes} is encrypted with the aws/ebs key, which no other account can use"
    if wanted is not None:
        return wanted, "mayfly_worker_account"
    return "backup", f"the default of {name}"


def _refuse(name: str, wanted: str | None, refused: str, place: str) -> None:
    if wanted == refused:
        message = f"mayfly_worker_account is {refused}, but a worker of {name} runs in {place} only."
        raise PlacementError("WrongWorkerAccount", message, _SEE)
