# SPDX-License-Identifier: GPL-3.0-or-later
"""The exit code of ansible-playbook says when the keeper could not end everything, on the installed ansible-core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils import last_word
from ansible_collections.mayfly.workers.plugins.plugin_utils.last_word import LastWord

# The guard itself; the keeper's answers stand in a file, and what it was asked is shown.
GUARDED = '''
from __future__ import annotations
import json, os
from pathlib import Path
from ansible_collections.mayfly.workers.plugins.callback import guard

DOCUMENTATION = """
name: guarded
type: notification
short_description: The guard with a keeper that follows a script
description: For a test.
"""
SCRIPT = json.loads(Path(os.environ["SCRIPT"]).read_text())


def call(operation, arguments, timeout, **more):
    print(f"asked {operation}", arguments if operation == "run.ended" else "", flush=True)
    answer = SCRIPT.get(operation, {})
    if "code" in answer:
        raise guard.KeeperError.from_dict(answer)
    return answer


guard.start.start = lambda: guard.start.Keeper("the-run", Path(os.environ["SCRIPT"]).parent)
guard.client.call = call


class CallbackModule(guard.CallbackModule):
    CALLBACK_NAME = "guarded"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        import atexit
        atexit.register(print, "exit handlers are run")
'''
LATER = '''
import sys
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: later
type: notification
short_description: Hears of the statistics after the guard
description: For a test.
"""


class CallbackModule(CallbackBase):
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "later"

    def v2_playbook_on_play_start(self, play):
        print("a play begins with", type(sys.exit).__name__, flush=True)

    def v2_playbook_on_stats(self, stats):
        print("statistics were told", flush=True)
'''
PLAY = """
- name: {name}
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Check
      ansible.builtin.assert:
        that: {holds}
"""
LEFT = {"code": "DeletionFailed", "message": "The temporary volume vol-1 was not removed.", "remedy": "Reap."}
UNKNOWN = {"code": "KeeperUnfinished", "message": "The keeper goes on.", "remedy": ""}


def play(folder: Path, closing: dict[str, Any], *holds: bool, names: Sequence[str] = ()) -> tuple[int, str]:
    """Exit code and output of one command with a playbook for each of ``holds``: whether its task succeeds.

    Or with those of ``names``, which are there already.
    """
    (folder / "ansible.cfg").touch()
    (folder / "guarded.py").write_text(GUARDED)
    (folder / "later.py").write_text(LATER)
    (folder / "script.json").write_text(json.dumps({"run.close": closing}))
    made = [f"play-{number}.yml" for number in range(len(holds))]
    for name, each in zip(made, holds, strict=True):
        (folder / name).write_text(PLAY.format(name=name, holds=str(each).lower()))
    root = Path(__file__).parents[4]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local", *made, *names],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
            "ANSIBLE_CALLBACK_PLUGINS": str(folder),
            "ANSIBLE_COLLECTIONS_PATH": str(root / "collections"),
            "ANSIBLE_NOCOLOR": "1",
            "SCRIPT": str(folder / "script.json"),
        },
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("closing", "holds", "code"),
    [
        ({"left": []}, True, 0),
        ({"left": [LEFT]}, True, last_word.NOT_CLEAN),
        ({"left": [LEFT]}, False, 2),
        (UNKNOWN, True, last_word.NOT_CLEAN),
    ],
    ids=["all is ended", "something is left", "something is left of a run that failed", "nobody knows"],
)
def test_when(tmp_path: Path, closing: dict[str, Any], holds: bool, code: int) -> None:
    found, said = play(tmp_path, closing, holds)
    assert found == code, said
    assert said.count("asked run.close") == 1
    assert (LEFT["message"] in said) == (closing == {"left": [LEFT]})
    # Neither another callback nor an exit handler misses anything.
    assert "statistics were told" in said
    assert "exit handlers are run" in said
    assert "Traceback" not in said


def test_the_keeper_is_closed_after_the_last_playbook_of_a_command(tmp_path: Path) -> None:
    found, said = play(tmp_path, {"left": [LEFT]}, True, True)
    assert found == last_word.NOT_CLEAN
    assert said.count("asked run.ended") == 2
    # In between, sys.exit is Python's own.
    assert said.count("a play begins with builtin_function_or_method") == 2
    assert said.rindex("asked run.ended") < said.index("asked run.close")


class TestTheLastWord:
    @pytest.fixture
    def said(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What happened; exit handlers are only taken note of, and a test's own sys.exit comes back."""
        said: list[str] = []
        monkeypatch.setattr(last_word.atexit, "register", lambda handler: said.append(handler.__name__))
        monkeypatch.setattr(sys, "exit", sys.exit)
        return said

    @pytest.mark.parametrize(
        ("given", "clean", "code"), [(0, True, 0), (None, True, None), (0, False, 1), (None, False, 1), (4, False, 4)]
    )
    def test_changes_success_alone(self, said: list[str], given: int | None, clean: bool, code: int | None) -> None:
        word = LastWord(lambda: (said.append("closed"), clean)[1])
        own = sys.exit
        word.await_exit()
        with pytest.raises(SystemExit) as caught:
            sys.exit(given)
        assert caught.value.code == code
        assert said == ["_say", "closed"]
        assert sys.exit is own
        assert word._say()  # the exit handler, which has nothing left to say
        assert said == ["_say", "closed"]

    def test_is_not_said_while_the_program_goes_on(self, said: list[str]) -> None:
        word = LastWord(lambda: (said.append("closed"), False)[1])
        own = sys.exit
        word.await_exit()
        word.await_exit()
        word.go_on()
        assert sys.exit is own
        with pytest.raises(SystemExit) as caught:
            sys.exit(0)
        assert (caught.value.code, said) == (0, ["_say"])

    def test_is_said_by_no_fork(self, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        word = LastWord(lambda: (said.append("closed"), False)[1])
        word.await_exit()
        monkeypatch.setattr(last_word.os, "getpid", lambda: -1)
        with pytest.raises(SystemExit) as caught:
            sys.exit(0)
        assert word._say()
        assert (caught.value.code, said) == (0, ["_say"])

    def test_is_said_by_no_other_thread(self, said: list[str], at_once: Any) -> None:
        word = LastWord(lambda: (said.append("closed"), False)[1])
        word.await_exit()

        def leave() -> Any:
            with pytest.raises(SystemExit) as caught:
                sys.exit(0)
            return caught.value.code

        assert at_once(1, leave) == [0]
        assert said == ["_say"]
        word.go_on()


def test_a_failure_that_is_let_through_is_told_as_that_of_the_task_that_failed(tmp_path: Path) -> None:
    shape = """
- name: p
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Try
      block:
        - name: Check
          ansible.builtin.fail:
            msg: it fails
      rescue:
        - name: Go on
          ansible.builtin.fail:
            msg: {again}
"""
    for again, told in (("it fails", "Check: it fails"), ("otherwise", "Go on: otherwise")):
        (tmp_path / "shape.yml").write_text(shape.format(again=again))
        code, said = play(tmp_path, {"left": []}, names=["shape.yml"])
        assert code == 2
        assert "asked run.ended {'hosts': {'localhost': {'failed': True, 'error': {'code': 'TaskFailed'" in said
        assert told in said.partition("asked run.ended")[2].partition("\n")[0]
