# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``mayfly-browser``.

``serve FOLDER STATE``: the page; FOLDER has description.json, certificate.pem and key.pem (systemd's credentials),
STATE takes what is told to the controller. ``export FOLDER STATE REQUEST``: the tar of what is to be put back, to the
output; what is not in it stands on the error output, and the exit code is 3 then.
"""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

from .archives import Progress
from .description import Description, read_description
from .put_back import export, read_put_back
from .refusals import Refused
from .server import inherited, serve
from .volumes import Volume

_USAGE = "usage: mayfly-browser serve FOLDER STATE | export FOLDER STATE REQUEST"


def main(arguments: list[str]) -> int:
    """0 when it was done, 1 when it failed, 2 for a wrong call, 3 for a tar that lacks something."""
    try:
        match arguments:
            case ["serve", folder, state]:
                at = Path(folder)
                sockets = inherited()
                if not sockets:
                    print("mayfly-browser: there is no socket to serve on; systemd hands it over", file=sys.stderr)
                    return 2
                serve(
                    read_description(at / "description.json"),
                    Path(state),
                    at / "certificate.pem",
                    at / "key.pem",
                    sockets,
                )
                return 0
            case ["export", folder, state, request]:
                return _export(read_description(Path(folder) / "description.json"), Path(state), request)
    except (OSError, ValueError, ssl.SSLError) as error:
        print(f"mayfly-browser: {error}", file=sys.stderr)
        return 1
    print(_USAGE, file=sys.stderr)
    return 2


def _export(description: Description, state: Path, identity: str) -> int:
    request = read_put_back(state / "put-back" / f"{Path(identity).name}.json")
    of = next((each for each in description.volumes if each.id == request.volume and each.path), None)
    if of is None:
        raise ValueError(f"{identity} is of a volume that is not there")
    progress = Progress()
    try:
        for chunk in export(Volume(of.id, of.name, of.path), request, progress):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    except Refused as refused:
        raise ValueError(refused.message) from refused
    sys.stderr.write(progress.note().decode())
    return 3 if progress.missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
