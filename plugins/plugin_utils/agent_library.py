# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the transfer agent's package importable on the controller.

The agent ships with the collection as ``agent/mayfly_agent``; it is also the library that knows the repository's
format. A checkout has it beside ``plugins/``, an installed package may have it on the path already.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def ensure_agent_library() -> None:
    """Put ``<collection>/agent`` on ``sys.path`` unless ``mayfly_agent`` can already be imported.

    Raises ImportError when the collection was installed without its ``agent`` folder.
    """
    if importlib.util.find_spec("mayfly_agent") is not None:
        return
    folder = Path(__file__).resolve().parents[2] / "agent"
    if not (folder / "mayfly_agent").is_dir():
        raise ImportError(f"the package mayfly_agent is neither installed nor found in {folder}")
    sys.path.append(str(folder))
