"""Text for a terminal."""

from __future__ import annotations

__all__ = ["printable"]


def printable(line: str) -> str:
    """Show what a terminal would obey or break a line at, which names of files can hold."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
