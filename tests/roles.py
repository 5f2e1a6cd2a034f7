# SPDX-License-Identifier: GPL-3.0-or-later
"""Give the lab's roles exactly the rights of the table: ``lab exec -- python -m tests.roles SEED.json``.

With ``--shared-snapshots`` as a stack with SharedSnapshots=true gives them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "collections"))
from ansible_collections.mayfly.workers.plugins.plugin_utils import permissions, rights  # noqa: E402

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


def give(seed: Mapping[str, Any], deployment: str = "default", *, shared_snapshots: bool = False) -> None:
    """Replace the policies of the seeded roles in every account."""
    repository = seed["repository"]
    kms = boto3.Session(profile_name="backup").client("kms", region_name=repository["region"])
    key = kms.describe_key(KeyId=repository["kms_key_id"])["KeyMetadata"]["Arn"]
    for profile, account in seed["accounts"].items():
        values = {
            "AWS::Partition": "aws",
            "AWS::AccountId": account["id"],
            "Deployment": deployment,
            "Bucket": repository["bucket"],
            "Prefix": "",  # all of the bucket: tests have repositories of their own below other prefixes
            "RepositoryKey": key,
            "RestoreInPlace": "true",
            "RestoredRoles": "restored-*",
            "SessionManagerRoleName": permissions.SESSION_MANAGER.name,
            "SharedSnapshots": str(shared_snapshots).lower(),
            "WorkerRoleName": account["worker_role_arn"].rpartition("/")[2],
        }
        iam = boto3.Session(profile_name=profile).client("iam", region_name=repository["region"])
        for role, arn in ((permissions.RUN, account["role_arn"]), (permissions.WORKER, account["worker_role_arn"])):
            policy = json.dumps(document(role, values))
            iam.put_role_policy(RoleName=arn.rpartition("/")[2], PolicyName=_POLICY, PolicyDocument=policy)


if __name__ == "__main__":
    give(json.loads(Path(sys.argv[1]).read_text()), shared_snapshots="--shared-snapshots" in sys.argv)
