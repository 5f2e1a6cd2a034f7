# SPDX-License-Identifier: GPL-3.0-or-later
"""What has become of a task's process, where its result is still on its way."""

from __future__ import annotations

import multiprocessing
import os
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils import task_processes
from ansible_collections.mayfly.workers.plugins.plugin_utils.task_processes import _fate, _match, _Task

KEY = ("web-1", "uuid")


def ended_with(code: int, *, closed: bool) -> _Task:
    """A task that was seen while its process lived, which has ended since; Ansible closes some to fork others."""
    process: Any = multiprocessing.get_context("fork").Process(target=os._exit, args=(code,))
    process._host, process._task = SimpleNamespace(get_name=lambda: KEY[0]), SimpleNamespace(_uuid=KEY[1])
    process.start()
    task = _Task(process._host, process._task, 0.0)
    _match({KEY: task}, threading.Lock(), [process])
    process.join(10)
    if closed:
        process.close()
    return task


@pytest.mark.parametrize("closed", [False, True])
def test_a_process_that_ended_well_has_sent_its_result(closed: bool) -> None:
    task = ended_with(0, closed=closed)
    assert _fate(task, 100.0) is None
    assert _fate(task, 1000.0) is None


@pytest.mark.parametrize("closed", [False, True])
def test_one_that_did_not_will_have_none_once_it_has_had_time(closed: bool) -> None:
    task = ended_with(7, closed=closed)
    assert _fate(task, 100.0) is None
    assert _fate(task, 100.0 + task_processes._SETTLE_SECONDS / 2) is None
    assert "died" in str(_fate(task, 100.0 + task_processes._SETTLE_SECONDS))
