# SPDX-License-Identifier: GPL-3.0-or-later
"""The AWS CLI of a lab's tests: one process that stays, since a fresh one takes most of a second to load.

Run as a program inside the lab it answers commands, a line of JSON each: ``lab exec -- python -m tests.aws_cli``.
"""

from __future__ import annotations

import atexit
import io
import json
import subprocess
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

_WAIT_SECONDS = 120.0
_LOADER = "data_loader"


class AwsCli:
    """One lab's process. It ends with the lab, or with this process."""

    def __init__(self, words: list[str], environment: dict[str, str], folder: str) -> None:
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
        )
        self._lock = threading.Lock()
        atexit.register(self.end)

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def run(self, words: list[str]) -> tuple[int, str, str]:
        """Exit code, output and errors of ``aws WORDS``. Raises TimeoutError after two minutes, ended with it."""
        given, answers = self._process.stdin, self._process.stdout
        assert given is not None
        assert answers is not None
        with self._lock:
            timer = threading.Timer(_WAIT_SECONDS, self._process.kill)
            timer.start()
            try:
                given.write(json.dumps(words) + "\n")
                given.flush()
                line = answers.readline()
            except BrokenPipeError:
                line = ""
            finally:
                timer.cancel()
        if not line:
            raise TimeoutError(f"aws {' '.join(words)}: the lab's AWS CLI has ended or gave no answer")
        code, output, errors = json.loads(line)
        return code, output, errors

    def end(self) -> None:
        """End the process."""
        atexit.unregister(self.end)
        self._process.kill()
        self._process.wait(10)


def answer(words: list[str], loader: Any) -> tuple[int, str, str]:
    """Run one command in this process; models that ``loader`` has read once are not read again."""
    from awscli.clidriver import create_clidriver  # only what answers loads it

    driver = create_clidriver()  # type: ignore[no-untyped-call]
    driver.session.register_component(_LOADER, loader)
    output, errors = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        code = driver.main(words)
    output.seek(0)
    return code, output.read(), errors.getvalue()


def main() -> None:
    """Answer until the input ends."""
    from awscli.clidriver import create_clidriver

    loader = create_clidriver().session.get_component(_LOADER)  # type: ignore[no-untyped-call]
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), loader)), flush=True)


if __name__ == "__main__":
    main()
