# SPDX-License-Identifier: GPL-3.0-or-later
"""Temporary worker instances for data protection on AWS.

``run`` carries one operation out and tells what became of every resource::

    import mayfly

    result = mayfly.run("ec2_backup", inventory="inventories/aws/ec2.aws_ec2.yml", limit="web-1_i-0abc")
    print(result.status, result.resources["web-1_i-0abc"].restore_point)
"""

from __future__ import annotations

from mayfly.execution import Run, run, start
from mayfly.progress import Event
from mayfly.project import BadInput
from mayfly.results import Failure, ResourceResult, RunResult, Stage

__all__ = ["BadInput", "Event", "Failure", "ResourceResult", "Run", "RunResult", "Stage", "run", "start"]
