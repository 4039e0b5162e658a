"""Notices: lines that a user should read although nothing has failed.

They are logged as warnings to the logger ``medvae``. Python prints warnings on standard error if
no logging is configured; the command line prints them as its own output.
"""

from __future__ import annotations

import logging
import os

__all__ = ["forget_notices", "notice"]

_log = logging.getLogger("medvae")
_given: set[str] = set()


def notice(line: str) -> None:
    """Log a line only once, however many slices it applies to.

    When several processes train together under ``torchrun``, only the first one logs it.
    """
    if line not in _given and os.environ.get("RANK", "0") == "0":
        _given.add(line)
        _log.warning("%s", line)


def forget_notices() -> None:
    """Allow lines to be logged again, as at the start of a new command."""
    _given.clear()
