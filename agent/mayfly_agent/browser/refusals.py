# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error that becomes an answer: a status of HTTP, and a sentence for people."""

from __future__ import annotations

import errno

_STATUS = {
    errno.ENOENT: (404, "It is not there."),
    errno.ENOTDIR: (404, "It is not there: a part of its path is no folder."),
    errno.ELOOP: (403, "A link is shown, and not followed."),
    errno.EXDEV: (403, "It is outside of this volume."),
    errno.EACCES: (403, "It cannot be opened."),
    errno.EPERM: (403, "It cannot be opened."),
    errno.ENXIO: (403, "It is no file that has content."),
    errno.ENAMETOOLONG: (400, "A name in its path is too long."),
    errno.EIO: (502, "The volume cannot be read here: it is damaged, or its data cannot be fetched."),
}


class Refused(Exception):
    """An answer other than the one that was wanted; ``wait`` is after how many seconds to try again, 0 for never."""

    def __init__(self, status: int, message: str, wait: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.wait = wait


class CutOff(Exception):
    """An answer that has begun and cannot go on: its connection is closed, so that nobody takes it for whole."""


def refusal(error: OSError) -> Refused:
    """What the operating system said, as an answer; it tells nothing of where volumes are mounted."""
    status, message = _STATUS.get(error.errno or 0, (502, "The volume cannot be read here."))
    return Refused(status, message)
