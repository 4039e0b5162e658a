"""Lines for users: notices of what has not failed, and text that is safe and short to print.

Notices are logged as warnings to the logger ``medvae``. Python prints warnings on standard error if
no logging is configured; the command line prints them as its own output.
"""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable

__all__ = ["alike", "forget_notices", "notice", "printable"]

_log = logging.getLogger("medvae")
_given: set[str] = set()

_TELLING_APART = re.compile(r"""'[^']*'|"[^"]*"|\S*/\S*|\d+(\.\d+)?""")
"""The parts in which reasons of one kind differ: names, paths and numbers."""


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


def printable(text: str) -> str:
    """Escape control characters and line breaks, which names of files can contain."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def alike(outcomes: Iterable[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Group pairs of a name and a reason by the kind of the reason, in the order of the first."""
    kinds: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, reason in outcomes:
        kinds[_TELLING_APART.sub("", reason)].append((name, reason))
    return list(kinds.values())
