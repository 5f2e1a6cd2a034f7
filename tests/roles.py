# SPDX-License-Identifier: GPL-3.0-or-later
"""Give the lab's roles exactly the rights of the table: ``lab exec -- python -m tests.roles SEED.json``.

Each account's stack has the parameters that fit it, and those that are named behind: ``backup.SharedSnapshots`` is true
in the backup account.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import boto3

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "collections"))
from ansible_collections.mayfly.workers.plugins.plugin_utils import (  # noqa: E402
    permissions,
    restore_rights,
    rights,
    session_manager,
)
from mayfly_lab.seed.identity import ROLES  # noqa: E402

# What each of the lab's accounts is for.
FOR = {
    "backup": (rights.BACKUP_ACCOUNT, rights.WORKER_DEPLOYMENT),
    "production": (rights.WORKER_DEPLOYMENT, rights.PRODUCTION_ACCOUNT, restore_rights.IN_PLACE),
}
FLAGS = (
    rights.BACKUP_ACCOUNT,
    rights.WORKER_DEPLOYMENT,
    rights.PRODUCTION_ACCOUNT,
    restore_rights.IN_PLACE,
    "SharedSnapshots",
)
_OF_TABLE = {
    "deployment": permissions.RUN,
    "worker": permissions.WORKER,
    "reaper": permissions.REAPER,
    "inventory": permissions.INVENTORY,
}
_POLICY = "lab"  # the name under which `lab seed` has given them every right


def document(role: rights.Role, values: Mapping[str, str]) -> dict[str, Any]:
    """The policy of a role with the template's parameters filled in; raises KeyError for one that is missing.

    Rights that ask for a parameter are there where it is "true".
    """

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            # What begins with aws: is IAM's own to fill in.
            return re.sub(r"\$\{((?!aws:)[A-Za-z:]+)\}", lambda found: values[found[1]], value)
        if isinstance(value, Mapping):
            return {key: filled(each) for key, each in value.items()}
        return [filled(each) for each in value]

    statements = [
        {
            "Effect": "Allow",
            "Action": list(right.actions),
            "Resource": filled(right.resources),
            **({"Condition": filled(right.condition)} if right.condition else {}),
        }
        for right in role.all_rights
        if not right.parameter or values[right.parameter] == "true"
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def flags(*true: str) -> dict[str, str]:
    """The template's parameters that are true or false, these of them true."""
    return {name: str(name in true).lower() for name in FLAGS}


def give(seed: Mapping[str, Any], more: Collection[str] = (), deployment: str = "default") -> None:
    """Replace the policies of the seeded roles in every account; ``more`` are ACCOUNT.PARAMETER that are true.

    ``seed["buckets"]`` names those of accounts with a bucket of their own.
    """
    repository = seed["repository"]
    kms = boto3.Session(profile_name="backup").client("kms", region_name=repository["region"])
    key = kms.describe_key(KeyId=repository["kms_key_id"])["KeyMetadata"]["Arn"]
    for profile, account in seed["accounts"].items():
        values = {
            "AWS::Partition": "aws",
            "AWS::AccountId": account["id"],
            "Deployment": deployment,
            "Bucket": seed.get("buckets", {}).get(profile, repository["bucket"]),
            "Prefix": "",  # all of the bucket: tests have repositories of their own below other prefixes
            "RepositoryKey": key,
            "AWS::URLSuffix": "amazonaws.com",
            "SessionManagerRoleName": session_manager.SESSION_MANAGER.name,
            "RestoredRoles": "restored-*",
            **flags(*FOR[profile], *(name for name in FLAGS if f"{profile}.{name}" in more)),
            "WorkerRoleName": account["worker_role_arn"].rpartition("/")[2],
        }
        iam = boto3.Session(profile_name=profile).client("iam", region_name=repository["region"])
        for purpose, role in _OF_TABLE.items():
            policy = json.dumps(document(role, values))
            iam.put_role_policy(RoleName=ROLES[purpose], PolicyName=_POLICY, PolicyDocument=policy)


if __name__ == "__main__":
    give(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2:])
