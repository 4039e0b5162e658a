"""Lines that a user should read although nothing has failed.

They go to the logger ``medvae`` as warnings. Python prints these on standard error where no
logging is configured; the command line prints them as lines of its own.
"""

from __future__ import annotations

import logging
import os

__all__ = ["forget_notices", "notice"]

_log = logging.getLogger("medvae")
_given: set[str] = set()


def notice(line: str) -> None:
    """Log a line once, however many slices it holds for.

    Of several processes that train together under ``torchrun``, only the first one logs it.
    """
    if line not in _given and os.environ.get("RANK", "0") == "0":
        _given.add(line)
        _log.warning("%s", line)


def forget_notices() -> None:
    """Let lines that have been logged be logged again, as at the start of a new command."""
    _given.clear()
