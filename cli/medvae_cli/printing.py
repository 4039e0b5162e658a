"""Formatting of text for a terminal."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["folded", "not_used", "printable"]

_FEW = 5
_MANY = 20
_EXAMPLES = 3

_TELLING_APART = re.compile(r"""'[^']*'|"[^"]*"|\S*/\S*|\d+(\.\d+)?""")
"""The parts in which reasons of one kind differ: names, paths and numbers."""


def printable(line: str) -> str:
    """Escape control characters and line breaks, which file names can contain."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def folded(
    what: str, files: Iterable[tuple[object, str]], many: int = _MANY, noun: str = "files"
) -> Iterator[str]:
    """Yield the outcomes of files: a line for each, or one line for many with the same reason.

    Args:
        what: Outcome of the files, such as "refused".
        files: Pairs of a file and the reason.
        many: Number above which files with reasons of one kind are folded into one line.
        noun: Plural noun for the entries, if they are not files.
    """
    kinds: dict[str, list[tuple[object, str]]] = defaultdict(list)
    for file, reason in files:
        kinds[_TELLING_APART.sub("", reason)].append((file, reason))
    for alike in kinds.values():
        if len(alike) <= many:
            yield from (f"  {what} {file}: {reason}" for file, reason in alike)
            continue
        shown = ", ".join(str(file) for file, _ in alike[:_EXAMPLES])
        same = len({reason for _, reason in alike}) == 1
        reason = alike[0][1] if same else f"{alike[0][1]} (and the like)"
        yield f"  {what} {len(alike)} {noun}, such as {shown}: {reason}"


def not_used(problems: Sequence[str]) -> Iterator[str]:
    """Yield the first few problems with files and labels, and the number of the others."""
    yield from (f"  not used: {problem}" for problem in problems[:_FEW])
    if len(problems) > _FEW:
        yield f"  and {len(problems) - _FEW} more that could not be used"
