"""Text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["not_used", "printable"]

_FEW = 5


def printable(line: str) -> str:
    """Show what a terminal would obey or break a line at, which names of files can hold."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def not_used(problems: Sequence[str]) -> Iterator[str]:
    """Say of files and labels what is wrong with them: of the first few, and how many more."""
    yield from (f"  not used: {problem}" for problem in problems[:_FEW])
    if len(problems) > _FEW:
        yield f"  and {len(problems) - _FEW} more that could not be used"
