#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run operations from a program (``from runner import run``) or from a shell (``python runner.py OPERATION``)."""

from __future__ import annotations

import sys

from mayfly import BadInput, Event, Failure, ResourceResult, Run, RunResult, Stage, run, start
from mayfly.cli import main

__all__ = ["BadInput", "Event", "Failure", "ResourceResult", "Run", "RunResult", "Stage", "main", "run", "start"]

if __name__ == "__main__":
    sys.exit(main())
